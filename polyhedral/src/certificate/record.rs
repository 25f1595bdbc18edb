//! Program to certificate. Nothing here is trusted by the checker but the two programs themselves.

use super::*;
use crate::aff::Aff;
use crate::classical::dot::range::extremes;
use crate::deps::{DependenceKind, dependences, parameter_arrays};
use crate::dtype::DType;
use crate::error::Result;
use crate::expr::{Access, BinaryOp, Expr};
use crate::isl::Ctx;
use crate::isl::text::{Names, param_name};
use crate::param::ParamId;
use crate::program::{
    Array, ArrayId, ConstantData, Made, Online, Packed, Placement, Program, Role, Running, Statement, StatementId,
    StatementKind,
};
use crate::schedule_tree::{Mark, Node};
use std::collections::{BTreeSet, HashMap};

/// Passes that change what statements compute.
const CLASSICAL: [&str; 4] = ["cse", "fold", "forward", "predicates"];
/// Passes that make one instance or statement of several: what is before and after each is a stage.
const MERGING: [&str; 2] = ["reroll", "hoist"];
/// Runs instances more than once.
const REPEATING: &str = "overlap";
/// Compute the same sums by other statements: in real numbers, or in integers that wrap.
const REGROUPING: [&str; 2] = ["online", "dot"];
/// Leaves out statements, as every step may.
const REMOVING: &str = "dce";

/// Passes in a row that one step covers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Values,
    Instances,
    Merging,
    Repeating,
    Regrouping,
}

impl Kind {
    /// Of a pass, after passes of kind `before`.
    fn of(pass: &str, before: Option<Kind>) -> Kind {
        match pass {
            REMOVING => match before {
                Some(Kind::Repeating) => Kind::Instances,
                before => before.unwrap_or(Kind::Values),
            },
            REPEATING => Kind::Repeating,
            pass if REGROUPING.contains(&pass) => Kind::Regrouping,
            pass if CLASSICAL.contains(&pass) => Kind::Values,
            pass if MERGING.contains(&pass) => Kind::Merging,
            _ => Kind::Instances,
        }
    }

    fn rewrite(self) -> Rewrite {
        match self {
            Kind::Values => Rewrite::Values,
            Kind::Instances | Kind::Merging => Rewrite::Instances,
            Kind::Repeating => Rewrite::Repeated,
            Kind::Regrouping => Rewrite::Regrouped,
        }
    }
}

/// Looks on while passes run.
pub struct Recorder {
    source: Program,
    /// What passes of one kind in a row led to, and the last of them.
    stages: Vec<(Kind, String, Program)>,
    passes: Vec<PassEntry>,
}

impl Recorder {
    pub fn new(program: &Program) -> Recorder {
        Recorder { source: program.clone(), stages: Vec::new(), passes: Vec::new() }
    }

    /// To be called after every pass.
    pub fn after(&mut self, pass: &str, program: &Program) {
        let before = self.stages.last().map_or(&self.source, |(_, _, program)| program);
        self.passes.push(changes(pass, before, program));
        if before == program {
            return;
        }
        let last = self.stages.last().map(|(kind, _, _)| *kind);
        let kind = Kind::of(pass, last);
        let alone = MERGING.contains(&pass) || REGROUPING.contains(&pass) || pass == REPEATING;
        if last == Some(kind) && !alone {
            self.stages.pop();
        }
        self.stages.push((kind, pass.into(), program.clone()));
    }

    /// The constants that were rearranged or computed, and what they were made of.
    pub fn rearranged(&self) -> Vec<ConstantData> {
        let last = self.stages.last().map_or(&self.source, |(_, _, program)| program);
        let mut arrays: Vec<ArrayId> = last.history.packed.iter().flat_map(|p| [p.array, p.from]).collect();
        for made in &last.history.made {
            arrays.push(made.array);
            made.by.visit_reads(&mut |access| arrays.push(access.array));
        }
        let data = arrays.iter().filter_map(|id| match &last.array(*id).role {
            Role::Constant(data) => Some(data.clone()),
            _ => None,
        });
        data.collect()
    }

