//! A reduction that is taken in blocks: which instances of the base are in a running value?
//!
//! `R[0] = unit`, and for every block `b`: `B[b]` reduces its elements, and `R[b + 1]` is `R[b]` with `B[b]`. Shown is: every
//! instance of the reduction of the base is one of one block, once; a block is in one step; a step continues the value of the
//! one before. Then `R[b]` holds the instances of the blocks of all steps up to it ([`Running::holds`]). What
//! follows the last one is copied to the array of the base, at elements that hold all instances of theirs, and at least one.

use super::guards::parts;
use super::terms::{Tree, read};
use super::*;
use crate::certificate::{ArrayRole, RunningEntry};

/// Why something is not shown.
pub enum Fault {
    Error(Error),
    /// There is no rule for it.
    Unknown(String),
    Wrong(String),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        Fault::Error(error)
    }
}

pub type Proof<T> = std::result::Result<T, Fault>;

/// Something that has to hold.
pub fn need(holds: bool, why: impl FnOnce() -> String) -> Proof<()> {
    if holds { Ok(()) } else { Err(Fault::Wrong(why())) }
}

/// The form that there is a rule for; `None` for all others.
pub fn known<T>(found: Option<T>, statement: &Statement) -> Proof<T> {
    found.ok_or_else(|| Fault::Unknown(format!("what does {} compute in blocks", statement.entry.id)))
}

/// The statements of a reduction in blocks, and the reduction that it was.
pub struct Running<'a, 'c> {
    c: &'a Checker<'c>,
    pub start: &'a Statement<'c>,
    pub clear: &'a Statement<'c>,
    pub reduce: &'a Statement<'c>,
    pub step: &'a Statement<'c>,
    pub finish: Option<&'a Statement<'c>>,
    pub old: &'a Statement<'c>,
    pub old_clear: &'a Statement<'c>,
    /// From instances of `reduce` to those of `old`.
    pub was: Map,
}

impl<'a, 'c> Running<'a, 'c> {
    /// `was` is the relation of the step.
    pub fn of(c: &'a Checker<'c>, entry: &RunningEntry, was: &Piece) -> Proof<Running<'a, 'c>> {
        let get = |id: &str| member(c, id).map(|n| &c.last.statements[n]);
        let old = &c.base.statements[was.base];
        let others =
            c.base.statements.iter().filter(|s| s.write.array == old.write.array && s.entry.id != old.entry.id);
        let [old_clear] = others.collect::<Vec<_>>()[..] else {
            return Err(Fault::Unknown(format!("what starts {}", old.entry.id)));
        };
        Ok(Running {
            c,
            start: get(&entry.start)?,
            clear: get(&entry.clear)?,
            reduce: get(&entry.reduce)?,
            step: get(&entry.step)?,
            finish: entry.finish.as_deref().map(get).transpose()?,
            old,
            old_clear,
            was: whole(was, get(&entry.reduce)?)?,
        })
    }

