//! Elementary rewrites of the schedule tree that several passes share: strip-mining, chain permutation.

use crate::aff::{Aff, Bounds};
use crate::param::{ParamId, Params};
use crate::program::{Program, Renaming, Statement, StatementId};
use crate::schedule_tree::{Band, Mark, Node, Schedule};
use indexmap::IndexMap;

/// Position of a node: child numbers from the roots down.
pub type Path = Vec<usize>;

/// The list of nodes that contains the node at `path`, and the node's number in it.
pub fn siblings<'a>(schedule: &'a mut Schedule, path: &[usize]) -> Option<(&'a mut Vec<Node>, usize)> {
    let (last, parents) = path.split_last()?;
    let mut nodes = &mut schedule.roots;
    for at in parents {
        match nodes.get_mut(*at)? {
            Node::Band(band) => nodes = &mut band.body,
            Node::Leaf(_) => return None,
        }
    }
    Some((nodes, *last))
}

/// The band at `path`.
pub fn band_at<'a>(schedule: &'a Schedule, path: &[usize]) -> Option<&'a Band> {
    let (first, rest) = path.split_first()?;
    let mut node = schedule.roots.get(*first)?;
    for at in rest {
        let Node::Band(band) = node else { return None };
        node = band.body.get(*at)?;
    }
    match node {
        Node::Band(band) => Some(band),
        Node::Leaf(_) => None,
    }
}

/// Child numbers from `nodes` down to the leaf of a statement.
pub fn path_to(nodes: &[Node], id: StatementId) -> Option<Path> {
    nodes.iter().enumerate().find_map(|(n, node)| match node {
        Node::Leaf(s) => (*s == id).then(|| vec![n]),
        Node::Band(band) if band.members.contains_key(&id) => Some([vec![n], path_to(&band.body, id)?].concat()),
        Node::Band(_) => None,
    })
}

/// The list of nodes inside the band at `parent`; the roots for the empty path.
pub fn children<'a>(schedule: &'a Schedule, parent: &[usize]) -> &'a [Node] {
    match parent {
        [] => &schedule.roots,
        _ => band_at(schedule, parent).map_or(&[], |b| &b.body),
    }
}

/// The band at `path`, to be changed.
pub fn band_at_mut<'a>(schedule: &'a mut Schedule, path: &[usize]) -> Option<&'a mut Band> {
    let (nodes, at) = siblings(schedule, path)?;
    match nodes.get_mut(at)? {
        Node::Band(band) => Some(band),
        Node::Leaf(_) => None,
    }
}

/// Calls `visit` on every band, outermost first.
pub fn visit_bands_mut(schedule: &mut Schedule, visit: &mut dyn FnMut(&mut Band)) {
    fn below(nodes: &mut [Node], visit: &mut dyn FnMut(&mut Band)) {
        for node in nodes {
            if let Node::Band(band) = node {
                visit(band);
                below(&mut band.body, visit);
            }
        }
    }
    below(&mut schedule.roots, visit);
}

/// The iterator that a band member is, when the band is a plain loop over one dimension of each statement.
pub fn plain_dims(band: &Band) -> Option<IndexMap<StatementId, usize>> {
    band.members.iter().map(|(s, aff)| Some((*s, aff.as_iter()?))).collect()
}

/// Splits the loop at `path` into an outer loop over blocks and an inner loop over the `size` iterations of
/// a block; every statement's dimension `d` becomes the two dimensions `d` and `d + 1` with
/// `old = size * outer + inner`. Returns false, changing nothing, when the band is not a plain loop.
/// The order of instances does not change, so this is always legal.
pub fn strip_mine(program: &mut Program, path: &[usize], size: i64) -> bool {
    let count = |extent: &Aff| (extent.clone() + Aff::constant(size - 1)).floor_div(size);
    split_loop(program, path, &|extent| Blocks { size, late: 0, length: size, count: count(extent) })
}

/// The same in blocks that may overlap: what is in two of them runs twice.
pub fn strip_mine_overlapping(program: &mut Program, path: &[usize], blocks: &Blocks) -> bool {
    split_loop(program, path, &|_| blocks.clone())
}

/// Blocks of a loop: `old = size * outer + inner - late`, for `length` values of `inner`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocks {
    pub size: i64,
    pub late: i64,
    pub length: i64,
    pub count: Aff,
}

fn split_loop(program: &mut Program, path: &[usize], blocks: &dyn Fn(&Aff) -> Blocks) -> bool {
    let Some(dims) = band_at(&program.schedule, path).and_then(plain_dims) else { return false };
    for (id, dim) in &dims {
        let own = blocks(&program.statement(*id).extents[*dim]);
        split_dimension(program, *id, *dim, own);
    }
    let Some((nodes, at)) = siblings(&mut program.schedule, path) else { return false };
    let Node::Band(outer) = &mut nodes[at] else { return false };
    let members = dims.iter().map(|(s, d)| (*s, Aff::iter(d + 1))).collect();
    let body = std::mem::take(&mut outer.body);
    outer.members = dims.iter().map(|(s, d)| (*s, Aff::iter(*d))).collect();
    outer.body = vec![Node::Band(Band { members, mark: Mark::Seq, body })];
    true
}

