//! Operand layouts for register tiles: the second half of `tile`, not a pass of its own.
//!
//! A vector load wants consecutive lanes in consecutive memory. Constant operands (weights) are rearranged
//! at compile time into `[blocks..][reduction..][lanes]`, zero-padded to whole tiles, so that the inner loop
//! reads one stream front to back. Other operands that the vector loop would read with a stride are copied
//! to a temporary with the vector dimension last, where each element is read at least [`MIN_REUSE`] times.

use super::group::{self, Stride};
use crate::aff::Aff;
use crate::dtype::DType;
use crate::expr::{Access, Expr};
use crate::program::{Array, ConstantData, Packed, Program, Role, Statement, StatementId, StatementKind};
use crate::schedule_tree::{Band, Mark, Node};
use crate::transform::{self, Path};
use indexmap::IndexMap;

/// How much larger than its source a rearranged constant may be.
const MAX_REPEATS: i64 = 4;
/// Constants of so few elements may grow freely.
const SMALL: i64 = 4096;
/// A copy pays when each copied element is used at least this often.
const MIN_REUSE: i64 = 4;

/// Can (and should) this operand be rearranged: a constant, or an operand of a contraction?
pub fn can_pack(program: &Program, id: StatementId, access: &Access) -> bool {
    if !access.index.iter().all(|e| matches!(e, Expr::Index(_))) {
        return false;
    }
    let array = program.array(access.array);
    match array.role {
        Role::Constant(_) => {
            let extents = used_extents(program, id, access);
            let sizes = extents.iter().map(|(_, e)| e.as_constant()).collect::<Option<Vec<i64>>>();
            let count = |sizes: Vec<i64>| sizes.iter().try_fold(1i64, |a, b| a.checked_mul(*b));
            let old = array.extents.iter().map(Aff::as_constant).collect::<Option<Vec<i64>>>().and_then(count);
            // Overlapping windows repeat elements; that must not multiply the weights.
            sizes
                .and_then(count)
                .zip(old)
                .is_some_and(|(new, old)| new <= old.saturating_mul(MAX_REPEATS).saturating_add(SMALL))
        }
        _ => group::is_contraction_statement(program, id) && reuse(program, id, access) >= MIN_REUSE,
    }
}

/// The statement's iterators that the access depends on, with their extents.
fn used_extents(program: &Program, id: StatementId, access: &Access) -> Vec<(usize, Aff)> {
    let extents = &program.statement(id).extents;
    (0..extents.len()).filter(|d| group::uses(access, *d)).map(|d| (d, extents[d].clone())).collect()
}

/// How often each copied element would be read.
pub fn reuse(program: &Program, id: StatementId, access: &Access) -> i64 {
    let statement = program.statement(id);
    let unused = (0..statement.extents.len()).filter(|d| !group::uses(access, *d));
    unused.map(|d| program.params.hint(&statement.extents[d]).max(2)).fold(1, i64::saturating_mul)
}

/// Loads of the statement's value, each distinct one once.
fn loads(program: &Program, id: StatementId) -> Vec<Access> {
    let mut out: Vec<Access> = Vec::new();
    program.statement(id).value.visit_loads(&mut |a| {
        if !out.contains(a) {
            out.push(a.clone());
        }
    });
    out
}

fn replace(program: &mut Program, id: StatementId, old: &Access, new: &Access) {
    program.statement_mut(id).map_exprs(&mut |e| {
        e.rewrite(&mut |e| match e {
            Expr::Load(a) if a == *old => Expr::Load(new.clone()),
            other => other,
        })
    });
}

// ---- activations --------------------------------------------------------------------------------------

/// Copies strided run-time operands of the contraction `id`, whose nest is at `top`; returns the number of
/// nests inserted before it.
pub fn pack_activations(program: &mut Program, top: &Path, id: StatementId, lane: usize) -> usize {
    let strided = |program: &Program, a: &Access| {
        group::uses(a, lane)
            && !matches!(group::stride(program, a, lane), Stride::Constant(-1..=2))
            && !matches!(program.array(a.array).role, Role::Constant(_))
            && can_pack(program, id, a)
    };
    let wanted: Vec<Access> = loads(program, id).into_iter().filter(|a| strided(program, a)).collect();
    for access in &wanted {
        copy(program, top, id, access, lane);
    }
    wanted.len()
}

/// The iterators of the statement that the bands around `top` fix, outermost first.
fn prefix(program: &Program, top: &Path, id: StatementId) -> Vec<usize> {
    let bands = (1..top.len()).filter_map(|n| transform::band_at(&program.schedule, &top[..n]));
    bands.filter_map(|b| b.members.get(&id)?.as_iter()).collect()
}

