//! isl's syntax tree as a loop nest.

use super::expr::{Extrema, Extremum, Scope, affine, condition, extremum, negation, split_selection};
use super::tree::{MarkedBand, Root};
use crate::aff::{Aff, Bounds};
use crate::error::{Error, Result};
use crate::expr::{Access, Expr};
use crate::isl::{AstExpr, AstNode, AstOp};
use crate::loop_nest::{Bound, Condition, Nest};
use crate::param::ParamId;
use crate::program::{Program, StatementId};
use crate::schedule_tree::Mark;
use crate::transform::param_range;
use std::collections::HashMap;

pub struct Converter<'a> {
    program: &'a Program,
    params: HashMap<String, ParamId>,
    /// isl's loop variables in scope. isl names them by depth, so inner names never hide outer ones in use.
    scope: HashMap<String, Aff>,
    /// Range of each of our loop variables, by number.
    ranges: Vec<Bounds>,
    /// What `S0`, `m0`, .. of the root at hand are.
    statements: Vec<StatementId>,
    marks: Vec<MarkedBand>,
    body: Vec<Nest>,
}

impl Scope for Converter<'_> {
    fn lookup(&self, name: &str) -> Option<Aff> {
        self.scope.get(name).cloned().or_else(|| self.params.get(name).map(|p| Aff::param(*p)))
    }
}

