//! What parameters, arrays and iterators are called, in both directions.

use super::lexer::{is_ident, spell};
use crate::aff::Aff;
use crate::param::{ParamId, Params};
use crate::program::{Array, ArrayId};
use std::collections::HashMap;

/// Words that an expression reads as literals.
const LITERALS: [&str; 2] = ["true", "false"];

/// The names of one text: parameters and arrays.
#[derive(Default)]
pub struct Scope {
    params: Vec<String>,
    param_ids: HashMap<String, ParamId>,
    arrays: Vec<String>,
    array_ids: HashMap<String, ArrayId>,
}

/// The names in one statement.
pub struct Names<'a> {
    pub scope: &'a Scope,
    pub iters: Iters<'a>,
}

/// What iterator `n` is called.
pub enum Iters<'a> {
    /// By dimension name.
    Dims(&'a [String]),
    /// Loop variables: `c3`.
    Vars,
}

impl Scope {
    pub fn of<'a>(params: &Params, arrays: impl Iterator<Item = &'a Array>) -> Scope {
        let mut scope = Scope::default();
        params.iter().for_each(|(_, p)| scope.add_param(&p.name));
        arrays.for_each(|a| scope.add_array(&a.name));
        scope
    }

    pub fn add_param(&mut self, name: &str) {
        self.param_ids.insert(name.to_owned(), ParamId(self.params.len() as u32));
        self.params.push(name.to_owned());
    }

    pub fn add_array(&mut self, name: &str) {
        self.array_ids.insert(name.to_owned(), ArrayId(self.arrays.len() as u32));
        self.arrays.push(name.to_owned());
    }

    pub fn find_param(&self, name: &str) -> Option<ParamId> {
        self.param_ids.get(name).copied()
    }

    pub fn find_array(&self, name: &str) -> Option<ArrayId> {
        self.array_ids.get(name).copied()
    }

    /// An id without an array (a broken program in a dump) prints as the id.
    pub fn array(&self, id: ArrayId) -> String {
        self.arrays.get(id.0 as usize).map_or_else(|| id.to_string(), |name| spell(name))
    }

    pub fn param(&self, id: ParamId) -> String {
        match self.params.get(id.0 as usize) {
            Some(name) if LITERALS.contains(&name.as_str()) => format!("{name:?}"),
            Some(name) => spell(name),
            None => format!("p{}", id.0),
        }
    }
}

impl Names<'_> {
    /// The bare name where it means this iterator only, else its number.
    pub fn iter(&self, n: usize) -> String {
        let name = match &self.iters {
            Iters::Dims(dims) => dims.get(n).cloned().unwrap_or_default(),
            Iters::Vars => format!("c{n}"),
        };
        if is_ident(&name) && self.find_iter(&name) == Some(n) { name } else { format!("%{n}") }
    }

    pub fn aff(&self, aff: &Aff) -> String {
        aff.display(&|p| self.scope.param(p), &|n| self.iter(n))
    }

    /// What a bare name in an expression stands for; parameters win.
    pub fn find(&self, name: &str) -> Option<Aff> {
        match self.scope.find_param(name) {
            Some(id) => Some(Aff::param(id)),
            None => self.find_iter(name).map(Aff::iter),
        }
    }

    fn find_iter(&self, name: &str) -> Option<usize> {
        if self.scope.find_param(name).is_some() || LITERALS.contains(&name) {
            return None;
        }
        match &self.iters {
            Iters::Dims(dims) => {
                let mut found = dims.iter().enumerate().filter(|(_, d)| *d == name).map(|(n, _)| n);
                found.next().filter(|_| found.next().is_none())
            }
            Iters::Vars => {
                let n: u32 = name.strip_prefix('c')?.parse().ok()?;
                (name == format!("c{n}")).then_some(n as usize)
            }
        }
    }
}
