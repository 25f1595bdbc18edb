//! `split-dims`: split loops so that floor divisions and remainders in subscripts disappear.
//!
//! Rewrite: a loop `i` of constant extent whose statements use `floor(i/c)` becomes two loops with
//! `i = c*i0 + i1`; then `floor(i/c)` is `i0` and `i mod c` is `i1`. Such subscripts come from reshapes
//! (`[b, s, 768]` read as `[b, s, 12, 64]`); without them every access is linear again, which vectorization,
//! packing and register allocation need. Applied when every statement of the loop has the same constant
//! extent, divisible by `c`, and the vector loops of the root get cheaper by what `layout` thinks of them: a division
//! along another loop costs nothing, and halves would only make register tiles smaller. Otherwise declined with a
//! remark. Always legal: the order does not change. This is strength reduction at the level of loops; what is left of
//! divisions and integer products in machine code takes less than 1 % of the time of real models (docs/counting.md).

use super::tile_nest::nests_below;
use crate::aff::{Aff, Term};
use crate::cost::vector::nest_cycles;
use crate::error::Result;
use crate::machine::Machine;
use crate::pass::{Pass, PassContext};
use crate::program::{Program, Statement, StatementId};
use crate::schedule_tree::Node;
use crate::transform::{self, Path};
use indexmap::IndexMap;

pub struct SplitDims;

impl Pass for SplitDims {
    fn name(&self) -> &'static str {
        "split-dims"
    }

    fn summary(&self) -> &'static str {
        "split loops so that divisions in subscripts disappear"
    }

    fn run(&self, program: &mut Program, context: &mut PassContext) -> Result<()> {
        let mut pending: Vec<Path> = (0..program.schedule.roots.len()).rev().map(|n| vec![n]).collect();
        while let Some(path) = pending.pop() {
            split_band(self.name(), program, &path, context);
            if let Some(band) = transform::band_at(&program.schedule, &path) {
                let children = (0..band.body.len()).filter(|n| matches!(band.body[*n], Node::Band(_)));
                pending.extend(children.map(|n| [path.as_slice(), &[n]].concat()));
            }
        }
        Ok(())
    }
}

/// Splits the band at `path` by its largest divisor; the inner loop is visited later for smaller ones.
fn split_band(pass: &'static str, program: &mut Program, path: &Path, context: &mut PassContext) {
    let Some(dims) = transform::band_at(&program.schedule, path).and_then(transform::plain_dims) else { return };
    let Some(divisor) = dims.iter().filter_map(|(s, d)| largest_divisor(program, *s, *d)).max() else { return };
    let origin = dims.keys().next().map(|s| program.statement(*s).origin.clone()).unwrap_or_default();
    if !splits_evenly(program, &dims, divisor) {
        return context.missed(pass, &origin, format!("a loop extent is not a constant multiple of {divisor}"));
    }
    // On a GPU a lane is a thread, and any order of loops will do: only the divisions count.
    let (before, gpu) = (Worth::of(program, path, context.machine), context.machine.gpu);
    let undo = Undo::of(program, path, &dims);
    if !transform::strip_mine(program, path, divisor) {
        return;
    }
    if gpu || !before.is_as_good(&Worth::of(program, path, context.machine)) {
        return context.applied(pass, &origin, format!("split a loop by {divisor}"));
    }
    undo.restore(program, path);
    context.missed(pass, &origin, format!("vector loops gain nothing from a loop split by {divisor}"));
}

/// What the vector loops of a root make of it.
struct Worth {
    /// Statements in nests that can be tiled.
    tiled: usize,
    cycles: f64,
}

impl Worth {
    fn of(program: &Program, path: &Path, machine: &Machine) -> Worth {
        let nests = nests_below(program, path[..1].to_vec());
        let tiled = nests.iter().map(|n| n.statements.len()).sum();
        let cycles = nests.iter().map(|n| nest_cycles(program, n, machine)).sum();
        Worth { tiled, cycles }
    }

    /// A split that gains nothing only makes register tiles smaller.
    fn is_as_good(&self, split: &Worth) -> bool {
        self.tiled >= split.tiled && self.cycles <= split.cycles * (1.0 + LEAST_GAIN)
    }
}

/// A split must save this part of its root: estimates are not exact.
const LEAST_GAIN: f64 = 0.005;

/// A root and the statements that a split changes, as they were.
struct Undo {
    root: Node,
    statements: Vec<(StatementId, Statement)>,
    history: usize,
}

impl Undo {
    fn of(program: &Program, path: &Path, dims: &IndexMap<StatementId, usize>) -> Undo {
        Undo {
            root: program.schedule.roots[path[0]].clone(),
            statements: dims.keys().map(|s| (*s, program.statement(*s).clone())).collect(),
            history: program.history.renamings.len(),
        }
    }

    fn restore(self, program: &mut Program, path: &Path) {
        program.schedule.roots[path[0]] = self.root;
        self.statements.into_iter().for_each(|(id, statement)| *program.statement_mut(id) = statement);
        program.history.renamings.truncate(self.history);
    }
}

fn splits_evenly(program: &Program, dims: &IndexMap<StatementId, usize>, divisor: i64) -> bool {
    dims.iter().all(|(s, d)| {
        let extent = program.statement(*s).extents[*d].as_constant();
        extent.is_some_and(|e| e % divisor == 0 && e > divisor)
    })
}

/// The largest `c` for which `floor(i_d / c)` occurs in the statement.
fn largest_divisor(program: &Program, id: StatementId, d: usize) -> Option<i64> {
    let mut found = None;
    let statement = program.statement(id);
    let mut visit = |a: &Aff| find_divisor(a, d, &mut found);
    statement.value.visit_affs(&mut visit);
    statement.target.index.iter().for_each(|e| e.visit_affs(&mut visit));
    if let Some(guard) = &statement.guard {
        guard.visit_affs(&mut visit);
    }
    found
}

fn find_divisor(aff: &Aff, d: usize, found: &mut Option<i64>) {
    for (term, _) in aff.terms() {
        if let Term::FloorDiv(numerator, divisor) = term {
            if numerator.as_iter() == Some(d) {
                *found = (*found).max(Some(*divisor));
            }
            find_divisor(numerator, d, found);
        }
    }
}
