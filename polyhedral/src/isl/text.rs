//! Programs in isl's notation: parameters by name, statements `S12`, arrays `A3`, iterators `i0, i1, ..`.

use super::{Ctx, Map, Set};
use crate::aff::Aff;
use crate::error::Result;
use crate::expr::{Access, Expr};
use crate::param::{Param, ParamId};
use crate::program::{Program, Statement, StatementId};
use std::collections::{BTreeSet, HashMap};

/// Prints the parts of one program as isl text.
pub struct Names<'a> {
    program: &'a Program,
    /// The statements that are called `S0`, `S1`, ..; without this, each has its own number.
    local: Option<HashMap<StatementId, usize>>,
}

/// Words of isl's grammar, and names that could be one of our tuples, iterators or isl's loop variables.
fn is_reserved(name: &str) -> bool {
    const WORDS: [&str; 18] = [
        "and", "ceil", "ceild", "exists", "false", "floor", "floord", "implies", "infinity", "infty", "max", "min",
        "mod", "nan", "not", "or", "rat", "true",
    ];
    let numbered = name.len() > 1 && name[1..].bytes().all(|b| b.is_ascii_digit());
    WORDS.contains(&name) || (numbered && matches!(name.as_bytes()[0], b'i' | b'c' | b'S' | b'A' | b'e' | b'o'))
}

/// The spelling of a parameter: its own name unless that word is taken.
pub fn param_name(param: &Param) -> String {
    if is_reserved(&param.name) { format!("p_{}", param.name) } else { param.name.clone() }
}

impl<'a> Names<'a> {
    pub fn new(program: &'a Program) -> Names<'a> {
        Names { program, local: None }
    }

    /// Calls `statements` `S0`, `S1`, .. in this order; texts about others than these mean nothing.
    pub fn local(program: &'a Program, statements: &[StatementId]) -> Names<'a> {
        Names { program, local: Some(statements.iter().enumerate().map(|(n, id)| (*id, n)).collect()) }
    }

    /// An affine expression over iterators `i0..`.
    pub fn aff(&self, aff: &Aff) -> String {
        self.aff_with(aff, "i")
    }

    fn aff_with(&self, aff: &Aff, prefix: &str) -> String {
        aff.display(&|p| param_name(self.program.params.get(p)), &|n| format!("{prefix}{n}"))
    }

    /// `[batch, seq] -> `, or nothing.
    pub fn header(&self, params: &BTreeSet<ParamId>) -> String {
        if params.is_empty() {
            return String::new();
        }
        let names: Vec<String> = params.iter().map(|p| param_name(self.program.params.get(*p))).collect();
        format!("[{}] -> ", names.join(", "))
    }

    /// The bounds that hold for `params` at run time.
    pub fn bounds(&self, params: &BTreeSet<ParamId>) -> Vec<String> {
        let mut out = Vec::new();
        for id in params {
            let param = self.program.params.get(*id);
            let name = param_name(param);
            if param.min > i64::MIN {
                out.push(format!("{name} >= {}", param.min));
            }
            if let Some(max) = param.max {
                out.push(format!("{name} <= {max}"));
            }
        }
        out
    }

    /// The parameter set of everything known about `params`.
    pub fn context(&self, params: &BTreeSet<ParamId>) -> String {
        format!("{}{{ : {} }}", self.header(params), conjunction(self.bounds(params)))
    }

    /// `S3[i0, i1]`.
    pub fn tuple(&self, id: StatementId) -> String {
        let number = self.local.as_ref().and_then(|l| l.get(&id)).map_or(id, |n| StatementId(*n as u32));
        tuple(number, self.program.statement(id).extents.len(), "i")
    }

    /// The constraints of the domain.
    pub fn domain_constraints(&self, statement: &Statement) -> Vec<String> {
        let mut out = Vec::new();
        for (d, extent) in statement.extents.iter().enumerate() {
            out.push(format!("0 <= i{d} < {}", self.aff(extent)));
        }
        out.extend(statement.constraints.iter().map(|c| format!("{} >= 0", self.aff(c))));
        out
    }

    /// Parameters of the domain and of `more`.
    pub fn params_of<'b>(&self, id: StatementId, more: impl IntoIterator<Item = &'b Aff>) -> BTreeSet<ParamId> {
        let statement = self.program.statement(id);
        let mut out = BTreeSet::new();
        let mut visit = |a: &Aff| {
            a.visit_params(&mut |p| {
                out.insert(p);
            })
        };
        statement.extents.iter().chain(&statement.constraints).for_each(&mut visit);
        more.into_iter().for_each(&mut visit);
        out
    }

    /// `[N] -> { S3[i0] : 0 <= i0 < N and .. }`.
    pub fn domain_text(&self, id: StatementId) -> String {
        let params = self.params_of(id, []);
        let mut constraints = self.domain_constraints(self.program.statement(id));
        constraints.extend(self.bounds(&params));
        format!("{}{{ {} : {} }}", self.header(&params), self.tuple(id), conjunction(constraints))
    }

    pub fn domain(&self, ctx: &Ctx, id: StatementId) -> Result<Set> {
        Set::read(ctx, &self.domain_text(id))
    }

    /// The map from the statement's instances (its domain) to `values`, an unnamed tuple.
    pub fn values(&self, ctx: &Ctx, id: StatementId, values: &[Aff]) -> Result<Map> {
        let params = self.params_of(id, values);
        let mut constraints = self.domain_constraints(self.program.statement(id));
        constraints.extend(self.bounds(&params));
        let texts: Vec<String> = values.iter().map(|a| self.aff(a)).collect();
        let (header, tuple) = (self.header(&params), self.tuple(id));
        Map::read(ctx, &format!("{header}{{ {tuple} -> [{}] : {} }}", texts.join(", "), conjunction(constraints)))
    }

    /// Instances to the elements they touch. A subscript that is not affine touches its whole dimension.
    pub fn access(&self, ctx: &Ctx, id: StatementId, access: &Access) -> Result<Map> {
        let affine: Vec<Option<Aff>> = access.index.iter().map(Expr::as_aff).collect();
        let extents = &self.program.array(access.array).extents;
        let params = self.params_of(id, affine.iter().flatten().chain(extents));
        let mut constraints = self.domain_constraints(self.program.statement(id));
        constraints.extend(self.bounds(&params));
        let mut subscripts = Vec::new();
        for (d, aff) in affine.iter().enumerate() {
            subscripts.push(format!("o{d}"));
            constraints.push(match aff {
                Some(aff) => format!("o{d} = {}", self.aff(aff)),
                None => format!("0 <= o{d} < {}", extents.get(d).map_or("1".into(), |e| self.aff(e))),
            });
        }
        let (header, tuple, array) = (self.header(&params), self.tuple(id), access.array);
        let subscripts = subscripts.join(", ");
        Map::read(ctx, &format!("{header}{{ {tuple} -> {array}[{subscripts}] : {} }}", conjunction(constraints)))
    }
}

/// `S3[i0, i1]` with any iterator prefix.
pub fn tuple(id: StatementId, dims: usize, prefix: &str) -> String {
    let iterators: Vec<String> = (0..dims).map(|d| format!("{prefix}{d}")).collect();
    format!("{id}[{}]", iterators.join(", "))
}

fn conjunction(constraints: Vec<String>) -> String {
    if constraints.is_empty() { "true".into() } else { constraints.join(" and ") }
}