/// Inserts `P[prefix.., used.., lane] = X[..]` before the nest at `top` and redirects the load.
fn copy(program: &mut Program, top: &Path, id: StatementId, access: &Access, lane: usize) {
    let outer = prefix(program, top, id);
    let used = used_extents(program, id, access).into_iter().map(|(d, _)| d);
    let inner = used.filter(|d| !outer.contains(d) && *d != lane).chain([lane]);
    let dims: Vec<usize> = outer.iter().copied().chain(inner).collect();
    let reader = program.statement(id).clone();
    let source = program.array(access.array);
    let extents: Vec<Aff> = dims.iter().map(|d| reader.extents[*d].clone()).collect();
    let name = format!("{}_packed{}", source.name, program.arrays().count());
    let packed = program.add_array(Array::new(name, source.dtype, extents.clone(), Role::Temp));
    let renamed = |n: usize| Aff::iter(dims.iter().position(|d| *d == n).unwrap_or(n));
    let own: Vec<Expr> = (0..dims.len()).map(Expr::iter).collect();
    let value = Expr::Load(access.clone()).substitute_aff(&renamed);
    // A last block that is not full.
    let kept = reader.constraints.iter().filter(|c| c.all_iters(&|d| dims.contains(&d)));
    let constraints = kept.map(|c| c.substitute(&renamed)).collect();
    let statement = Statement {
        dims: dims.iter().map(|d| reader.dims[*d].clone()).collect(),
        extents,
        constraints,
        kind: StatementKind::Assign,
        target: Access { array: packed, index: own },
        value,
        guard: reader.guard.as_ref().map(|g| g.substitute_aff(&renamed)),
        origin: reader.origin.clone(),
    };
    let new = program.add_statement(statement);
    insert(program, top, new, outer.len(), dims.len());
    let index = dims.iter().map(|d| Expr::iter(*d)).collect();
    replace(program, id, access, &Access { array: packed, index });
}

/// Puts loops over dimensions `prefix..dims` of a new statement before the node at `top`, and the statement
/// into the bands around it.
fn insert(program: &mut Program, top: &Path, id: StatementId, prefix: usize, dims: usize) {
    let mut ordinal = 0;
    for n in 1..top.len() {
        if let Some(band) = transform::band_at_mut(&mut program.schedule, &top[..n]) {
            band.members.insert(id, Aff::iter(ordinal));
            ordinal += 1;
        }
    }
    if let Some((nodes, at)) = transform::siblings(&mut program.schedule, top) {
        let nest = Node::loops_of(id, prefix, dims);
        nodes.splice(at..at, nest);
    }
}

// ---- constants ----------------------------------------------------------------------------------------

/// Rearranges the constant operands that the lanes at `lanes` read.
pub fn pack_constants(program: &mut Program, lanes: &Path, id: StatementId) {
    let Some((lane, width)) = lane_dim(program, lanes, id) else { return };
    for access in loads(program, id) {
        let constant = matches!(program.array(access.array).role, Role::Constant(_));
        let statement = program.statement(id);
        // Read once, or along the sum: in the order it has.
        let once = statement.kind == StatementKind::Assign || !group::uses(&statement.target, lane);
        let streamed = once && matches!(group::stride(program, &access, lane), Stride::Constant(1));
        if constant && group::uses(&access, lane) && !streamed && can_pack(program, id, &access) {
            pack_constant(program, id, &access, lane, width);
        }
    }
}

/// The statement's iterator that is the vector loop, and the number of lanes.
fn lane_dim(program: &Program, lanes: &Path, id: StatementId) -> Option<(usize, i64)> {
    let band: &Band = transform::band_at(&program.schedule, lanes)?;
    let Mark::Lanes(width) = band.mark else { return None };
    Some((band.members.get(&id)?.as_iter()?, i64::from(width)))
}

