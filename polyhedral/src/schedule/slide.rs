//! `slide`: run chains of windows (stencils, convolutions, pooling) block by block of rows.
//!
//! Rewrite: `for i { A }  for j { B }  for k { C }`, where `B` reads a window of the rows that `A` makes and `C` of those
//! that `B` makes, becomes `for block { for i in block { A }  for j in block { B }  for k in block { C } }`. Blocks have
//! equally many rows of what flows. A nest that makes rows for a window starts early: the blocks of its readers are some
//! iterations late, `j = size * block + inner - late`, so every row has been made when it is needed and none is made
//! twice. What flows is used before it leaves the cache, and `contract` keeps a few blocks of it.
//!
//! Legal when each loop is parallel, its rows decide the iteration that makes them, and each iteration of a reader needs a
//! bounded window of rows (see `window`): then no dependence goes back to an earlier block. Wanted when the bytes that flow
//! come closer (see `slide_cost`) by more than weights and rows of two blocks cost to read again, and by more than
//! `fuse-tiles` could save by joining them in pairs, also with nests that are not in the chain. One worker only: the loop over blocks is sequential. Not in the standard pipeline: it saves traffic
//! behind the second-level cache, but no time on what was measured (docs/counting.md).
//! Source: fused layers, Alwani et al. (MICRO 2016); sliding windows, Ragan-Kelley et al. (PLDI 2013).

use super::chain::{self, Chain};
use super::fuse_tiles;
use super::slide_cost::{Model, Price};
use crate::error::Result;
use crate::pass::{Pass, PassContext};
use crate::program::{ArrayId, Program};
use crate::transform::{Path, children};
use std::collections::HashSet;

pub struct Slide;

const NAME: &str = "slide";

impl Pass for Slide {
    fn name(&self) -> &'static str {
        NAME
    }

    fn summary(&self) -> &'static str {
        "run chains of windows block by block of rows (CPU, one thread)"
    }

    fn run(&self, program: &mut Program, context: &mut PassContext) -> Result<()> {
        if !context.machine.gpu {
            let apart = fuse_tiles::in_registers(program);
            // Inner lists first: the paths of the others stay.
            for list in fuse_tiles::lists(program).iter().rev() {
                slide_list(program, list, &apart, context);
            }
        }
        Ok(())
    }
}

/// A chain, its block sizes and their price.
struct Plan {
    chain: Chain,
    factors: Vec<i64>,
    price: Price,
    gain: f64,
}

fn slide_list(program: &mut Program, parent: &Path, apart: &HashSet<ArrayId>, cx: &mut PassContext) {
    let mut at = 0;
    while at + 1 < children(&program.schedule, parent).len() {
        let model = Model { program, parent, apart, machine: cx.machine };
        if let Some(plan) = best(&model, at) {
            let subject = fuse_tiles::origin(program, &children(&program.schedule, parent)[at]);
            if cx.machine.threads > 1 {
                let why =
                    format!("{} blocks of rows would save {:.0} cycles of one worker", plan.price.count, plan.gain);
                cx.missed(NAME, &subject, why);
            } else {
                cx.applied(NAME, &subject, said(program, parent, &plan));
                apply(program, parent, &plan);
            }
        }
        at += 1;
    }
}

fn said(program: &Program, parent: &[usize], plan: &Plan) -> String {
    format!(
        "{} blocks of rows with {}: {:.0} KB flow inside, about {:.0} cycles saved",
        plan.price.count,
        plan.chain.others(program, parent),
        plan.price.flow / 1024.0,
        plan.gain
    )
}

// ---- what to join ------------------------------------------------------------------------------------------

/// The best chain that starts at node `at`.
fn best(model: &Model, at: usize) -> Option<Plan> {
    let plans = chain::starting_at(model, at).into_iter().filter_map(|chain| plan(model, &chain));
    chain::best(plans, |plan| plan.gain)
}

/// The best blocks for a chain, if they gain anything.
fn plan(model: &Model, chain: &Chain) -> Option<Plan> {
    let mut chain = chain.clone();
    chain.delay();
    let common = chain.common();
    let longest = model.iterations(&chain.members[0]);
    let mut best: Option<(Vec<i64>, Price)> = None;
    for size in (0..40).map(|n| common << n).take_while(|size| *size < longest) {
        let Some(factors) = chain.paces(size) else { continue };
        let price = model.price(&chain, &factors);
        if best.as_ref().is_none_or(|(_, b)| price.cycles.gain() > b.cycles.gain()) {
            best = Some((factors, price));
        }
    }
    let (factors, price) = best.filter(|(_, price)| price.cycles.gain() > 0.0)?;
    let gain = price.cycles.gain() - model.pairs(&chain, price.cycles.gain());
    (gain > 0.0).then_some(Plan { chain, factors, price, gain })
}