    /// The certificate of everything seen. `tool` is the name and version of the compiler.
    pub fn finish(self, tool: &str) -> Result<Certificate> {
        let Recorder { source, mut stages, passes } = self;
        if stages.is_empty() {
            stages.push((Kind::Instances, "extract".into(), source.clone()));
        }
        let (mut contents, mut steps, mut before) = (Contents::default(), Vec::new(), &source);
        let mut listings = vec![listing("extract".into(), &source, &mut contents)];
        for (kind, stage, program) in &stages {
            let (instances, online) = (pieces::instances(before, program), groups(before, program));
            steps.push(Step { rule: kind.rewrite(), instances, online });
            listings.push(listing(stage.clone(), program, &mut contents));
            before = program;
        }
        let params = before.params.iter().map(|(_, p)| ParamEntry { name: param_name(p), min: p.min, max: p.max });
        Ok(Certificate {
            format: FORMAT.into(),
            version: VERSION,
            tool: tool.into(),
            program: before.name.clone(),
            passes,
            params: params.collect(),
            stages: listings,
            steps,
            dependences: orderings(before)?,
        })
    }
}

/// The groups that `online` made between two programs.
fn groups(before: &Program, program: &Program) -> Vec<OnlineEntry> {
    let running = |r: &Running| RunningEntry {
        start: r.start.to_string(),
        clear: r.clear.to_string(),
        reduce: r.reduce.to_string(),
        step: r.step.to_string(),
        finish: r.finish.map(|id| id.to_string()),
    };
    let new = &program.history.online[before.history.online.len()..];
    let entry = |group: &Online| OnlineEntry {
        extreme: running(&group.extreme),
        shift: group.shift.to_string(),
        factor: group.factor.to_string(),
        terms: group.terms.to_string(),
        sums: group.sums.iter().map(running).collect(),
    };
    new.iter().map(entry).collect()
}

fn changes(pass: &str, before: &Program, after: &Program) -> PassEntry {
    let mut entry = PassEntry { name: pass.into(), removed: vec![], added: vec![], changed: vec![] };
    for (id, old) in before.statements() {
        match after.get_statement(id) {
            None => entry.removed.push(id.to_string()),
            Some(new) if new != old => entry.changed.push(id.to_string()),
            Some(_) => {}
        }
    }
    let added = after.statements().filter(|(id, _)| before.get_statement(*id).is_none());
    entry.added = added.map(|(id, _)| id.to_string()).collect();
    entry
}

/// Hash and range of constants, each computed once.
#[derive(Default)]
struct Contents(HashMap<(*const u8, DType), Facts>);

/// The hash, and the least and the greatest of integers.
type Facts = (String, Option<[i64; 2]>);

impl Contents {
    /// Shared data keeps its place in memory while the programs are there.
    fn of(&mut self, array: &Array) -> Option<Facts> {
        let Role::Constant(data) = &array.role else { return None };
        let range = || match array.dtype.is_integer() && array.dtype.bits() <= 32 {
            true => extremes(data.bytes(), array.dtype).map(|(least, greatest)| [least, greatest]),
            false => None,
        };
        let found = self.0.entry((data.bytes().as_ptr(), array.dtype));
        Some(found.or_insert_with(|| (hash(data.bytes()), range())).clone())
    }
}

fn listing(stage: String, program: &Program, contents: &mut Contents) -> Listing {
    let names = Names::new(program);
    let mut made = makers(program);
    let entry = |(id, array)| ArrayEntry { made: made.remove(&id), ..array_entry(program, id, array, contents) };
    Listing {
        stage,
        arrays: program.arrays().map(entry).collect(),
        statements: program.statements().map(|(id, s)| Writer::new(program, id).statement(s)).collect(),
        schedule: program.schedule.roots.iter().map(|node| tree(&names, node)).collect(),
    }
}

/// What the constants are that were computed. Each statement is called `S0`: it is not one of the program.
fn makers(program: &Program) -> HashMap<ArrayId, StatementEntry> {
    let mut with = program.clone();
    let ids: Vec<StatementId> = program.history.made.iter().map(|made| with.add_statement(made.by.clone())).collect();
    let entry = |(made, id): (&Made, StatementId)| {
        let writer = Writer { names: Names::local(&with, &[id]), ..Writer::new(&with, id) };
        (made.array, StatementEntry { id: "S0".into(), ..writer.statement(&made.by) })
    };
    program.history.made.iter().zip(ids).map(entry).collect()
}

