//! `fold`: compute at compile time what only depends on constants.
//!
//! Rewrite: an `Assign` whose value loads constant arrays only, over a domain of constant extents that covers
//! its whole array, becomes a constant array. This is how per-channel factors of a batch normalization,
//! transposed or dequantized weights and position tables leave the run-time program. Declined above
//! [`MAX_ELEMENTS`] (compile time), where the result is more than [`MAX_GROWTH`] times as large as what it
//! reads (a broadcast is cheaper to repeat than to load), and for large copies (a view costs nothing).
//! Always legal: values do not depend on the schedule.

use crate::aff::Aff;
use crate::dtype::Scalar;
use crate::error::{Error, Result};
use crate::expr::{Access, Expr};
use crate::pass::{Pass, PassContext};
use crate::program::{ArrayId, ConstantData, Program, Role, Statement, StatementId, StatementKind};
use crate::scalar;

/// Elements evaluated per statement: about a second of compile time.
const MAX_ELEMENTS: i64 = 1 << 22;
const MAX_GROWTH: i64 = 4;
/// Larger plain copies are left to `forward`, which reads the original through a view.
const MAX_COPY: i64 = 1 << 12;

pub struct Fold;

impl Pass for Fold {
    fn name(&self) -> &'static str {
        "fold"
    }

    fn summary(&self) -> &'static str {
        "compute at compile time what only depends on constants"
    }

    fn run(&self, program: &mut Program, context: &mut PassContext) -> Result<()> {
        // Tree order is definition order, so chains of constants fold in one sweep.
        for id in program.schedule.statements() {
            let Some(extents) = foldable(program, id) else { continue };
            let bytes = evaluate(program, program.statement(id), &extents)?;
            let (array, origin) = (program.statement(id).target.array, program.statement(id).origin.clone());
            let size = bytes.len();
            program.array_mut(array).role = Role::Constant(ConstantData::new(bytes));
            program.remove_statement(id);
            context.applied(self.name(), &origin, format!("{size} bytes computed at compile time"));
        }
        Ok(())
    }
}

/// The constant extents of a statement that can be evaluated now.
fn foldable(program: &Program, id: StatementId) -> Option<Vec<i64>> {
    let statement = program.statement(id);
    let array = program.array(statement.target.array);
    let plain = statement.kind == StatementKind::Assign
        && array.is_temp()
        && statement.guard.is_none()
        && statement.constraints.is_empty()
        && writers(program, statement.target.array) == 1;
    let extents = statement.extents.iter().map(Aff::as_constant).collect::<Option<Vec<i64>>>()?;
    let whole: Vec<i64> = array.extents.iter().map(Aff::as_constant).collect::<Option<_>>()?;
    let count: i64 = whole.iter().try_fold(1i64, |n, e| n.checked_mul(*e))?;
    let covers = covers(&statement.target, &extents, &whole);
    let read = constant_elements(program, statement)?;
    let large_copy = matches!(statement.value, Expr::Load(_)) && count > MAX_COPY;
    (plain && covers && !large_copy && count <= MAX_ELEMENTS && count <= read.max(1024).saturating_mul(MAX_GROWTH))
        .then_some(extents)
}

fn writers(program: &Program, array: ArrayId) -> usize {
    program.statements().filter(|(_, s)| s.target.array == array).count()
}

/// Does the statement write every element: each subscript a different iterator of the dimension's extent?
fn covers(target: &Access, extents: &[i64], whole: &[i64]) -> bool {
    target.index.iter().zip(whole).all(|(index, extent)| match index {
        Expr::Index(a) if a.is_constant(0) => *extent == 1,
        Expr::Index(a) => a.as_iter().is_some_and(|d| extents[d] == *extent),
        _ => false,
    })
}

/// Elements of the constant arrays that the value reads; `None` when it reads anything else, or a parameter.
fn constant_elements(program: &Program, statement: &Statement) -> Option<i64> {
    let mut total = Some(0i64);
    statement.visit_reads(&mut |access| {
        let array = program.array(access.array);
        let count = array.extents.iter().try_fold(1i64, |n, e| n.checked_mul(e.as_constant()?));
        let constant = matches!(array.role, Role::Constant(_));
        total = total.zip(count).filter(|_| constant).map(|(a, b)| a.saturating_add(b));
    });
    let mut has_params = false;
    statement.value.visit_affs(&mut |a| a.visit_params(&mut |_| has_params = true));
    total.filter(|_| !has_params)
}

fn evaluate(program: &Program, statement: &Statement, extents: &[i64]) -> Result<Vec<u8>> {
    let array = program.array(statement.target.array);
    let count: i64 = extents.iter().product();
    let mut bytes = vec![0u8; count as usize * array.dtype.size()];
    let mut point = vec![0i64; extents.len()];
    for _ in 0..count {
        let aff = |a: &Aff| Ok(a.eval(&|_| 0, &|n| point[n]));
        let load = |id: ArrayId, index: &[i64]| constant(program, id, index);
        let value = scalar::cast(scalar::eval(&statement.value, &aff, &load)?, array.dtype);
        let index = statement.target.index.iter().map(|e| Ok(scalar::eval(e, &aff, &load)?.as_f64() as i64));
        let index = index.collect::<Result<Vec<i64>>>()?;
        let at = offset(program, statement.target.array, &index)?;
        scalar::write(&mut bytes, at, value);
        advance(&mut point, extents);
    }
    Ok(bytes)
}

/// The next point in row-major order.
fn advance(point: &mut [i64], extents: &[i64]) {
    for (i, extent) in point.iter_mut().zip(extents).rev() {
        *i += 1;
        if *i < *extent {
            return;
        }
        *i = 0;
    }
}

/// An element of a constant array.
pub fn constant(program: &Program, id: ArrayId, index: &[i64]) -> Result<Scalar> {
    let array = program.array(id);
    match &array.role {
        Role::Constant(data) => Ok(scalar::read(data.bytes(), offset(program, id, index)?, array.dtype)),
        _ => Err(Error::bug("B920", format!("{} is not constant", array.name))),
    }
}

fn offset(program: &Program, id: ArrayId, index: &[i64]) -> Result<usize> {
    let array = program.array(id);
    let mut at = 0i64;
    for (i, extent) in index.iter().zip(&array.extents) {
        let extent = extent.as_constant().unwrap_or(0);
        if *i < 0 || *i >= extent {
            return Err(Error::bug("B921", format!("subscript {i} of {} is outside 0..{extent}", array.name)));
        }
        at = at * extent + i;
    }
    Ok(at as usize)
}