impl<'a> Converter<'a> {
    pub fn new(program: &'a Program, params: HashMap<String, ParamId>) -> Converter<'a> {
        Converter {
            program,
            params,
            scope: HashMap::new(),
            ranges: Vec::new(),
            statements: Vec::new(),
            marks: Vec::new(),
            body: Vec::new(),
        }
    }

    /// Appends the nest of one root: `ast` as isl made it for the root's tree.
    pub fn root(&mut self, ast: &AstNode, root: &Root) -> Result<()> {
        self.statements.clone_from(&root.statements);
        self.marks.clone_from(&root.marks);
        let nests = self.eliminated(ast, &MarkedBand { mark: root.around, depth: None, values: HashMap::new() })?;
        self.body.extend(nests);
        Ok(())
    }

    /// Appends nests that were made without isl.
    pub fn extend(&mut self, nests: Vec<Nest>) {
        self.body.extend(nests);
    }

    /// The whole body and the number of loop variables.
    pub fn finish(self) -> (Vec<Nest>, u32) {
        (self.body, self.ranges.len() as u32)
    }

    /// `mark` is the kind of the next loop below.
    fn node(&mut self, ast: &AstNode, mark: Mark) -> Result<Vec<Nest>> {
        if let Some((test, then, otherwise)) = split_node(ast) {
            return self.branch(&test, &then, Some(&otherwise), mark);
        }
        match ast {
            AstNode::Block(children) => {
                let parts = self.joined(children);
                let parts = parts.iter().map(|c| self.node(c, mark)).collect::<Result<Vec<_>>>()?;
                Ok(parts.into_iter().flatten().collect())
            }
            AstNode::Mark(name, child) => {
                let band = self.band(name).ok_or_else(|| Error::bug("E922", format!("unknown mark {name}")))?.clone();
                if !self.is_left_out(name, child) {
                    return self.node(child, band.mark);
                }
                self.eliminated(child, &band)
            }
            AstNode::For { .. } => self.for_loop(ast, mark),
            AstNode::If { condition, then, otherwise } => self.branch(condition, then, otherwise.as_deref(), mark),
            AstNode::User(call) => Ok(vec![self.instance(call)?]),
        }
    }

    /// The band that a mark stands for.
    fn band(&self, mark: &str) -> Option<&MarkedBand> {
        let index = mark.strip_prefix('m').and_then(|n| n.parse::<usize>().ok());
        index.and_then(|n| self.marks.get(n))
    }

    /// The children of a block, blocks inside it opened. Where isl leaves out a loop, the loop's mark is on every child
    /// of its body: these are one body again.
    fn joined(&self, children: &[AstNode]) -> Vec<AstNode> {
        let mut out: Vec<AstNode> = Vec::new();
        for child in flat(children) {
            match (out.last_mut(), child) {
                (Some(AstNode::Mark(mark, body)), AstNode::Mark(name, next))
                    if mark == name && self.is_left_out(name, body) && self.is_left_out(name, next) =>
                {
                    let first = std::mem::replace(&mut **body, AstNode::Block(Vec::new()));
                    **body = AstNode::Block(vec![first, (**next).clone()]);
                }
                _ => out.push(child.clone()),
            }
        }
        out
    }

    fn is_left_out(&self, mark: &str, body: &AstNode) -> bool {
        let depth = |band: &MarkedBand| band.depth.is_some_and(|depth| has_loop(body, &format!("c{depth}")));
        self.band(mark).is_some_and(|band| !depth(band))
    }

    fn branch(&mut self, test: &AstExpr, then: &AstNode, other: Option<&AstNode>, mark: Mark) -> Result<Vec<Nest>> {
        let test = self.simplified(condition(self, test)?);
        if test == Condition::NonNegative(Vec::new()) {
            return self.node(then, mark);
        }
        let mut out = vec![Nest::If { condition: test.clone(), body: self.node(then, mark)? }];
        if let Some(other) = other {
            out.push(Nest::If { condition: negation(&test), body: self.node(other, mark)? });
        }
        Ok(out)
    }

    /// isl leaves out a loop of one iteration, its mark stays. The mark must not reach the loops inside. A
    /// lockstep loop stays as one of a single iteration: registers are private to it. So does a barrier, and a loop
    /// of the team, whose only iteration says which worker it is for.
    fn eliminated(&mut self, body: &AstNode, band: &MarkedBand) -> Result<Vec<Nest>> {
        let only = match band.mark {
            Mark::Team(_) => self.only(body, &band.values)?,
            Mark::Rows(_) | Mark::Lanes(_) | Mark::Barrier => Aff::constant(0),
            Mark::Seq | Mark::Parallel | Mark::Unroll => return self.node(body, Mark::Seq),
        };
        let end = only.clone() + Aff::constant(1);
        self.loops((None, vec![only]), (None, vec![end]), band.mark, &mut |this, _| this.node(body, Mark::Seq))
    }

    /// What a band of one iteration is at: isl has put that into the instance that it calls first.
    fn only(&self, body: &AstNode, values: &HashMap<StatementId, Aff>) -> Result<Aff> {
        let unknown = || Error::bug("E927", "a band of the team has an unknown iteration");
        let (id, iterators) = self.called(first_call(body).ok_or_else(unknown)?)?;
        let value = values.get(&id).ok_or_else(unknown)?;
        let places = iterators.iter().enumerate().map(|(n, e)| match value.uses_iter(n) {
            true => affine(self, e)?.ok_or_else(|| not_affine(e)),
            false => Ok(Aff::constant(0)),
        });
        let places = places.collect::<Result<Vec<Aff>>>()?;
        Ok(self.simple(&value.substitute(&|n| places[n].clone())))
    }

    fn for_loop(&mut self, ast: &AstNode, kind: Mark) -> Result<Vec<Nest>> {
        let AstNode::For { iterator, init, condition, step, degenerate, body } = ast else {
            return Err(Error::bug("E923", "not a loop"));
        };
        if *degenerate {
            let value = affine(self, init)?.ok_or_else(|| not_affine(init))?;
            let value = self.simple(&value);
            if matches!(kind, Mark::Team(_)) {
                let only = (None, vec![value.clone()]);
                let end = (None, vec![value + Aff::constant(1)]);
                return self.loops(only, end, kind, &mut |this, var| this.inside(iterator, var, body, Mark::Seq));
            }
            return self.inside(iterator, value, body, Mark::Seq);
        }
        let AstExpr::Int(step) = step else { return Err(not_affine(step)) };
        let (lower, upper) = (self.bounds_of(init)?, self.upper(iterator, condition)?);
        if *step != 1 {
            return self.strided(iterator, lower, upper, *step, kind, body);
        }
        self.loops(lower, upper, kind, &mut |this, var| this.inside(iterator, var, body, Mark::Seq))
    }

    /// The loops from `lower` to `upper` in steps of 1; `body` makes what is inside for a loop variable.
    fn loops(
        &mut self,
        lower: Extrema,
        upper: Extrema,
        kind: Mark,
        body: &mut dyn FnMut(&mut Self, Aff) -> Result<Vec<Nest>>,
    ) -> Result<Vec<Nest>> {
        let mut out = Vec::new();
        for (lower, upper) in pieces(lower, upper) {
            let var = self.new_var(&lower, &upper);
            let body = body(self, Aff::iter(var))?;
            out.push(Nest::Loop { var: var as u32, lower: Bound(lower), upper: Bound(upper), kind, body });
        }
        Ok(out)
    }

    /// A loop with a step: `iterator = lower + step * var`. Where there are several lower bounds, one loop for
    /// each, under the test that it is the one that counts (the first of equals).
    fn strided(
        &mut self,
        iterator: &str,
        (extremum, starts): Extrema,
        (kind, ends): Extrema,
        step: i64,
        mark: Mark,
        body: &AstNode,
    ) -> Result<Vec<Nest>> {
        let mut out = Vec::new();
        for (k, start) in starts.iter().enumerate() {
            let trips = |u: &Aff| (u.clone() - start.clone() + Aff::constant(step - 1)).floor_div(step);
            let trips = (kind, ends.iter().map(trips).collect());
            let loops = self.loops((None, vec![Aff::constant(0)]), trips, mark, &mut |this, var| {
                this.inside(iterator, start.clone() + var * step, body, Mark::Seq)
            })?;
            let sign = if extremum == Some(Extremum::Min) { -1 } else { 1 };
            let others = starts.iter().enumerate().filter(|(j, _)| *j != k);
            let counts = others.map(|(j, s)| (start.clone() - s.clone()) * sign - Aff::constant(i64::from(j < k)));
            match self.simplified(Condition::NonNegative(counts.collect())) {
                Condition::NonNegative(always) if always.is_empty() => out.extend(loops),
                condition => out.push(Nest::If { condition, body: loops }),
            }
        }
        Ok(out)
    }

    fn inside(&mut self, iterator: &str, value: Aff, body: &AstNode, mark: Mark) -> Result<Vec<Nest>> {
        let outer = self.scope.insert(iterator.to_string(), value);
        let nests = self.node(body, mark);
        match outer {
            Some(outer) => self.scope.insert(iterator.to_string(), outer),
            None => self.scope.remove(iterator),
        };
        nests
    }

    /// A loop variable from `max(lower)` to `min(upper)`, exclusive.
    pub fn new_var(&mut self, lower: &[Aff], upper: &[Aff]) -> usize {
        let lows = lower.iter().filter_map(|a| self.range(a).0);
        let lo = lows.max();
        let highs = upper.iter().filter_map(|a| self.range(a).1);
        let hi = highs.min().map(|h| h - 1);
        self.ranges.push((lo, hi));
        self.ranges.len() - 1
    }

    /// Constant bounds of an expression over loop variables and parameters, inclusive.
    pub fn range(&self, aff: &Aff) -> Bounds {
        aff.bounds(&|p| param_range(&self.program.params, p), &|n| self.ranges[n])
    }

    fn simple(&self, aff: &Aff) -> Aff {
        aff.simplify(&|p| param_range(&self.program.params, p), &|n| self.ranges[n])
    }

    fn bounds_of(&self, expr: &AstExpr) -> Result<Extrema> {
        let (kind, affs) = extremum(self, expr)?.ok_or_else(|| not_affine(expr))?;
        Ok((kind, affs.iter().map(|a| self.simple(a)).collect()))
    }

    /// Exclusive upper bounds, from `iterator <= ..` or `iterator < ..`.
    fn upper(&self, iterator: &str, condition: &AstExpr) -> Result<Extrema> {
        let AstExpr::Op(op, arguments) = condition else { return Err(not_affine(condition)) };
        let past = match op {
            AstOp::Le => 1,
            AstOp::Lt => 0,
            _ => return Err(not_affine(condition)),
        };
        match &arguments[0] {
            AstExpr::Name(name) if name == iterator => {}
            _ => return Err(not_affine(condition)),
        }
        let (kind, affs) = self.bounds_of(&arguments[1])?;
        Ok((kind, affs.into_iter().map(|a| a + Aff::constant(past)).collect()))
    }

    /// Simplifies, and drops tests that always hold.
    pub fn simplified(&self, condition: Condition) -> Condition {
        let Condition::NonNegative(affs) = condition else { return condition };
        let affs = affs.iter().map(|a| self.simple(a)).filter(|a| self.range(a).0.is_none_or(|lo| lo < 0));
        Condition::NonNegative(affs.collect())
    }

    /// A call `S3(c0, c1 + 1)`.
    fn instance(&self, call: &AstExpr) -> Result<Nest> {
        let (id, iterators) = self.called(call)?;
        let values =
            iterators.iter().map(|e| affine(self, e)?.ok_or_else(|| not_affine(e))).collect::<Result<Vec<Aff>>>()?;
        Ok(self.compute(id, &values))
    }

    /// The statement that isl calls, and its iterators.
    fn called<'e>(&self, call: &'e AstExpr) -> Result<(StatementId, &'e [AstExpr])> {
        let AstExpr::Op(AstOp::Call, arguments) = call else { return Err(not_affine(call)) };
        let Some((AstExpr::Name(name), iterators)) = arguments.split_first() else { return Err(not_affine(call)) };
        let number = name.strip_prefix('S').and_then(|n| n.parse::<usize>().ok());
        let id = number.and_then(|n| self.statements.get(n).copied());
        let id = id.ok_or_else(|| Error::bug("E925", format!("isl calls {name}")))?;
        Ok((id, iterators))
    }