    /// The array of the running values.
    pub fn values(&self) -> &'a str {
        &self.step.write.array
    }

    pub fn blocks(&self) -> &'a str {
        &self.reduce.write.array
    }

    /// Shows everything but what a block and a step compute. `unit` is what the reduction starts from.
    pub fn check(&self, unit: f64) -> Proof<()> {
        self.kinds(unit)?;
        self.in_base()?;
        self.in_blocks()?;
        self.in_steps()
    }

    fn kinds(&self, unit: f64) -> Proof<()> {
        let Running { c, start, clear, reduce, step, old, old_clear, .. } = self;
        let id = &old.entry.id;
        let assigns = [Some(*start), Some(*clear), Some(*step), self.finish, Some(*old_clear)];
        for statement in assigns.into_iter().flatten() {
            need(statement.entry.kind == "assign", || format!("{} accumulates", statement.entry.id))?;
        }
        need(reduce.entry.kind == old.entry.kind, || format!("{} is another reduction than {id}", reduce.entry.id))?;
        for first in [start, clear, old_clear] {
            let value = known(Tree::parse(&first.entry.body).as_ref().and_then(number), first)?;
            need(value == unit, || format!("{} starts with `{}`", first.entry.id, first.entry.body))?;
        }
        for own in [old, old_clear] {
            plain(own)?;
        }
        own_array(c, self.values(), &[start, step], old)?;
        own_array(c, self.blocks(), &[clear, reduce], old)
    }

    /// The base clears the array first, and all read what is complete.
    fn in_base(&self) -> Proof<()> {
        let Running { c, old, old_clear, .. } = self;
        let array = &old.write.array;
        let number = |s: &Statement| c.base.index[s.entry.id.as_str()];
        let touch = old_clear.write.may.apply_range(&old.write.may.reverse()?)?;
        let first = match c.base_order(number(old_clear), number(old))? {
            Some(order) => touch.is_subset(&order)?,
            None => touch.is_empty()?,
        };
        let all = old.write.may.range()?.is_subset(&old_clear.write.may.range()?)?;
        need(first && all, || format!("{array} is not cleared before {}", old.entry.id))?;
        let reader = start::seen_before(c, old)?;
        need(reader.is_none(), || format!("{} reads {array} before it is complete", reader.unwrap_or_default()))
    }

    /// Every instance of the base is in one block, once, in an element that is cleared.
    fn in_blocks(&self) -> Proof<()> {
        let Running { clear, reduce, old, was, .. } = self;
        let (id, was_id) = (&reduce.entry.id, &old.entry.id);
        need(was.is_injective()?, || format!("{id} takes an instance of {was_id} twice"))?;
        need(was.range()?.is_equal(&old.domain)?, || format!("{id} leaves out instances of {was_id}"))?;
        let cleared = reduce.write.may.range()?.is_subset(&clear.write.may.range()?)?;
        need(cleared && clear.write.may.is_injective()?, || {
            format!("{} does not clear what {id} needs", clear.entry.id)
        })
    }

    /// The steps lead from one value to the next, each with blocks of its own.
    fn in_steps(&self) -> Proof<()> {
        let Running { c, start, clear, step, .. } = self;
        let id = &step.entry.id;
        let (block, before) = (self.block()?, self.before()?);
        let plane = |condition: &str| {
            let tuple = variables("o", before.dims_out());
            Set::read(&c.ctx, &format!("{{ {}[{tuple}] : {condition} }}", self.values()))
        };
        let (first, next) = (start.write.may.range()?, step.write.may.range()?);
        let apart =
            before.dims_out() > 0 && first.is_subset(&plane("o0 = 0")?)? && next.is_subset(&plane("o0 >= 1")?)?;
        need(apart, || format!("{} and {id} do not write values in a row", start.entry.id))?;
        let once = start.write.may.is_injective()? && step.write.may.is_injective()?;
        need(once, || format!("{id} writes a value twice"))?;
        let to = format!("o0 - 1{}", (1..before.dims_out()).map(|d| format!(", o{d}")).collect::<String>());
        let array = self.values();
        let text = format!("{{ {array}[{}] -> {array}[{to}] }}", variables("o", before.dims_out()));
        let back = step.write.may.reverse()?.apply_range(&before)?;
        need(back.is_subset(&Map::read(&c.ctx, &text)?)?, || format!("{id} does not go on from the step before"))?;
        let there = before.range()?.is_subset(&first.union(&next)?)?;
        need(there, || format!("{id} goes on from a value that is not there"))?;
        let cleared = block.range()?.is_subset(&clear.write.may.range()?)?;
        need(cleared && block.is_injective()?, || format!("{id} does not take every block once"))
    }

    /// From instances of the step to the value that it goes on from, and to the block that it takes.
    pub fn before(&self) -> Proof<Map> {
        self.operand(self.values())
    }

    pub fn block(&self) -> Proof<Map> {
        self.operand(self.blocks())
    }

    fn operand(&self, array: &str) -> Proof<Map> {
        Ok(only_read(self.step, array)?.may.clone())
    }

    /// From running values to the instances of the base that they hold.
    pub fn holds(&self) -> Proof<Map> {
        let Running { c, reduce, step, was, .. } = self;
        let taken = step.write.may.reverse()?.apply_range(&self.block()?)?;
        let taken = taken.apply_range(&reduce.write.may.reverse()?)?.apply_range(was)?;
        let (array, n) = (self.values(), step.write.may.dims_out());
        let others = (1..n).map(|d| format!(", o{d}")).collect::<String>();
        let text = format!("{{ {array}[{}] -> {array}[p{others}] : 1 <= p <= o0 }}", variables("o", n));
        Ok(Map::read(&c.ctx, &text)?.apply_range(&taken)?.intersect_domain(&step.write.may.range()?)?)
    }

    /// The instances of `finish`, for the parameters that there may be of the base's rows.
    pub fn finished(&self, finish: &Statement) -> Result<Set> {
        finish.domain.intersect_params(&self.c.params.bounds(&self.c.ctx, &self.old.entry.domain)?)
    }

    /// From instances of `finish` to the instances of the base whose element it writes. It writes all, each once, and from the
    /// running value at `total`, which holds just these.
    pub fn complete(&self, finish: &Statement, total: &Map) -> Proof<Map> {
        let Running { c, old, old_clear, .. } = self;
        let (id, array) = (&finish.entry.id, &old.write.array);
        plain(finish)?;
        let alone = c.writers(array).count() == 1 && finish.write.array == *array;
        let whole = finish.write.may.range()?.is_equal(&old_clear.write.may.range()?)?;
        need(alone && whole && finish.write.may.is_injective()?, || {
            format!("{id} does not write all of {array}, alone")
        })?;
        let wanted = finish.write.may.apply_range(&old.write.may.reverse()?)?;
        let found = total.apply_range(&self.holds()?)?;
        need(found.is_equal(&wanted)?, || format!("{id} does not take the blocks of an element of {array}, and all"))?;
        need(self.finished(finish)?.is_subset(&wanted.domain()?)?, || {
            format!("an element of {array} may have no terms")
        })?;
        Ok(wanted)
    }
}

