//! The operators that a model is made of: families with a table each, and how often each family is drawn.

mod binary;
mod contraction;
mod control;
mod counted;
mod generate;
mod indexing;
mod layout;
mod linear;
mod normalize;
mod order;
mod quantize;
mod recurrent;
mod reduce;
mod resize;
mod sample;
mod sequence;
mod shapes;
mod unary;
mod variadic;
mod window;

use crate::maker::Maker;

/// Adds an operator of the family, with its operands where there are none; `None` where it came to nothing.
type Family = fn(&mut Maker) -> Option<()>;

const FAMILIES: &[(usize, Family)] = &[
    (14, unary::add),
    (16, binary::add),
    (5, variadic::add),
    (8, reduce::add),
    (16, layout::add),
    (7, indexing::add),
    (5, linear::add),
    (3, contraction::add),
    (6, window::add),
    (6, normalize::add),
    (5, order::add),
    (3, generate::add),
    (2, counted::add),
    (2, resize::add),
    (2, sample::add),
    (3, sequence::add),
    (5, shapes::add),
    (4, quantize::add),
    (6, control::add),
    (2, recurrent::add),
];

/// Nodes of the main graph.
const MOST: usize = 40;
const LEAST: usize = 5;

/// A whole model's nodes. What an operator needs around it (a `Clip` of its operand, say) counts with it.
pub fn grow(maker: &mut Maker) {
    for n in 0..MOST - LEAST {
        let more = if n < LEAST { 100 } else { 90 };
        if !step(maker, more) {
            break;
        }
    }
}

/// Up to `most` operators in a body.
pub fn grow_body(maker: &mut Maker, most: usize) {
    for _ in 0..most {
        if !step(maker, 75) {
            break;
        }
    }
}

/// One more operator in `percent` of 100 cases.
fn step(maker: &mut Maker, percent: usize) -> bool {
    let start = maker.choices.drawn.len();
    if !maker.choices.chance(percent) {
        return false;
    }
    let family = family(maker);
    family(maker);
    let end = maker.choices.drawn.len();
    maker.choices.spans.push((start, end));
    true
}

fn family(maker: &mut Maker) -> Family {
    let total = FAMILIES.iter().map(|(weight, _)| weight).sum();
    let mut at = maker.choices.below(total);
    for (weight, family) in FAMILIES {
        if at < *weight {
            return *family;
        }
        at -= weight;
    }
    unary::add
}
