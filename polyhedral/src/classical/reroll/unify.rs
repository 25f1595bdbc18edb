//! Are the groups of a run the same but for what advances from one to the next?

use super::Slot;
use super::runs::{Run, without_constant};
use crate::aff::Aff;
use crate::expr::{Access, Expr};
use crate::program::{Array, ArrayId, Program, Role, Statement, StatementId, StatementKind};
use std::cell::RefCell;
use std::collections::HashMap;

/// A run as the body of a loop, whose iterator is the first of every statement.
pub struct Rolled {
    /// In tree order; arrays from `merged` on are the slots.
    pub statements: Vec<Statement>,
    pub slots: Vec<Slot>,
    /// The id that slot 0 gets when it is added to the program.
    merged: u32,
}

impl Rolled {
    /// Where the elements of every array of a group will be: array and plane.
    pub fn planes(&self) -> HashMap<ArrayId, (ArrayId, i64)> {
        let mut out = HashMap::new();
        for (slot, merged) in self.slots.iter().zip(self.merged..) {
            for (group, array) in slot.arrays.iter().enumerate() {
                out.insert(*array, (ArrayId(merged), group as i64 + slot.offset()));
            }
        }
        out
    }
}

/// The groups as one; `None` where they differ by more than a loop can say.
pub fn unify(program: &Program, run: &Run) -> Option<Rolled> {
    let groups: Vec<Vec<StatementId>> =
        (0..run.count).map(|i| run.group(i).flat_map(|n| program.schedule.roots[n].statements()).collect()).collect();
    let found = Groups::of(program, groups)?;
    let positions = 0..found.groups[0].len();
    let statements = positions.map(|n| found.statement(n)).collect::<Option<Vec<_>>>()?;
    let initial = found.initial.into_inner();
    // A plane that nothing reads at first is not there: subscripts have counted it where a group reads the one before.
    if found.carried.iter().zip(&initial).any(|(carried, initial)| *carried != initial.is_some()) {
        return None;
    }
    let slots = found.slots.into_iter().zip(initial).map(|(arrays, initial)| Slot { arrays, initial }).collect();
    Some(Rolled { statements, slots, merged: found.merged })
}

/// The groups of a run while they are compared.
struct Groups<'p> {
    program: &'p Program,
    groups: Vec<Vec<StatementId>>,
    /// Group and slot of every array that only one group writes.
    own: HashMap<ArrayId, (usize, usize)>,
    /// The array of every group.
    slots: Vec<Vec<ArrayId>>,
    /// Does a group read the slot of the group before it?
    carried: Vec<bool>,
    /// What the first group reads there.
    initial: RefCell<Vec<Option<ArrayId>>>,
    merged: u32,
}

/// Where the groups find a value.
enum Source {
    /// All in the same array, which no group writes.
    Outside(ArrayId),
    /// In the slot, of their own group or of the one before.
    Slot { number: usize, before: bool },
}

