//! One factor of the products that a reduction sums up.

use crate::aff::Aff;
use crate::classical::fold::constant;
use crate::dtype::Scalar;
use crate::error::Result;
use crate::expr::{Access, Expr};
use crate::program::{ArrayId, Program, Role, Statement};
use crate::scalar;
use crate::schedule::group;
use std::cell::OnceCell;

/// An expression that depends on the summed iterator through one access, as a function of that access's element.
pub struct Factor {
    /// Over the subscripts of `array`: iterator `n` is the one in dimension `n`.
    pub value: Expr,
    pub array: ArrayId,
    /// The dimension along which neighbours are summed up.
    pub dim: usize,
    /// What the statement reads.
    pub access: Access,
    values: OnceCell<Option<Vec<i32>>>,
}

impl Factor {
    /// The factor `e` of the statement, with neighbours along iterator `k`; `None` where `k` is not one whole dimension of
    /// one array, or where `e` is more than a function of its element and of the other plain subscripts.
    pub fn of(program: &Program, statement: &Statement, e: &Expr, k: usize) -> Option<Factor> {
        let mut along = Vec::new();
        e.visit_loads(&mut |a| {
            if group::uses(a, k) && !along.contains(a) {
                along.push(a.clone());
            }
        });
        let [access] = along.as_slice() else { return None };
        let array = program.array(access.array);
        let subscripts = access.index.iter().map(index).collect::<Option<Vec<Aff>>>()?;
        let dim = subscripts.iter().position(|a| a.as_iter() == Some(k))?;
        let once = subscripts.iter().filter(|a| a.uses_iter(k)).count() == 1;
        if !once || array.extents[dim] != statement.extents[k] {
            return None;
        }
        let place = |d: usize| subscripts.iter().position(|a| a.as_iter() == Some(d));
        let value = over_elements(e, access, &place)?;
        Some(Factor { value, array: access.array, dim, access: access.clone(), values: OnceCell::new() })
    }

    /// The values of a factor that is constant, for all elements of its array in their order.
    pub fn constants(&self, program: &Program) -> Option<&[i32]> {
        self.values.get_or_init(|| self.evaluate(program)).as_deref()
    }

    fn evaluate(&self, program: &Program) -> Option<Vec<i32>> {
        let extents = self.extents(program)?;
        let Role::Constant(data) = &program.array(self.array).role else { return None };
        let (mut known, mut fixed) = (true, true);
        self.value.visit_loads(&mut |a| {
            known &= matches!(program.array(a.array).role, Role::Constant(_));
            fixed &= a.array == self.array || !a.index.iter().any(|e| e.as_aff().is_none_or(|a| a.has_iters()));
        });
        let (dtype, origin) = (program.array(self.array).dtype, vec![0; extents.len()]);
        match known {
            // Most often the value is a function of the byte alone.
            true if fixed && dtype.size() == 1 => {
                let element = |code: u8| scalar::read(&[code], 0, dtype);
                let table = (0..=u8::MAX).map(|code| self.constant(program, &origin, element(code)).ok());
                let table = table.collect::<Option<Vec<i32>>>()?;
                Some(data.bytes().iter().map(|code| table[usize::from(*code)]).collect())
            }
            true => {
                let element = |n: i64| scalar::read(data.bytes(), n as usize, dtype);
                let count = extents.iter().product();
                (0..count).map(|n| self.constant(program, &point(n, &extents), element(n)).ok()).collect()
            }
            false => None,
        }
    }

    /// The value where the own array has `element` at `point`.
    fn constant(&self, program: &Program, point: &[i64], element: Scalar) -> Result<i32> {
        let aff = |a: &Aff| Ok(a.eval(&|_| 0, &|n| point[n]));
        let load =
            |id: ArrayId, index: &[i64]| if id == self.array { Ok(element) } else { constant(program, id, index) };
        Ok(scalar::to_int(scalar::eval(&self.value, &aff, &load)?) as i32)
    }

    /// The extents of the array, where they are constant.
    pub fn extents(&self, program: &Program) -> Option<Vec<i64>> {
        program.array(self.array).extents.iter().map(Aff::as_constant).collect()
    }
}

fn index(e: &Expr) -> Option<Aff> {
    if let Expr::Index(a) = e { Some(a.clone()) } else { None }
}

/// `e` with the subscripts of `access` as iterators; `place` says in which dimension an iterator is the subscript.
fn over_elements(e: &Expr, access: &Access, place: &dyn Fn(usize) -> Option<usize>) -> Option<Expr> {
    let go = |e: &Expr| over_elements(e, access, place);
    Some(match e {
        Expr::Load(a) if a == access => {
            Expr::Load(Access { array: a.array, index: (0..a.index.len()).map(Expr::iter).collect() })
        }
        Expr::Load(a) if a.array != access.array => {
            let moved = |e: &Expr| {
                let aff = index(e)?;
                let known = aff.all_iters(&|d| place(d).is_some());
                known.then(|| Expr::Index(aff.substitute(&|d| Aff::iter(place(d).unwrap_or(d)))))
            };
            Expr::Load(Access { array: a.array, index: a.index.iter().map(moved).collect::<Option<_>>()? })
        }
        Expr::Const(_) => e.clone(),
        Expr::Load(_) | Expr::Index(_) => return None,
        Expr::Unary(op, a) => Expr::unary(*op, go(a)?),
        Expr::Cast(t, a) => Expr::cast(*t, go(a)?),
        Expr::Binary(op, a, b) => Expr::binary(*op, go(a)?, go(b)?),
        Expr::Select(c, a, b) => Expr::select(go(c)?, go(a)?, go(b)?),
    })
}

/// Point number `n` of a box in row-major order.
fn point(mut n: i64, extents: &[i64]) -> Vec<i64> {
    let mut out = vec![0; extents.len()];
    for (at, extent) in out.iter_mut().zip(extents).rev() {
        *at = n % extent;
        n /= extent;
    }
    out
}