/// Splits dimension `d` of one statement, in its domain, its expressions and its band members.
fn split_dimension(program: &mut Program, id: StatementId, d: usize, blocks: Blocks) {
    let params = program.params.clone();
    let Blocks { size, late, length, count } = blocks;
    program.history.renamings.push(Renaming::Split { statement: id, dim: d, size, late });
    let statement = program.statement_mut(id);
    let old = |n: usize| match n.cmp(&d) {
        std::cmp::Ordering::Less => Aff::iter(n),
        std::cmp::Ordering::Equal => Aff::iter(d) * size + Aff::iter(d + 1) - Aff::constant(late),
        std::cmp::Ordering::Greater => Aff::iter(n + 1),
    };
    let extent = statement.extents[d].clone();
    statement.map_exprs(&mut |e| e.substitute_aff(&old));
    for aff in statement.constraints.iter_mut().chain(statement.extents.iter_mut().skip(d + 1)) {
        *aff = aff.substitute(&old);
    }
    statement.extents[d] = count;
    statement.extents.insert(d + 1, Aff::constant(length));
    let name = statement.dims[d].clone();
    statement.dims.insert(d + 1, format!("{name}_in"));
    for bound in [extent - Aff::constant(1) - old(d), old(d)] {
        let least = bound.bounds(&|p| param_range(&params, p), &|n| statement.range(n)).0;
        if least.is_none_or(|least| least < 0) {
            statement.constraints.push(bound);
        }
    }
    simplify(statement, &params);
    remap(&mut program.schedule.roots, id, &old);
}

/// Removes iterators of statements, each in ascending order; what still uses them finds 0.
pub fn drop_iterators(program: &mut Program, dropped: &IndexMap<StatementId, Vec<usize>>) {
    let renumbered = |dims: &[usize], n: usize| match dims.binary_search(&n) {
        Ok(_) => Aff::constant(0),
        Err(before) => Aff::iter(n - before),
    };
    let params = program.params.clone();
    for (id, dims) in dropped {
        let statement = program.statement_mut(*id);
        for d in dims.iter().rev() {
            statement.dims.remove(*d);
            statement.extents.remove(*d);
        }
        let affs = statement.extents.iter_mut().chain(&mut statement.constraints);
        affs.for_each(|a| *a = a.substitute(&|n| renumbered(dims, n)));
        statement.map_exprs(&mut |e| e.substitute_aff(&|n| renumbered(dims, n)));
        simplify(statement, &params);
    }
    visit_bands_mut(&mut program.schedule, &mut |band| {
        for (id, value) in &mut band.members {
            if let Some(dims) = dropped.get(id) {
                *value = value.substitute(&|n| renumbered(dims, n));
            }
        }
    });
}

/// Rewrites the iterators of one statement's band members everywhere in the tree.
fn remap(nodes: &mut [Node], id: StatementId, by: &impl Fn(usize) -> Aff) {
    for node in nodes {
        if let Node::Band(band) = node
            && let Some(aff) = band.members.get_mut(&id)
        {
            *aff = aff.substitute(by);
            remap(&mut band.body, id, by);
        }
    }
}

/// Inclusive bounds of a parameter.
pub fn param_range(params: &Params, id: ParamId) -> Bounds {
    let param = params.get(id);
    (Some(param.min).filter(|m| *m != i64::MIN), param.max)
}

/// Simplifies every affine expression of a statement with the known ranges of its iterators.
pub fn simplify(statement: &mut Statement, params: &Params) {
    let ranges: Vec<_> = (0..statement.extents.len()).map(|d| statement.range(d)).collect();
    let range = |n: usize| ranges.get(n).copied().unwrap_or((None, None));
    let shorten = |a: &Aff| a.simplify(&|p| param_range(params, p), &range);
    statement.map_exprs(&mut |e| {
        e.rewrite(&mut |e| match e {
            crate::expr::Expr::Index(a) => crate::expr::Expr::Index(shorten(&a)),
            other => other,
        })
    });
    for aff in &mut statement.constraints {
        *aff = shorten(aff);
    }
}

/// A name that no array has: `wanted`, or that with a number.
pub fn unused_name(program: &Program, wanted: &str) -> String {
    let taken = |name: &str| program.arrays().any(|(_, a)| a.name == name);
    let numbered = (2..).map(|n| format!("{wanted}_{n}"));
    [wanted.to_string()].into_iter().chain(numbered).find(|n| !taken(n)).unwrap_or_default()
}

/// A chain of bands each of which contains only the next: the paths, outermost first, from `path` on.
pub fn chain(schedule: &Schedule, path: &[usize]) -> Vec<Path> {
    let mut out = Vec::new();
    let mut at = path.to_vec();
    while let Some(band) = band_at(schedule, &at) {
        out.push(at.clone());
        if band.body.len() != 1 || matches!(band.body[0], Node::Leaf(_)) {
            break;
        }
        at.push(0);
    }
    out
}

/// Reorders the chain of bands that starts at `path`: the new loop `n` is the old loop `order[n]`.
/// Legal only for bands that may be permuted; the caller decides.
pub fn permute_chain(schedule: &mut Schedule, path: &[usize], order: &[usize]) {
    let paths = &chain(schedule, path)[..order.len()];
    let heads: Vec<(IndexMap<StatementId, Aff>, Mark)> =
        paths.iter().filter_map(|p| band_at(schedule, p).map(|b| (b.members.clone(), b.mark))).collect();
    for (p, from) in paths.iter().zip(order) {
        if let Some(band) = band_at_mut(schedule, p) {
            (band.members, band.mark) = heads[*from].clone();
        }
    }
}
