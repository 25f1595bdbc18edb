//! The structural invariants of a program, numbered; one function each.
//!
//! They hold after extraction and after every pass. What needs isl (every producer runs before its readers,
//! folded storage is large enough) is checked by `legality` and `storage`.
//!
//! - P1 array names are unique identifiers; `fold` has one positive entry per dimension.
//! - P2 extents of arrays use parameters only; a constant has the bytes its extents ask for.
//! - P3 `inputs` and `outputs` name the arrays with those roles, in order.
//! - P4 a parameter's definition refers to earlier parameters, and its bounds are not empty.
//! - P5 dimension names and extents correspond; extent `d` uses earlier iterators, constraints use existing ones.
//! - P6 every access names an array, with one subscript per dimension, of type `i64`, over existing iterators.
//! - P7 operands of an operation have equal types that the operation takes.
//! - P8 the value has the target's type, the guard is `bool`.
//! - P9 constants and graph inputs are not written; a reduction's operator is associative and commutative.
//! - P10 an array with `Reduce` or `Update` statements has an `Assign` that gives the initial value.
//! - P11 every statement is one leaf of the tree, and a member of the bands above that leaf and of no other.
//! - P12 exits are arrays of type `bool`; placement is for temporaries.

use crate::aff::{Aff, Term};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::expr::{Access, BinaryOp, Expr, UnaryOp};
use crate::param::ParamDef;
use crate::program::{ArrayId, Program, Role, Statement, StatementId, StatementKind};
use crate::schedule_tree::Node;
use std::collections::{HashMap, HashSet};

/// The first broken invariant, as a bug that names it and the statement.
pub fn verify(program: &Program) -> Result<()> {
    p1_arrays(program)?;
    p2_extents(program)?;
    p3_interface(program)?;
    p4_params(program)?;
    for (id, statement) in program.statements() {
        let check = || {
            p5_domain(program, statement)?;
            p6_accesses(program, statement)?;
            p7_operands(program, statement)?;
            p8_types(program, statement)?;
            p9_writes(program, statement)
        };
        check().map_err(|broken| broken.error(id, statement))?;
    }
    p10_initial_values(program)?;
    p11_schedule(program)?;
    p12_exits(program)
}