impl Chain {
    /// How late every member is: as early as what it needs allows, then as late as its readers allow.
    fn delay(&mut self) {
        for link in &self.links {
            let late = link.window.late_after(self.members[link.from].late);
            self.members[link.to].late = self.members[link.to].late.max(late);
        }
        for from in (0..self.members.len()).rev() {
            let readers = self.links.iter().filter(|l| l.from == from);
            let latest = readers.map(|l| l.window.late_before(self.members[l.to].late)).min();
            self.members[from].late = latest.unwrap_or(self.members[from].late);
        }
    }
}

// ---- the rewrite --------------------------------------------------------------------------------------

/// Makes one node of the members, where the first one stands.
fn apply(program: &mut Program, parent: &[usize], plan: &Plan) {
    for (member, factor) in plan.chain.members.iter().zip(&plan.factors) {
        fuse_tiles::put_outermost(program, &member.axis, *factor, member.late);
    }
    plan.chain.join(program, parent);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::{DriverOptions, run_passes};
    use crate::legality::{self, Violation};
    use crate::machine::Machine;
    use crate::schedule::window::Window;
    use crate::testing::windows;
    use crate::text::{ConstantPool, parse_program};
    use crate::{RemarkKind, astgen, nest_interp};

    /// Caches so small that a few rows of 256 numbers fill them.
    fn machine(threads: usize) -> Machine {
        let (l1_bytes, l2_bytes, l3_bytes) = (4 << 10, 128 << 10, 1 << 20);
        let (vector_bytes, vector_registers) = (32, 16);
        let base = crate::testing::machine();
        Machine { vector_bytes, vector_registers, l1_bytes, l2_bytes, l3_bytes, threads, ..base }
    }

    fn run(program: &mut Program, passes: &[&str], threads: usize) -> Vec<crate::Remark> {
        let passes: Vec<_> = passes.iter().map(|p| crate::pipeline::find(p).unwrap()).collect();
        run_passes(program, &passes, &machine(threads), DriverOptions::default()).unwrap().remarks
    }

    fn applied(remarks: &[crate::Remark]) -> usize {
        remarks.iter().filter(|r| r.pass == NAME && r.kind == RemarkKind::Applied).count()
    }

    /// The outputs for inputs that differ everywhere.
    fn outputs(program: &Program, images: i64, rows: i64) -> Vec<Vec<u8>> {
        let value = |n: i64| ((n * 37 % 101 - 50) as f32).to_le_bytes();
        let input = (0..images * rows * 256).flat_map(value).collect();
        nest_interp::run(&astgen::generate(program).unwrap(), &[("images", images)], &[input]).unwrap()
    }

    #[test]
    fn windows_of_any_shape_run_in_blocks_and_give_the_same_numbers() {
        // The last ones are longer than a block; 61, 95 and 47 rows leave a part of a block over.
        for (images, rows, pad, taps, step) in [
            ("images", 64, 1, 3, 1),
            ("1", 64, 1, 3, 2),
            ("images", 61, 1, 3, 2),
            ("1", 95, 0, 4, 3),
            ("1", 47, 2, 5, 1),
            ("1", 61, 3, 7, 2),
            ("1", 96, 0, 17, 1),
        ] {
            let mut program = windows(images, rows, pad, taps, step);
            let images = if images == "1" { 1 } else { 3 };
            let wanted = outputs(&program, images, rows);
            let case = format!("{rows} rows, pad {pad}, {taps} taps, step {step}");
            assert_eq!(applied(&run(&mut program, &[NAME], 1)), 1, "{case}");
            legality::check(&program).unwrap().unwrap_or_else(|v| panic!("{case}: {v}"));
            run(&mut program, &["fuse-tiles", "contract"], 1);
            legality::check(&program).unwrap().unwrap_or_else(|v| panic!("{case}, contracted: {v}"));
            let folded = |name: &str| program.arrays().any(|(_, a)| a.name == name && a.fold[1].is_some());
            assert!(folded("a") && folded("b"), "{case}");
            assert_eq!(outputs(&program, images, rows), wanted, "{case}");
        }
    }

    /// After all passes that come before it, too: register tiles and their blocks stay whole.
    #[test]
    fn tiled_windows_give_the_same_numbers() {
        for (rows, pad, taps, step) in [(256, 1, 3, 1), (251, 1, 3, 2)] {
            let mut program = windows("images", rows, pad, taps, step);
            let wanted = outputs(&program, 2, rows);
            let remarks = run(&mut program, &["tile", NAME, "fuse-tiles", "hoist", "scalar-replace", "contract"], 1);
            assert!(applied(&remarks) > 0, "{remarks:?}");
            legality::check(&program).unwrap().unwrap();
            assert_eq!(outputs(&program, 2, rows), wanted);
        }
    }

    /// The chain that the pass would choose, with one member later by some iterations.
    fn delayed(member: usize, by: i64) -> crate::legality::Verdict {
        let mut program = windows("1", 64, 1, 3, 2);
        let (apart, machine) = (HashSet::new(), machine(1));
        let parent = Path::new();
        let model = Model { program: &program, parent: &parent, apart: &apart, machine: &machine };
        let mut chosen = best(&model, 0).unwrap();
        chosen.chain.members[member].late += by;
        apply(&mut program, &parent, &chosen);
        legality::check(&program).unwrap()
    }

    #[test]
    fn one_iteration_too_late_is_caught() {
        assert_eq!(delayed(0, 0), Ok(()));
        // Producers are as late as can be; what nobody waits for may be later.
        for producer in [0, 1] {
            assert!(matches!(delayed(producer, 1), Err(Violation::Order { .. })), "{producer}");
        }
        assert_eq!(delayed(3, 1), Ok(()));
    }

    #[test]
    fn delays_follow_from_the_windows() {
        let window = |made, step, first, last| Window { made, step, first, last };
        // Rows 2 * b - 1 ..= 2 * b + 1 for iteration b.
        let conv = window(1, 2, -1, 1);
        assert_eq!((conv.late_after(0), conv.late_before(0), conv.late_before(1)), (0, 0, 2));
        assert_eq!(conv.again(), 1);
        // A register tile of 14 rows that reads 3 more.
        let tile = window(1, 28, 0, 28);
        assert_eq!((tile.late_after(0), tile.late_before(1)), (1, 27));
        assert_eq!(tile.waits([27, 1]), 0);
        assert!(window(4, 4, 0, 3).is_block() && !tile.is_block());
    }

    #[test]
    fn a_team_keeps_its_loops() {
        let mut program = windows("1", 64, 1, 3, 1);
        let before = program.clone();
        let remarks = run(&mut program, &[NAME], 2);
        assert_eq!(program, before);
        assert!(remarks.iter().any(|r| r.pass == NAME && r.reason.contains("of one worker")), "{remarks:?}");
    }

    #[test]
    fn what_fits_into_the_cache_stays_apart() {
        assert_eq!(applied(&run(&mut windows("1", 6, 0, 3, 1), &[NAME], 1)), 0);
    }

    /// Windows along what lies side by side in memory would cut it into short pieces.
    #[test]
    fn columns_are_not_cut() {
        let text = "\
program columns
array x: f32[64, 256] input 0
array a: f32[64, 256] temp
array y: f32[64, 254] output 0
inputs x
outputs y
S0 [i: 64, j: 256]: a[i, j] = max(x[i, j], 0.0f32)
S1 [j: 254, i: 64]: y[i, j] = a[63 - i, j] + a[63 - i, j + 2]
schedule {
  for [S0: j] { for [S0: i] { S0 } }
  for [S1: j] { for [S1: i] { S1 } }
}
";
        let mut program = parse_program(text, &ConstantPool::default()).unwrap();
        assert_eq!(applied(&run(&mut program, &[NAME], 1)), 0);
    }

    /// Two recurrent layers could run a step apart, but their time loops are not parallel: the pass leaves them.
    #[test]
    fn stacked_recurrences_keep_their_time_loops() {
        let text = "\
program stack
array x: f32[200, 256] input 0
array g: f32[201, 256] temp
array h: f32[201, 256] temp
array y: f32[200, 256] output 0
inputs x
outputs y
S0 [j: 256]: g[0, j] = 0.0f32
S1 [t: 200, j: 256]: g[t + 1, j] = g[t, 255 - j] + x[t, j]
S2 [j: 256]: h[0, j] = 0.0f32
S3 [t: 200, j: 256]: h[t + 1, j] = h[t, 255 - j] + g[t + 1, j]
S4 [t: 200, j: 256]: y[t, j] = h[t + 1, j]
schedule {
  for [S0: j] { S0 }
  for [S1: t] { for [S1: j] { S1 } }
  for [S2: j] { S2 }
  for [S3: t] { for [S3: j] { S3 } }
  for [S4: t] { for [S4: j] { S4 } }
}
";
        let mut program = parse_program(text, &ConstantPool::default()).unwrap();
        assert_eq!(applied(&run(&mut program, &[NAME], 1)), 0);
    }
}
