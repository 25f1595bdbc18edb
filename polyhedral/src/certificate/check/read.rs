//! The text of a listing as isl objects, and what is wrong with the text.

use super::guards::parts;
use super::order::{Band, Mark, Path, Team};
use crate::certificate::{ArrayEntry, Listing, ParamEntry, ReadBy, StatementEntry, Tree};
use crate::error::{Error, Result};
use crate::isl::{Ctx, Map, Set};
use std::collections::{HashMap, HashSet};

/// A certificate that cannot be read.
pub fn malformed(what: impl std::fmt::Display) -> Error {
    Error::invalid("E240", format!("the certificate cannot be read: {what}"))
}

/// A program as the checker sees it.
pub struct Program<'c> {
    pub arrays: HashMap<&'c str, Array<'c>>,
    /// In the order of the listing.
    pub statements: Vec<Statement<'c>>,
    pub index: HashMap<&'c str, usize>,
    /// `None` where one worker runs everything.
    pub team: Option<Team>,
}

pub struct Array<'c> {
    pub entry: &'c ArrayEntry,
    pub shape: Set,
}

pub struct Statement<'c> {
    pub entry: &'c StatementEntry,
    pub domain: Set,
    pub write: Access,
    pub reads: Vec<Access>,
    pub path: Path,
}

/// One access of a statement.
pub struct Access {
    pub array: String,
    pub by: ReadBy,
    /// From instances (and the values of computed subscripts) to the element.
    pub exact: Map,
    /// From instances to all elements that it may be.
    pub may: Map,
}

impl<'c> Statement<'c> {
    /// The body without its test.
    pub fn value(&self) -> &'c str {
        parts(&self.entry.body).0
    }

    /// The write and the reads.
    pub fn accesses(&self) -> impl Iterator<Item = &Access> {
        std::iter::once(&self.write).chain(&self.reads)
    }

    /// The operator of a reduction.
    pub fn reduces(&self) -> Option<&str> {
        Some(self.entry.kind.as_str()).filter(|kind| !matches!(*kind, "assign" | "update"))
    }
}

/// Spells parameters as isl wants them: every set names those that it uses.
pub struct Params<'c>(pub &'c [ParamEntry]);

impl Params<'_> {
    /// `[n, m] -> ` for the parameters that occur in `text`, or nothing.
    pub fn header(&self, text: &str) -> String {
        let used: Vec<&str> = self.used(text).map(|p| p.name.as_str()).collect();
        if used.is_empty() { String::new() } else { format!("[{}] -> ", used.join(", ")) }
    }

    fn used<'a>(&'a self, text: &'a str) -> impl Iterator<Item = &'a ParamEntry> {
        let words: HashSet<&str> = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).collect();
        self.0.iter().filter(move |p| words.contains(p.name.as_str()))
    }

    /// What is known about the parameters in `text`.
    pub fn bounds(&self, ctx: &Ctx, text: &str) -> Result<Set> {
        let mut bounds = vec!["true".to_string()];
        for p in self.used(text) {
            bounds.push(format!("{} >= {}", p.name, p.min));
            bounds.extend(p.max.map(|max| format!("{} <= {max}", p.name)));
        }
        Set::read(ctx, &format!("{}{{ : {} }}", self.header(text), bounds.join(" and "))).map_err(malformed)
    }
}

impl<'c> Statement<'c> {
    /// From instances to the values of the first `bands` loops around them, and what decides the worker.
    pub fn time(&self, ctx: &Ctx, params: &Params, bands: usize) -> Result<Map> {
        let worker = self.path.team_band().map_or("0", |b| &b.text);
        let values = self.path.bands[..bands].iter().map(|b| b.text.as_str()).chain([worker]);
        let values: Vec<String> = values.map(|v| format!("({v})")).collect();
        let iterators: Vec<String> = (0..self.domain.dims()).map(|d| format!("i{d}")).collect();
        let text = format!("{{ {}[{}] -> [{}] }}", self.entry.id, iterators.join(", "), values.join(", "));
        let map = Map::read(ctx, &format!("{}{text}", params.header(&text))).map_err(malformed)?;
        map.intersect_domain(&self.domain)
    }
}

