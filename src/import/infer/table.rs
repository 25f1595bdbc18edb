//! From operator name to inference rule: one list per family.

use super::context::Step;
use super::site::Site;
use super::{
    conv, counted, elementwise, generate, indexing, layout, linear, normalize, quantize, random, recurrent, reduce,
    resize, unpool,
};

/// Sets the types and shapes of all outputs, and their contents where these are shape arithmetic.
pub type Rule = fn(&mut Site) -> Step;

pub type Family = &'static [(&'static str, Rule)];

const FAMILIES: [Family; 14] = [
    elementwise::RULES,
    layout::RULES,
    indexing::RULES,
    generate::RULES,
    reduce::RULES,
    linear::RULES,
    conv::RULES,
    counted::RULES,
    normalize::RULES,
    resize::RULES,
    quantize::RULES,
    recurrent::RULES,
    random::RULES,
    unpool::RULES,
];

pub fn names() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().flat_map(|family| family.iter()).map(|(name, _)| *name)
}

pub fn find(op: &str) -> Option<Rule> {
    FAMILIES.iter().flat_map(|family| family.iter()).find(|(name, _)| *name == op).map(|(_, rule)| *rule)
}
