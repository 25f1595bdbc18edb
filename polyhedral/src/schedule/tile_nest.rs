//! Tile nests: what `tile` and `layout` work on, found in the schedule tree.
//!
//! A tile nest is a chain of parallel loops around statements and single reductions: an elementwise operator,
//! a matrix product with its epilogue, a convolution, a row sum.

use super::group;
use crate::program::{Program, StatementId, StatementKind};
use crate::schedule_tree::{Mark, Node};
use crate::transform::{self, Path};

/// A chain of parallel loops around leaves and single reductions.
pub struct TileNest {
    /// The parallel loops, outermost first.
    pub chain: Vec<Path>,
    pub reductions: Vec<Reduction>,
    /// All statements, in tree order.
    pub statements: Vec<StatementId>,
}

/// A chain of loops around one `Reduce` statement.
#[derive(Clone)]
pub struct Reduction {
    pub loops: Vec<Path>,
    pub statement: StatementId,
}

/// Recognises the nest at `path`.
pub fn tile_nest(program: &Program, path: &[usize]) -> Option<TileNest> {
    let band = transform::band_at(&program.schedule, path)?;
    let statements: Vec<_> = band.members.keys().copied().collect();
    if let Some(reduction) = reduction_at(program, path) {
        return Some(TileNest { chain: vec![], reductions: vec![reduction], statements });
    }
    let mut chain = Vec::new();
    let mut at = path.to_vec();
    loop {
        let band = transform::band_at(&program.schedule, &at)?;
        let parallel = runs_parallel(program, &at) && !group::steps_along_unlimited(program, band);
        if band.mark != Mark::Seq || !parallel || transform::plain_dims(band).is_none() {
            return None;
        }
        chain.push(at.clone());
        if band.members.len() != statements.len() {
            return None;
        }
        match band.body.as_slice() {
            [Node::Band(_)] if reduction_at(program, &[at.as_slice(), &[0]].concat()).is_none() => at.push(0),
            _ => break,
        }
    }
    let reductions = body_reductions(program, &at)?;
    Some(TileNest { chain, reductions, statements })
}

/// May the iterations of the band at `path` run in any order, for one iteration of the bands around it?
fn runs_parallel(program: &Program, path: &[usize]) -> bool {
    let outer: Vec<_> = (1..path.len()).filter_map(|n| transform::band_at(&program.schedule, &path[..n])).collect();
    let band = transform::band_at(&program.schedule, path);
    band.is_some_and(|band| group::is_parallel_inside(program, band, &outer))
}

/// The reductions in the body of the band at `path`; `None` when something else is in it.
fn body_reductions(program: &Program, path: &[usize]) -> Option<Vec<Reduction>> {
    let band = transform::band_at(&program.schedule, path)?;
    let mut out = Vec::new();
    for (n, node) in band.body.iter().enumerate() {
        if matches!(node, Node::Band(_)) {
            out.push(reduction_at(program, &[path, &[n]].concat())?);
        }
    }
    Some(out)
}

/// A chain of plain sequential loops, none of them parallel, around one `Reduce` statement.
fn reduction_at(program: &Program, path: &[usize]) -> Option<Reduction> {
    let loops = transform::chain(&program.schedule, path);
    let inner = transform::band_at(&program.schedule, loops.last()?)?;
    let [Node::Leaf(statement)] = inner.body.as_slice() else { return None };
    let is_reduce = matches!(program.statement(*statement).kind, StatementKind::Reduce(_));
    let reduces = |p: &Path| {
        transform::band_at(&program.schedule, p)
            .is_some_and(|b| b.mark == Mark::Seq && transform::plain_dims(b).is_some() && !runs_parallel(program, p))
    };
    (is_reduce && !reads_target(program, *statement) && loops.iter().all(reduces))
        .then(|| Reduction { loops: loops.clone(), statement: *statement })
}

/// A value that reads its own target is a recurrence, not a reduction.
fn reads_target(program: &Program, id: StatementId) -> bool {
    let statement = program.statement(id);
    let mut found = false;
    statement.visit_reads(&mut |a| found |= a.array == statement.target.array);
    found
}

/// The iterator of the statement for every loop of the nest's chain.
pub fn dims_of(program: &Program, nest: &TileNest, id: StatementId) -> Vec<usize> {
    let dim = |p: &Path| transform::band_at(&program.schedule, p).and_then(|b| b.members.get(&id)?.as_iter());
    nest.chain.iter().map(|p| dim(p).unwrap_or(usize::MAX)).collect()
}

/// Every tile nest of the program, in tree order.
pub fn all_nests(program: &Program) -> Vec<TileNest> {
    (0..program.schedule.roots.len()).flat_map(|n| nests_below(program, vec![n])).collect()
}

/// The tile nests at and below `path`, in tree order.
pub fn nests_below(program: &Program, path: Path) -> Vec<TileNest> {
    let mut out = Vec::new();
    let mut pending = vec![path];
    while let Some(path) = pending.pop() {
        match tile_nest(program, &path) {
            Some(nest) => out.push(nest),
            None => {
                let children = transform::band_at(&program.schedule, &path).map_or(0, |b| b.body.len());
                pending.extend((0..children).rev().map(|n| [path.as_slice(), &[n]].concat()));
            }
        }
    }
    out
}