    /// An instance, where its iterators have these values.
    pub fn compute(&self, id: StatementId, values: &[Aff]) -> Nest {
        let statement = self.program.statement(id);
        let place = |e: &Expr| {
            e.substitute_aff(&|n| values[n].clone()).rewrite(&mut |e| match e {
                Expr::Index(a) => Expr::Index(self.simple(&a)),
                other => other,
            })
        };
        let compute = Nest::Compute {
            statement: id,
            kind: statement.kind,
            target: Access { array: statement.target.array, index: statement.target.index.iter().map(place).collect() },
            value: place(&statement.value),
            origin: statement.origin.clone(),
        };
        match &statement.guard {
            Some(guard) => Nest::If { condition: Condition::Guard(place(guard)), body: vec![compute] },
            None => compute,
        }
    }
}

/// The loops, one after another, that run from `lower` to `upper`. One loop, unless the lower bound is a minimum
/// or the upper bound a maximum (statements of one band with domains of unrelated size): a [`Bound`] has neither.
fn pieces((low, lower): Extrema, (high, upper): Extrema) -> Vec<(Vec<Aff>, Vec<Aff>)> {
    let lowers: Vec<(Vec<Aff>, Vec<Aff>)> = match low {
        // From the last start to its predecessors, then from each predecessor on: empty where it comes later.
        Some(Extremum::Min) => (0..lower.len()).rev().map(|k| (vec![lower[k].clone()], lower[..k].to_vec())).collect(),
        _ => vec![(lower, Vec::new())],
    };
    let mut out = Vec::new();
    for (starts, stops) in lowers {
        match high {
            Some(Extremum::Max) => out.extend((0..upper.len()).map(|k| {
                let starts = starts.iter().chain(&upper[..k]).cloned().collect();
                (starts, [vec![upper[k].clone()], stops.clone()].concat())
            })),
            _ => out.push((starts, [upper.clone(), stops].concat())),
        }
    }
    out
}