/// The number of a statement of a group.
pub fn member(c: &Checker, id: &str) -> Result<usize> {
    c.last
        .index
        .get(id)
        .copied()
        .ok_or_else(|| malformed(format!("{id}, which takes a reduction in blocks, is not there")))
}

/// The instances of the base of all instances of a statement.
pub fn whole(piece: &Piece, statement: &Statement) -> Proof<Map> {
    let all = piece.all.is_none() && statement.domain.is_subset(&piece.map.domain()?)?;
    need(all, || format!("instances of {} are none of the base, or several", statement.entry.id))?;
    Ok(piece.map.clone())
}

/// A statement without a test and without subscripts that are computed.
pub fn plain(statement: &Statement) -> Proof<()> {
    let put = statement.write.exact.domain_is_wrapping()?;
    known((parts(&statement.entry.body).1.is_none() && !put).then_some(()), statement)
}

/// A new array that these write, and nobody else, with elements as those of `like`.
pub fn own_array(c: &Checker, array: &str, writers: &[&Statement], like: &Statement) -> Proof<()> {
    let entry = c.last.arrays[array].entry;
    let here: HashSet<&str> = c.writers(array).map(|(_, s)| s.entry.id.as_str()).collect();
    let own = !c.base.arrays.contains_key(array) && entry.role == ArrayRole::Temp;
    let same = here == writers.iter().map(|s| s.entry.id.as_str()).collect();
    need(own && same, || format!("{array} ({}) is not written in blocks alone", entry.name))?;
    let dtype = &c.base.arrays[like.write.array.as_str()].entry.dtype;
    need(entry.dtype == *dtype, || format!("{array} ({}) is of another type than in the base", entry.name))?;
    writers.iter().try_for_each(|s| plain(s))
}

/// The one read of an array that a statement has.
pub fn only_read<'s>(statement: &'s Statement, array: &str) -> Proof<&'s Access> {
    let [read] = statement.reads.iter().filter(|r| r.array == array).collect::<Vec<_>>()[..] else {
        return known(None, statement);
    };
    Ok(read)
}

/// The elements that a term reads; `None` where it is no read, or one at computed subscripts.
pub fn element<'s>(statement: &'s Statement, term: &Tree) -> Result<Option<&'s Access>> {
    let Some(n) = term.number('#').filter(|_| term.children.is_empty()) else { return Ok(None) };
    let access = read(statement, n)?;
    Ok((!access.exact.domain_is_wrapping()?).then_some(access))
}

/// `x` of `Float(x, F32)`.
pub fn number(tree: &Tree) -> Option<f64> {
    (tree.label == "Float").then(|| tree.children.first()?.label.parse().ok()).flatten()
}

fn variables(prefix: &str, n: usize) -> String {
    (0..n).map(|d| format!("{prefix}{d}")).collect::<Vec<_>>().join(", ")
}