impl<'c> Program<'c> {
    pub fn read(ctx: &Ctx, params: &Params, listing: &'c Listing) -> Result<Program<'c>> {
        let mut arrays = HashMap::new();
        for entry in &listing.arrays {
            let shape = Set::read(ctx, &entry.shape).map_err(|e| malformed(format!("{}: {e}", entry.id)))?;
            if shape.name().as_deref() != Some(&entry.id) {
                return Err(malformed(format!("the shape of {} is not its own", entry.id)));
            }
            if arrays.insert(entry.id.as_str(), Array { entry, shape }).is_some() {
                return Err(malformed(format!("{} is listed twice", entry.id)));
            }
        }
        let mut paths = HashMap::new();
        walk(&listing.schedule, &Path::default(), &mut Vec::new(), &mut paths)?;
        let mut program = Program { arrays, statements: Vec::new(), index: HashMap::new(), team: Team::of(listing)? };
        for entry in &listing.statements {
            let path = paths.remove(entry.id.as_str());
            let path = path.ok_or_else(|| malformed(format!("{} is not in the schedule", entry.id)))?;
            let statement = program.statement(ctx, params, entry, path)?;
            if program.index.insert(entry.id.as_str(), program.statements.len()).is_some() {
                return Err(malformed(format!("{} is listed twice", entry.id)));
            }
            program.statements.push(statement);
        }
        match paths.keys().next() {
            Some(id) => Err(malformed(format!("{id} is in the schedule, but no statement"))),
            None => Ok(program),
        }
    }

    pub fn statement(
        &self,
        ctx: &Ctx,
        params: &Params,
        entry: &'c StatementEntry,
        path: Path,
    ) -> Result<Statement<'c>> {
        let failed = |e: Error| malformed(format!("{}: {e}", entry.id));
        let domain = Set::read(ctx, &entry.domain).map_err(failed)?;
        if domain.name().as_deref() != Some(&entry.id) {
            return Err(malformed(format!("the domain of {} is not its own", entry.id)));
        }
        let access = |map: &str, by| {
            let bounds = params.bounds(ctx, map)?;
            self.access(ctx, &entry.id, &domain.intersect_params(&bounds)?, map, by).map_err(failed)
        };
        let write = access(&entry.write, ReadBy::Value)?;
        let reads = entry.reads.iter().map(|r| access(&r.map, r.by)).collect::<Result<Vec<Access>>>()?;
        Ok(Statement { entry, domain, write, reads, path })
    }

    /// An access of statement `id`; it must be one of its own, to an array that there is.
    fn access(&self, ctx: &Ctx, id: &str, domain: &Set, text: &str, by: ReadBy) -> Result<Access> {
        let exact = Map::read(ctx, text)?;
        let array = exact.name_out().unwrap_or_default();
        let shape = &self.arrays.get(array.as_str()).ok_or_else(|| malformed(format!("{text}: no such array")))?.shape;
        let may = match exact.domain_is_wrapping()? {
            true => exact.intersect_range(shape)?.domain_factor_domain()?,
            false => exact.clone(),
        };
        if may.name_in().as_deref() != Some(id) {
            return Err(malformed(format!("{text} is no access of {id}")));
        }
        Ok(Access { array, by, exact, may: may.intersect_domain(domain)? })
    }
}

/// The statements inside a node that is a barrier.
fn barrier_statements(node: &Tree) -> impl Iterator<Item = &String> {
    let values = match node {
        Tree::Band { mark, values, .. } if mark == "barrier" => Some(values.keys()),
        _ => None,
    };
    values.into_iter().flatten()
}

/// Collects the way from the root to every statement.
fn walk<'c>(
    nodes: &'c [Tree],
    path: &Path,
    around: &mut Vec<(Mark, &'c std::collections::BTreeMap<String, String>)>,
    out: &mut HashMap<&'c str, Path>,
) -> Result<()> {
    for (position, node) in nodes.iter().enumerate() {
        let mut path = path.clone();
        path.positions.push(position);
        path.barriers.push(nodes[position + 1..].iter().flat_map(barrier_statements).cloned().collect());
        match node {
            Tree::Leaf(id) => {
                for (mark, values) in around.iter() {
                    let missing = || malformed(format!("{id} has no value in a loop around it"));
                    let text = values.get(id).ok_or_else(missing)?.clone();
                    path.bands.push(Band { mark: *mark, text });
                }
                if out.insert(id, path).is_some() {
                    return Err(malformed(format!("{id} is in the schedule twice")));
                }
            }
            Tree::Band { mark, values, body } => {
                around.push((Mark::parse(mark)?, values));
                walk(body, &path, around, out)?;
                around.pop();
            }
        }
    }
    Ok(())
}