fn flat(children: &[AstNode]) -> Vec<&AstNode> {
    let mut out = Vec::new();
    for child in children {
        match child {
            AstNode::Block(inner) => out.extend(flat(inner)),
            other => out.push(other),
        }
    }
    out
}

/// A loop whose bound, or an instance whose subscript, selects between two expressions is two nodes, one for
/// either outcome: bounds and subscripts are affine.
fn split_node(ast: &AstNode) -> Option<(AstExpr, AstNode, AstNode)> {
    match ast {
        AstNode::For { init, condition, .. } => {
            let with = |part: AstExpr, is_init: bool| {
                let mut copy = ast.clone();
                if let AstNode::For { init, condition, .. } = &mut copy {
                    *(if is_init { init } else { condition }) = part;
                }
                copy
            };
            let (is_init, (test, a, b)) = match split_selection(init) {
                Some(split) => (true, split),
                None => (false, split_selection(condition)?),
            };
            Some((test, with(a, is_init), with(b, is_init)))
        }
        AstNode::User(call) => {
            let (test, a, b) = split_selection(call)?;
            Some((test, AstNode::User(a), AstNode::User(b)))
        }
        _ => None,
    }
}

/// Is the loop `iterator` the first one on some way down?
fn has_loop(ast: &AstNode, wanted: &str) -> bool {
    match ast {
        AstNode::Block(children) => children.iter().any(|c| has_loop(c, wanted)),
        AstNode::Mark(_, child) => has_loop(child, wanted),
        AstNode::For { iterator, .. } => iterator == wanted,
        AstNode::If { then, otherwise, .. } => {
            has_loop(then, wanted) || otherwise.as_ref().is_some_and(|o| has_loop(o, wanted))
        }
        AstNode::User(_) => false,
    }
}

/// The first instance of a part of the tree.
fn first_call(ast: &AstNode) -> Option<&AstExpr> {
    match ast {
        AstNode::Block(children) => children.iter().find_map(first_call),
        AstNode::Mark(_, body) | AstNode::For { body, .. } => first_call(body),
        AstNode::If { then, otherwise, .. } => first_call(then).or_else(|| first_call(otherwise.as_ref()?)),
        AstNode::User(call) => Some(call),
    }
}

fn not_affine(expr: &AstExpr) -> Error {
    Error::bug("E926", format!("isl made a loop that a nest cannot express: {expr:?}"))
}
