//! How long does a part of the program take? Pure functions of statements, extents and machine numbers; all in
//! nanoseconds of one worker.

use super::operations::operations;
use super::reuse::fixed_around;
use crate::machine::Machine;
use crate::program::{Program, StatementId, StatementKind};
use crate::schedule::group;
use crate::transform;

/// Vector operations that one core starts per nanosecond: two per cycle at about 3.5 GHz, less what loads and loop
/// control take.
const VECTORS_PER_NS: f64 = 4.0;

/// All instances of a statement at the parameters' typical values, for one value of the iterators `fixed`.
pub fn nanoseconds(program: &Program, id: StatementId, fixed: &[usize], machine: &Machine) -> f64 {
    instances(program, id, fixed) * instance(program, id, machine)
}

/// One run of the node at `path`, for one iteration of the loops around it.
pub fn of_node(program: &Program, path: &[usize], machine: &Machine) -> f64 {
    let around = fixed_around(program, path);
    let Some(band) = transform::band_at(&program.schedule, path) else { return 0.0 };
    let one = |id: StatementId| {
        let fixed: Vec<usize> = around.iter().filter(|(s, _)| *s == id).map(|(_, d)| *d).collect();
        nanoseconds(program, id, &fixed, machine)
    };
    band.members.keys().copied().map(one).sum()
}

fn instances(program: &Program, id: StatementId, fixed: &[usize]) -> f64 {
    let statement = program.statement(id);
    let free = (0..statement.extents.len()).filter(|d| !fixed.contains(d));
    free.map(|d| program.params.hint(&statement.extents[d]).max(1) as f64).product()
}

/// Nanoseconds of one instance, its share of a vector.
fn instance(program: &Program, id: StatementId, machine: &Machine) -> f64 {
    let statement = program.statement(id);
    let bytes = program.array(statement.target.array).dtype.size().max(4);
    let own = f64::from(u8::from(!group::is_contraction_statement(program, id)));
    let mut loads = 0.0;
    statement.visit_reads(&mut |_| loads += 0.5);
    let reduce = if statement.kind == StatementKind::Assign { 0.0 } else { 0.5 };
    (operations(&statement.value) + loads + own + reduce) / (machine.lanes(bytes) as f64 * VECTORS_PER_NS)
}