fn array_entry(program: &Program, id: ArrayId, array: &Array, contents: &mut Contents) -> ArrayEntry {
    let (contents, range) = contents.of(array).map_or((None, None), |(hash, range)| (Some(hash), range));
    let names = &Names::new(program);
    let params = params_of(&array.extents);
    let subscripts: Vec<String> = (0..array.extents.len()).map(|d| format!("o{d}")).collect();
    let mut bounds: Vec<String> =
        array.extents.iter().enumerate().map(|(d, e)| format!("0 <= o{d} < {}", names.aff(e))).collect();
    bounds.extend(names.bounds(&params));
    let tuple = format!("{id}[{}]", subscripts.join(", "));
    let cells = array.fold.iter().zip(&subscripts).map(|(fold, o)| match fold {
        Some(window) => format!("{o} mod {window}"),
        None => o.clone(),
    });
    let bounds = if bounds.is_empty() { "true".into() } else { bounds.join(" and ") };
    ArrayEntry {
        id: id.to_string(),
        name: array.name.clone(),
        role: match array.role {
            Role::Input(_) => ArrayRole::Input,
            Role::Output(_) => ArrayRole::Output,
            Role::Constant(_) => ArrayRole::Constant,
            Role::Temp => ArrayRole::Temp,
        },
        dtype: array.dtype.to_string(),
        shape: format!("{}{{ {tuple} : {bounds} }}", names.header(&params)),
        cells: format!("{{ {tuple} -> [{}] }}", cells.collect::<Vec<_>>().join(", ")),
        contents,
        range,
        made: None,
        rearranged: program.history.packed.iter().find(|p| p.array == id).map(|p| rearranged(names, p, array)),
        place: array.placement.as_ref().map(|p| match p {
            Placement::Slot(n) => Place::Slot(*n),
            Placement::Register => Place::Register,
        }),
    }
}

/// `{ A9[i0, i1] -> A3[8*i1 + i0] }`.
fn rearranged(names: &Names, packed: &Packed, array: &Array) -> String {
    let variables: Vec<String> = (0..array.extents.len()).map(|d| format!("i{d}")).collect();
    let subscripts: Vec<String> = packed.subscripts.iter().map(|a| names.aff(a)).collect();
    format!("{{ {}[{}] -> {}[{}] }}", packed.array, variables.join(", "), packed.from, subscripts.join(", "))
}

fn params_of<'a>(affs: impl IntoIterator<Item = &'a Aff>) -> BTreeSet<ParamId> {
    let mut out = BTreeSet::new();
    affs.into_iter().for_each(|a| {
        a.visit_params(&mut |p| {
            out.insert(p);
        })
    });
    out
}

fn tree(names: &Names, node: &Node) -> Tree {
    match node {
        Node::Leaf(id) => Tree::Leaf(id.to_string()),
        Node::Band(band) => Tree::Band {
            mark: match band.mark {
                Mark::Rows(n) => format!("rows({n})"),
                Mark::Lanes(n) => format!("lanes({n})"),
                Mark::Team(n) => format!("team({n})"),
                other => format!("{other:?}").to_lowercase(),
            },
            values: band.members.iter().map(|(id, value)| (id.to_string(), names.aff(value))).collect(),
            body: band.body.iter().map(|n| tree(names, n)).collect(),
        },
    }
}

/// Writes one statement.
struct Writer<'a> {
    program: &'a Program,
    names: Names<'a>,
    id: StatementId,
    by: ReadBy,
    reads: Vec<ReadEntry>,
    values: Vec<String>,
}