/// An invariant that a statement breaks.
struct Broken(&'static str, String);

type Checked = std::result::Result<(), Broken>;

impl Broken {
    fn error(self, id: StatementId, statement: &Statement) -> Error {
        broken(self.0, format!("{id}: {}", self.1)).at(&statement.origin)
    }
}

fn broken(invariant: &str, what: impl std::fmt::Display) -> Error {
    Error::bug("B901", format!("{invariant}: {what}"))
}

fn p1_arrays(program: &Program) -> Result<()> {
    let mut names = HashSet::new();
    for (id, array) in program.arrays() {
        if !names.insert(&array.name) || array.name.is_empty() {
            return Err(broken("P1", format!("{id} has the name {:?}, which is empty or taken", array.name)));
        }
        if array.fold.len() != array.extents.len() || array.fold.iter().flatten().any(|w| *w < 1) {
            return Err(broken("P1", format!("{id} ({}) needs one positive fold per dimension", array.name)));
        }
    }
    Ok(())
}

fn p2_extents(program: &Program) -> Result<()> {
    for (id, array) in program.arrays() {
        if array.extents.iter().any(|e| e.has_iters() || !params_below(e, program.params.len())) {
            return Err(broken("P2", format!("{id} ({}) has extents over unknown names", array.name)));
        }
        let Role::Constant(data) = &array.role else { continue };
        let count = array.extents.iter().try_fold(1i64, |n, e| n.checked_mul(e.as_constant()?));
        let bytes = count.and_then(|n| n.checked_mul(array.dtype.size() as i64));
        if bytes != Some(data.bytes().len() as i64) {
            return Err(broken("P2", format!("{id} ({}) has {} bytes of data", array.name, data.bytes().len())));
        }
    }
    Ok(())
}

fn p3_interface(program: &Program) -> Result<()> {
    let listed = |list: &[ArrayId], role: fn(usize) -> Role, word: &str| {
        let wrong = list.iter().enumerate().find(|(n, id)| program.get_array(**id).is_none_or(|a| a.role != role(*n)));
        let roles = program.arrays().filter(|(_, a)| (0..=list.len()).any(|n| a.role == role(n))).count();
        match wrong {
            Some((n, id)) => Err(broken("P3", format!("{id} is listed as {word} {n} without that role"))),
            None if roles != list.len() => Err(broken("P3", format!("an array with role {word} is not listed once"))),
            None => Ok(()),
        }
    };
    listed(&program.inputs, Role::Input, "input")?;
    listed(&program.outputs, Role::Output, "output")
}

fn p4_params(program: &Program) -> Result<()> {
    for (id, param) in program.params.iter() {
        let refers = match &param.def {
            ParamDef::Input { .. } | ParamDef::Content { .. } | ParamDef::Value { .. } => vec![],
            ParamDef::Mul(a, b) | ParamDef::FloorDiv(a, b) | ParamDef::Max(a, b) | ParamDef::Min(a, b) => vec![a, b],
        };
        if refers.iter().any(|a| a.has_iters() || !params_below(a, id.0 as usize)) {
            return Err(broken("P4", format!("parameter {} is defined by a later one", param.name)));
        }
        if param.max.is_some_and(|max| max < param.min) {
            return Err(broken("P4", format!("parameter {} has no possible value", param.name)));
        }
    }
    Ok(())
}

fn p5_domain(program: &Program, s: &Statement) -> Checked {
    if s.dims.len() != s.extents.len() {
        return Err(Broken("P5", format!("{} dimension names for {} extents", s.dims.len(), s.extents.len())));
    }
    let known = |a: &Aff, iters: usize| iters_below(a, iters) && params_below(a, program.params.len());
    if let Some(d) = (0..s.extents.len()).find(|d| !known(&s.extents[*d], *d)) {
        return Err(Broken("P5", format!("the extent of {} uses a later iterator", s.dims[d])));
    }
    match s.constraints.iter().find(|c| !known(c, s.dims.len())) {
        Some(_) => Err(Broken("P5", "a constraint uses an iterator that does not exist".into())),
        None => Ok(()),
    }
}

fn p6_accesses(program: &Program, s: &Statement) -> Checked {
    let mut out = access(program, &s.target);
    s.visit_reads(&mut |read| {
        if out.is_ok() {
            out = access(program, read);
        }
    });
    let mut iterators = true;
    each_expr(s, &mut |e| {
        e.visit_affs(&mut |a| iterators &= iters_below(a, s.dims.len()) && params_below(a, program.params.len()));
    });
    if out.is_ok() && !iterators {
        out = Err(Broken("P6", "an expression uses an iterator or parameter that does not exist".into()));
    }
    out
}

fn access(program: &Program, access: &Access) -> Checked {
    let Some(array) = program.get_array(access.array) else {
        return Err(Broken("P6", format!("{} does not exist", access.array)));
    };
    if access.index.len() != array.extents.len() {
        let (given, rank) = (access.index.len(), array.extents.len());
        return Err(Broken("P6", format!("{given} subscripts for {} of rank {rank}", array.name)));
    }
    Ok(())
}

fn p7_operands(program: &Program, s: &Statement) -> Checked {
    let mut out = Ok(());
    each_expr(s, &mut |e| {
        if out.is_ok() {
            out = typed(program, e).map(|_| ());
        }
    });
    for index in &s.target.index {
        expect("P6", typed(program, index)?, DType::I64, "a subscript")?;
    }
    out
}

/// The type of a well-typed expression.
fn typed(program: &Program, expr: &Expr) -> std::result::Result<DType, Broken> {
    match expr {
        Expr::Const(s) => Ok(s.dtype()),
        Expr::Index(_) => Ok(DType::I64),
        Expr::Load(access) => {
            for index in &access.index {
                expect("P6", typed(program, index)?, DType::I64, "a subscript")?;
            }
            Ok(program.array(access.array).dtype)
        }
        Expr::Cast(t, a) => typed(program, a).map(|_| *t),
        Expr::Unary(op, a) => unary_type(*op, typed(program, a)?),
        Expr::Binary(op, a, b) => binary_type(*op, typed(program, a)?, typed(program, b)?),
        Expr::Select(c, a, b) => {
            expect("P7", typed(program, c)?, DType::Bool, "the condition of select")?;
            let (a, b) = (typed(program, a)?, typed(program, b)?);
            expect("P7", b, a, "the second choice of select")?;
            Ok(a)
        }
    }
}

fn unary_type(op: UnaryOp, operand: DType) -> std::result::Result<DType, Broken> {
    use UnaryOp::*;
    let fits = match op {
        Neg | Abs | Sign | Floor | Ceil | Round => operand != DType::Bool,
        Not => !operand.is_float(),
        Bits => op.result(operand) != operand,
        _ => operand.is_float(),
    };
    if !fits {
        return Err(Broken("P7", format!("{} of {operand}", op.name())));
    }
    Ok(op.result(operand))
}

fn binary_type(op: BinaryOp, a: DType, b: DType) -> std::result::Result<DType, Broken> {
    use BinaryOp::*;
    expect("P7", b, a, &format!("the second operand of {}", op.name()))?;
    let fits = match op {
        Add | Sub | Mul | Div | Mod | Rem | Pow => a != DType::Bool,
        And | Or | Xor => !a.is_float(),
        Shl | Shr => a.is_integer(),
        Dot2 | Dot4 => a == DType::I32,
        _ => true,
    };
    if !fits {
        return Err(Broken("P7", format!("{} of {a}", op.name())));
    }
    Ok(if op.is_comparison() { DType::Bool } else { a })
}

fn p8_types(program: &Program, s: &Statement) -> Checked {
    expect("P8", typed(program, &s.value)?, program.array(s.target.array).dtype, "the value")?;
    match &s.guard {
        Some(guard) => expect("P8", typed(program, guard)?, DType::Bool, "the guard"),
        None => Ok(()),
    }
}

fn expect(invariant: &'static str, found: DType, wanted: DType, what: &str) -> Checked {
    if found == wanted {
        return Ok(());
    }
    Err(Broken(invariant, format!("{what} has type {found}, expected {wanted}")))
}

fn p9_writes(program: &Program, s: &Statement) -> Checked {
    use BinaryOp::*;
    let array = program.array(s.target.array);
    if matches!(array.role, Role::Input(_) | Role::Constant(_)) {
        return Err(Broken("P9", format!("{} is read-only", array.name)));
    }
    match s.kind {
        StatementKind::Reduce(op) if !matches!(op, Add | Mul | Min | Max | And | Or) => {
            Err(Broken("P9", format!("{} cannot be reduced in any order", op.name())))
        }
        StatementKind::Reduce(op) => binary_type(op, array.dtype, array.dtype).map(|_| ()),
        _ => Ok(()),
    }
}

fn p10_initial_values(program: &Program) -> Result<()> {
    let assigned: HashSet<ArrayId> =
        program.statements().filter(|(_, s)| s.kind == StatementKind::Assign).map(|(_, s)| s.target.array).collect();
    match program.statements().find(|(_, s)| !assigned.contains(&s.target.array)) {
        None => Ok(()),
        Some((id, s)) => {
            let name = &program.array(s.target.array).name;
            Err(broken("P10", format!("{id}: no statement gives {name} its initial value")).at(&s.origin))
        }
    }
}

fn p11_schedule(program: &Program) -> Result<()> {
    let mut leaves = HashMap::new();
    for node in &program.schedule.roots {
        below(program, node, &mut leaves)?;
    }
    match program.statements().find(|(id, _)| leaves.get(id) != Some(&1)) {
        None => Ok(()),
        Some((id, s)) => {
            let times = leaves.get(&id).copied().unwrap_or(0);
            Err(broken("P11", format!("{id} has {times} leaves in the schedule tree, not one")).at(&s.origin))
        }
    }
}

/// Counts leaves, and checks that a band's members are the statements below it.
fn below(program: &Program, node: &Node, leaves: &mut HashMap<StatementId, usize>) -> Result<HashSet<StatementId>> {
    match node {
        Node::Leaf(id) if program.get_statement(*id).is_none() => {
            Err(broken("P11", format!("the schedule tree runs {id}, which does not exist")))
        }
        Node::Leaf(id) => {
            *leaves.entry(*id).or_default() += 1;
            Ok(HashSet::from([*id]))
        }
        Node::Band(band) => {
            let mut inside = HashSet::new();
            for child in &band.body {
                inside.extend(below(program, child, leaves)?);
            }
            let members: HashSet<StatementId> = band.members.keys().copied().collect();
            if let Some(id) = inside.symmetric_difference(&members).min() {
                return Err(broken("P11", format!("{id} is not both below a band and one of its members")));
            }
            for (id, value) in &band.members {
                let s = program.statement(*id);
                if !iters_below(value, s.dims.len()) || !params_below(value, program.params.len()) {
                    return Err(
                        broken("P11", format!("{id}: a band uses an iterator that does not exist")).at(&s.origin)
                    );
                }
            }
            Ok(inside)
        }
    }
}

fn p12_exits(program: &Program) -> Result<()> {
    if let Some(id) = program.exits.iter().find(|id| program.get_array(**id).is_none_or(|a| a.dtype != DType::Bool)) {
        return Err(broken("P12", format!("the exit {id} is not an array of type bool")));
    }
    match program.arrays().find(|(_, a)| a.placement.is_some() && !a.is_temp()) {
        Some((_, a)) => Err(broken("P12", format!("{} is placed in the workspace but is no temporary", a.name))),
        None => Ok(()),
    }
}

/// Calls `visit` on value, guard and target subscripts.
fn each_expr(s: &Statement, visit: &mut dyn FnMut(&Expr)) {
    visit(&s.value);
    s.guard.iter().for_each(&mut *visit);
    s.target.index.iter().for_each(visit);
}

fn iters_below(aff: &Aff, limit: usize) -> bool {
    aff.terms().iter().all(|(term, _)| match term {
        Term::Iter(n) => (*n as usize) < limit,
        Term::FloorDiv(a, _) => iters_below(a, limit),
        Term::Param(_) => true,
    })
}

fn params_below(aff: &Aff, limit: usize) -> bool {
    let mut below = true;
    aff.visit_params(&mut |p| below &= (p.0 as usize) < limit);
    below
}