impl<'p> Groups<'p> {
    fn of(program: &'p Program, groups: Vec<Vec<StatementId>>) -> Option<Groups<'p>> {
        let mut slots: Vec<Vec<ArrayId>> = Vec::new();
        let mut own = HashMap::new();
        for position in 0..groups[0].len() {
            let arrays: Vec<ArrayId> = groups.iter().map(|g| program.statement(g[position]).target.array).collect();
            let shared = arrays.iter().all(|a| *a == arrays[0]);
            if shared || own.contains_key(&arrays[0]) {
                continue;
            }
            for (group, array) in arrays.iter().enumerate() {
                if !may_merge(program, *array, arrays[0]) || own.insert(*array, (group, slots.len())).is_some() {
                    return None;
                }
            }
            slots.push(arrays);
        }
        let merged = program.arrays().count() as u32;
        let (carried, initial) = (vec![false; slots.len()], RefCell::new(vec![None; slots.len()]));
        let mut found = Groups { program, groups, own, slots, carried, initial, merged };
        found.written_once().then_some(())?;
        for id in found.groups[1].clone() {
            program.statement(id).visit_reads(&mut |a| {
                if let Some((0, slot)) = found.own.get(&a.array) {
                    found.carried[*slot] = true;
                }
            });
        }
        Some(found)
    }

    /// Does nobody but its own group write the array of a group?
    fn written_once(&self) -> bool {
        let group_of: HashMap<StatementId, usize> =
            self.groups.iter().enumerate().flat_map(|(g, ids)| ids.iter().map(move |id| (*id, g))).collect();
        self.program
            .statements()
            .all(|(id, s)| self.own.get(&s.target.array).is_none_or(|(group, _)| group_of.get(&id) == Some(group)))
    }

    /// Statement `position` of all groups as one.
    fn statement(&self, position: usize) -> Option<Statement> {
        let all: Vec<&Statement> = self.groups.iter().map(|g| self.program.statement(g[position])).collect();
        let first = all[0];
        if first.kind == StatementKind::Update {
            return None;
        }
        let target = self.target(&all.iter().map(|s| &s.target).collect::<Vec<_>>())?;
        let value = self.expr(&all.iter().map(|s| &s.value).collect::<Vec<_>>())?;
        let guards: Vec<&Expr> = all.iter().filter_map(|s| s.guard.as_ref()).collect();
        let guard = if guards.is_empty() { None } else { Some(self.expr(&guards)?) };
        let steps = Aff::constant(self.groups.len() as i64);
        Some(Statement {
            dims: [step_name(&first.dims)].into_iter().chain(first.dims.iter().cloned()).collect(),
            extents: [steps].into_iter().chain(first.extents.iter().map(|e| e.shift_iters(1))).collect(),
            constraints: first.constraints.iter().map(|c| c.shift_iters(1)).collect(),
            kind: first.kind,
            target,
            value,
            guard,
            origin: first.origin.clone(),
        })
    }

    /// Each group writes its own array, or all write different elements of one that none of them reads.
    fn target(&self, all: &[&Access]) -> Option<Access> {
        let index = self.subscripts(all)?;
        match self.own.get(&all[0].array) {
            Some((_, slot)) => {
                let aligned = all.iter().enumerate().all(|(g, a)| self.own.get(&a.array) == Some(&(g, *slot)));
                aligned.then(|| self.plane(*slot, false, index))
            }
            None => {
                let advances = index.iter().any(|e| matches!(e, Expr::Index(a) if a.coefficient(0) != 0));
                let apart = all.iter().all(|a| a.array == all[0].array) && advances;
                apart.then_some(Access { array: all[0].array, index })
            }
        }
    }

    /// Element `index` of a slot, in the plane of the step or the one before it.
    fn plane(&self, slot: usize, before: bool, index: Vec<Expr>) -> Access {
        let offset = i64::from(self.carried[slot]) - i64::from(before);
        let step = Expr::Index(Aff::iter(0) + Aff::constant(offset));
        Access { array: ArrayId(self.merged + slot as u32), index: [step].into_iter().chain(index).collect() }
    }

    fn expr(&self, all: &[&Expr]) -> Option<Expr> {
        let children = |n: usize| all.iter().map(|e| e.children().get(n).copied()).collect::<Option<Vec<&Expr>>>();
        let child = |n: usize| self.expr(&children(n)?);
        Some(match all[0] {
            Expr::Const(c) => {
                let same = all.iter().all(|e| matches!(e, Expr::Const(d) if d == c));
                same.then_some(Expr::Const(*c))?
            }
            Expr::Index(_) => Expr::Index(advancing(all)?),
            Expr::Load(_) => {
                let access = |e: &&'_ Expr| if let Expr::Load(a) = e { Some(a.clone()) } else { None };
                let all = all.iter().map(access).collect::<Option<Vec<Access>>>()?;
                Expr::Load(self.load(&all.iter().collect::<Vec<_>>())?)
            }
            Expr::Unary(op, _) => Expr::unary(*op, child(0)?),
            Expr::Cast(dtype, _) => Expr::cast(*dtype, child(0)?),
            Expr::Binary(op, ..) => Expr::binary(*op, child(0)?, child(1)?),
            Expr::Select(..) => Expr::select(child(0)?, child(1)?, child(2)?),
        })
    }

    fn load(&self, all: &[&Access]) -> Option<Access> {
        let index = self.subscripts(all)?;
        match self.source(&all.iter().map(|a| a.array).collect::<Vec<_>>())? {
            Source::Outside(array) => Some(Access { array, index }),
            Source::Slot { number, before } => Some(self.plane(number, before, index)),
        }
    }

    fn subscripts(&self, all: &[&Access]) -> Option<Vec<Expr>> {
        let rank = all[0].index.len();
        let at = |d: usize| all.iter().map(|a| a.index.get(d)).collect::<Option<Vec<&Expr>>>();
        (0..rank).map(|d| self.expr(&at(d)?)).collect()
    }

    fn source(&self, arrays: &[ArrayId]) -> Option<Source> {
        let all_from = |first: usize, slot: usize, back: usize| {
            (first..arrays.len()).all(|g| self.own.get(&arrays[g]) == Some(&(g - back, slot)))
        };
        match (self.own.get(&arrays[0]), self.own.get(&arrays[1])) {
            (Some((0, slot)), _) => all_from(0, *slot, 0).then_some(Source::Slot { number: *slot, before: false }),
            (None, Some((0, slot))) => {
                let begins = all_from(1, *slot, 1) && self.begins(*slot, arrays[0]);
                begins.then_some(Source::Slot { number: *slot, before: true })
            }
            _ => self.outside(arrays).then_some(Source::Outside(arrays[0])),
        }
    }

    /// Notes that the first group finds the values before the first step in `array`.
    fn begins(&self, slot: usize, array: ArrayId) -> bool {
        let (own, other) = (self.program.array(self.slots[slot][0]), self.program.array(array));
        let known = &mut self.initial.borrow_mut()[slot];
        let same = own.dtype == other.dtype && own.extents == other.extents && !self.is_written(array);
        same && *known.get_or_insert(array) == array
    }

    /// Do all groups read the same values, which none of them writes?
    fn outside(&self, arrays: &[ArrayId]) -> bool {
        !self.is_written(arrays[0])
            && arrays
                .iter()
                .all(|a| *a == arrays[0] || same_constant(self.program.array(*a), self.program.array(arrays[0])))
    }

    fn is_written(&self, array: ArrayId) -> bool {
        self.groups.iter().flatten().any(|id| self.program.statement(*id).target.array == array)
    }
}

/// May the array become a plane of one like `first`?
fn may_merge(program: &Program, id: ArrayId, first: ArrayId) -> bool {
    let (array, first) = (program.array(id), program.array(first));
    let is_read_by_lowering = program.exits.contains(&id) || program.params.read_array(&array.name);
    let ours = matches!(array.role, Role::Temp | Role::Output(_)) && !is_read_by_lowering;
    ours && array.dtype == first.dtype && array.extents == first.extents && array.fold.iter().all(Option::is_none)
}

fn same_constant(a: &Array, b: &Array) -> bool {
    matches!(a.role, Role::Constant(_)) && a.dtype == b.dtype && a.extents == b.extents && a.role == b.role
}

/// The subscript of group `t`, where every group's is that of the group before plus a constant.
fn advancing(all: &[&Expr]) -> Option<Aff> {
    let affs =
        all.iter().map(|e| if let Expr::Index(a) = e { Some(a) } else { None }).collect::<Option<Vec<&Aff>>>()?;
    let (first, step) = (affs[0], affs[1].offset() - affs[0].offset());
    let fits = |(group, aff): (usize, &&Aff)| {
        without_constant(aff) == without_constant(first) && aff.offset() == first.offset() + group as i64 * step
    };
    affs.iter().enumerate().all(fits).then(|| first.shift_iters(1) + Aff::iter(0) * step)
}

/// A name for the loop that no other iterator has.
fn step_name(taken: &[String]) -> String {
    let numbered = (2..).map(|n| format!("t_{n}"));
    ["t".to_string()].into_iter().chain(numbered).find(|n| !taken.contains(n)).unwrap_or_default()
}