impl<'a> Writer<'a> {
    fn new(program: &'a Program, id: StatementId) -> Writer<'a> {
        Writer { program, names: Names::new(program), id, by: ReadBy::Value, reads: vec![], values: vec![] }
    }

    fn statement(mut self, statement: &Statement) -> StatementEntry {
        let value = self.expr(&statement.value);
        let (write, computed) = self.access(&statement.target);
        self.by = ReadBy::Guard;
        let guard = statement.guard.as_ref().map(|g| format!(" if {}", self.expr(g))).unwrap_or_default();
        for array in parameter_arrays(self.program, statement) {
            let index = vec![Expr::int(0); self.program.array(array).extents.len()];
            let map = self.access(&Access { array, index }).0;
            self.reads.push(ReadEntry { by: ReadBy::Parameter, map });
        }
        StatementEntry {
            id: self.id.to_string(),
            origin: statement.origin.to_string(),
            domain: self.names.domain_text(self.id),
            kind: match statement.kind {
                StatementKind::Assign => "assign".into(),
                StatementKind::Update => "update".into(),
                StatementKind::Reduce(op) => op.name(),
            },
            write,
            reads: self.reads,
            values: self.values,
            body: if computed.is_empty() {
                format!("{value}{guard}")
            } else {
                format!("put({computed}, {value}){guard}")
            },
        }
    }

    fn map(&self, from: &str, to: &str, affs: &[Aff]) -> String {
        format!("{}{{ {from} -> {to} }}", self.names.header(&params_of(affs)))
    }

    /// The map of an access, and what its computed subscripts are: `[#1, #2]`.
    fn access(&mut self, access: &Access) -> (String, String) {
        let (mut computed, mut affs, mut subscripts) = (Vec::new(), Vec::new(), Vec::new());
        for index in &access.index {
            match index.as_aff() {
                Some(aff) => {
                    subscripts.push(self.names.aff(&aff));
                    affs.push(aff);
                }
                None => {
                    subscripts.push(format!("e{}", computed.len()));
                    computed.push(self.expr(index));
                }
            }
        }
        let to = format!("{}[{}]", access.array, subscripts.join(", "));
        let tuple = self.names.tuple(self.id);
        if computed.is_empty() {
            return (self.map(&tuple, &to, &affs), String::new());
        }
        let variables: Vec<String> = (0..computed.len()).map(|n| format!("e{n}")).collect();
        let from = format!("[{tuple} -> [{}]]", variables.join(", "));
        (self.map(&from, &to, &affs), format!("[{}]", computed.join(", ")))
    }

    fn expr(&mut self, expr: &Expr) -> String {
        let binary = |op: &BinaryOp, a: String, b: String| format!("{}({a}, {b})", op.name());
        match expr {
            Expr::Const(scalar) => format!("{scalar:?}"),
            Expr::Index(aff) => {
                let value = format!("[{}]", self.names.aff(aff));
                self.values.push(self.map(&self.names.tuple(self.id), &value, std::slice::from_ref(aff)));
                format!("@{}", self.values.len() - 1)
            }
            Expr::Load(access) => {
                let (map, computed) = self.access(access);
                self.reads.push(ReadEntry { by: self.by, map });
                format!("#{}{computed}", self.reads.len() - 1)
            }
            Expr::Unary(op, a) => format!("{}({})", op.name(), self.expr(a)),
            Expr::Binary(op, a, b) => {
                let (a, b) = (self.expr(a), self.expr(b));
                binary(op, a, b)
            }
            Expr::Select(c, a, b) => format!("select({}, {}, {})", self.expr(c), self.expr(a), self.expr(b)),
            Expr::Cast(dtype, a) => format!("{dtype}({})", self.expr(a)),
        }
    }
}

/// The dependences that the passes work with.
fn orderings(program: &Program) -> Result<Vec<DependenceEntry>> {
    let ctx = Ctx::new()?;
    let found = dependences(program, &ctx)?;
    let entry = |d: &crate::deps::Dependence| DependenceEntry {
        source: d.source.to_string(),
        sink: d.sink.to_string(),
        array: d.array.to_string(),
        kind: match d.kind {
            DependenceKind::Flow | DependenceKind::Parameter => Ordering::Flow,
            DependenceKind::Init | DependenceKind::Update => Ordering::Output,
            DependenceKind::Reduction => Ordering::Reduction,
        },
        relation: d.relation.to_string(),
    };
    Ok(found.iter().map(entry).collect())
}