fn pack_constant(program: &mut Program, id: StatementId, access: &Access, lane: usize, width: i64) {
    let used = used_extents(program, id, access);
    let order = loop_position(program, id);
    let mut dims: Vec<usize> = used.iter().map(|(d, _)| *d).filter(|d| *d != lane).collect();
    dims.sort_by_key(|d| order.get(d).copied().unwrap_or(usize::MAX));
    dims.push(lane);
    let statement = program.statement(id);
    let Some(mut sizes) = dims.iter().map(|d| statement.extents[*d].as_constant()).collect::<Option<Vec<_>>>() else {
        return;
    };
    // Whole vectors, also where the loop itself is shorter.
    if let Some(last) = sizes.last_mut() {
        *last = width.max(*last);
    }
    let source = program.array(access.array).clone();
    let Some(bytes) = gather(&source, access, &dims, &sizes) else { return };
    let extents = sizes.iter().map(|s| Aff::constant(*s)).collect();
    let name = format!("{}_packed{}", source.name, program.arrays().count());
    let role = Role::Constant(ConstantData::new(bytes));
    let packed = program.add_array(Array::new(name, source.dtype, extents, role));
    let place = |d: usize| Aff::iter(dims.iter().position(|n| *n == d).unwrap_or(d));
    let subscripts = access.index.iter().filter_map(Expr::as_aff).map(|a| a.substitute(&place)).collect();
    program.history.packed.push(Packed { array: packed, from: access.array, subscripts });
    let index = dims.iter().map(|d| Expr::iter(*d)).collect();
    replace(program, id, access, &Access { array: packed, index });
}

/// For each iterator of the statement, how deep its loop is.
fn loop_position(program: &Program, id: StatementId) -> IndexMap<usize, usize> {
    let mut out = IndexMap::new();
    let mut nodes = &program.schedule.roots;
    loop {
        let below = |n: &&Node| matches!(n, Node::Band(b) if b.members.contains_key(&id));
        let Some(Node::Band(band)) = nodes.iter().find(below) else { return out };
        if let Some(d) = band.members[&id].as_iter() {
            out.insert(d, out.len());
        }
        nodes = &band.body;
    }
}

/// The elements `source[access(i)]` for all `i` over `dims` with extents `sizes`, row-major; zero where the
/// access leaves the array (the padding of the last tile). `None` when the subscripts divide, or know their values at
/// run time only.
fn gather(source: &Array, access: &Access, dims: &[usize], sizes: &[i64]) -> Option<Vec<u8>> {
    let Role::Constant(data) = &source.role else { return None };
    let extents = source.extents.iter().map(Aff::as_constant).collect::<Option<Vec<i64>>>()?;
    let subscripts = access.index.iter().map(Expr::as_aff).collect::<Option<Vec<Aff>>>()?;
    let mut symbolic = false;
    subscripts.iter().for_each(|a| a.visit_params(&mut |_| symbolic = true));
    if symbolic || subscripts.iter().any(|a| dims.iter().any(|d| a.divides_iter(*d))) {
        return None;
    }
    let size = source.dtype.size();
    let count = sizes.iter().try_fold(1i64, |a, b| a.checked_mul(*b))?;
    let mut out = vec![0u8; usize::try_from(count).ok()?.checked_mul(size)?];
    let rows = Subscripts { base: subscripts.iter().map(Aff::offset).collect(), dims, subscripts: &subscripts };
    let inner = *sizes.last()?;
    let step: Vec<i64> = rows.step(dims.len() - 1);
    for (row, chunk) in out.chunks_exact_mut(inner as usize * size).enumerate() {
        let start = rows.at(row as i64, &sizes[..sizes.len() - 1]);
        copy_row(data.bytes(), &extents, &start, &step, source.dtype, chunk);
    }
    Some(out)
}

/// Affine subscripts as a base and one step per loop.
struct Subscripts<'a> {
    base: Vec<i64>,
    dims: &'a [usize],
    subscripts: &'a [Aff],
}

impl Subscripts<'_> {
    /// How the subscripts move when loop `n` advances.
    fn step(&self, n: usize) -> Vec<i64> {
        self.subscripts.iter().map(|a| a.coefficient(self.dims[n])).collect()
    }

    /// The subscripts at point number `row` of the outer loops.
    fn at(&self, mut row: i64, sizes: &[i64]) -> Vec<i64> {
        let mut at = self.base.clone();
        for n in (0..sizes.len()).rev() {
            let i = row % sizes[n];
            row /= sizes[n];
            for (value, step) in at.iter_mut().zip(self.step(n)) {
                *value += i * step;
            }
        }
        at
    }
}

/// Copies one row of lanes; elements outside the array stay zero.
fn copy_row(data: &[u8], extents: &[i64], start: &[i64], step: &[i64], dtype: DType, out: &mut [u8]) {
    let size = dtype.size();
    for (i, cell) in out.chunks_exact_mut(size).enumerate() {
        let mut offset = Some(0i64);
        for ((s, d), extent) in start.iter().zip(step).zip(extents) {
            let at = s + d * i as i64;
            offset = offset.filter(|_| (0..*extent).contains(&at)).map(|o| o * extent + at);
        }
        if let Some(from) = offset.map(|o| o as usize * size) {
            cell.copy_from_slice(&data[from..from + size]);
        }
    }
}
