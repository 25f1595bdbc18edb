//! Can tests hold together? Propositional logic over elements that are written once.
//!
//! Such an element has one value, whoever reads it, and where its only writer is a plain assignment that has no test, it is
//! what the body of that says. All else, comparisons too, may be true or false as it likes: that proves less, and never too
//! much.

use super::guards::parts;
use super::same::mapped;
use super::terms::{Tree, read};
use super::*;

/// All values of so many atoms are tried.
const ATOMS: usize = 12;

enum Formula {
    Known(bool),
    Atom(usize),
    Not(Box<Formula>),
    And(Box<[Formula; 2]>),
    Or(Box<[Formula; 2]>),
}

impl Formula {
    fn value(&self, atoms: usize) -> bool {
        match self {
            Formula::Known(value) => *value,
            Formula::Atom(n) => atoms >> n & 1 == 1,
            Formula::Not(a) => !a.value(atoms),
            Formula::And(sides) => sides.iter().all(|f| f.value(atoms)),
            Formula::Or(sides) => sides.iter().any(|f| f.value(atoms)),
        }
    }
}

/// What is true or false.
#[derive(Default)]
struct Atom {
    /// The element that it is, for every instance that is asked about.
    element: Option<Map>,
    definition: Option<Formula>,
    /// Is its definition being read? What is defined by itself says nothing.
    open: bool,
}

struct Logic<'a, 'c> {
    program: &'a Program<'c>,
    atoms: Vec<Atom>,
}

/// Does one of the tests fail, always? Each is one of a statement, with a map that leads to its instances from those that
/// are asked about.
pub fn exclude(program: &Program, tests: &[(&Statement, &str, Map)]) -> Result<bool> {
    let mut logic = Logic { program, atoms: Vec::new() };
    let mut all = Vec::new();
    for (statement, test, link) in tests {
        let Some(tree) = Tree::parse(test) else { return Ok(false) };
        all.push(logic.formula(statement, &tree, link)?);
    }
    Ok(logic.atoms.len() <= ATOMS && !logic.hold_together(&all))
}

impl Logic<'_, '_> {
    fn hold_together(&self, all: &[Formula]) -> bool {
        let defined = |values: usize| {
            let fits = |(n, atom): (usize, &Atom)| {
                atom.definition.as_ref().is_none_or(|d| d.value(values) == Formula::Atom(n).value(values))
            };
            self.atoms.iter().enumerate().all(fits)
        };
        (0..1 << self.atoms.len()).any(|values| all.iter().all(|f| f.value(values)) && defined(values))
    }

    fn atom(&mut self, element: Option<Map>) -> usize {
        self.atoms.push(Atom { element, ..Atom::default() });
        self.atoms.len() - 1
    }

    fn formula(&mut self, statement: &Statement, tree: &Tree, link: &Map) -> Result<Formula> {
        Ok(match (tree.label, tree.children.as_slice()) {
            ("Int", [value, dtype]) if dtype.label == "Bool" => Formula::Known(value.label != "0"),
            ("not", [a]) => Formula::Not(Box::new(self.formula(statement, a, link)?)),
            ("and", [a, b]) => {
                Formula::And(Box::new([self.formula(statement, a, link)?, self.formula(statement, b, link)?]))
            }
            ("or", [a, b]) => {
                Formula::Or(Box::new([self.formula(statement, a, link)?, self.formula(statement, b, link)?]))
            }
            (_, []) if tree.number('#').is_some() => {
                let access = read(statement, tree.number('#').unwrap_or_default())?;
                Formula::Atom(self.element(access, link)?)
            }
            _ => Formula::Atom(self.atom(None)),
        })
    }

    /// The atom for what a test or body reads.
    fn element(&mut self, access: &Access, link: &Map) -> Result<usize> {
        let array = access.array.as_str();
        let writers: Vec<_> = self.program.statements.iter().filter(|s| s.write.array == array).collect();
        let writer = match writers.as_slice() {
            [] => None,
            [writer] if is_plain(writer)? => Some(*writer),
            _ => return Ok(self.atom(None)),
        };
        if access.exact.domain_is_wrapping()? || self.program.arrays[array].entry.dtype != "bool" {
            return Ok(self.atom(None));
        }
        let element = mapped(link, self.program, access)?;
        if !element.is_single_valued()? || !element.domain()?.is_equal(&link.domain()?)? {
            return Ok(self.atom(None));
        }
        for (n, atom) in self.atoms.iter().enumerate() {
            let Some(known) = &atom.element else { continue };
            if known.name_out() == element.name_out() && known.is_equal(&element)? {
                return Ok(if atom.open { self.atom(None) } else { n });
            }
        }
        let atom = self.atom(Some(element.clone()));
        // Elements may be defined by others of their array, without end.
        let Some(writer) = writer.filter(|_| self.atoms.len() < ATOMS) else { return Ok(atom) };
        let wrote = element.apply_range(&writer.write.may.reverse()?)?;
        if wrote.domain()?.is_equal(&element.domain()?)?
            && let Some(body) = Tree::parse(&writer.entry.body)
        {
            self.atoms[atom].open = true;
            let definition = self.formula(writer, &body, &wrote)?;
            self.atoms[atom].definition = Some(definition);
            self.atoms[atom].open = false;
        }
        Ok(atom)
    }
}

/// Does the statement write every element once, whatever data say?
fn is_plain(writer: &Statement) -> Result<bool> {
    let known = !writer.write.exact.domain_is_wrapping()? && parts(&writer.entry.body).1.is_none();
    Ok(known && writer.entry.kind == "assign" && writer.write.may.is_injective()?)
}
