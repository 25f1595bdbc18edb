//! The directions in which a recurrent operator goes through its sequence, and the activations that each has.

use crate::extract::activation::{Activation, parameters};
use crate::graph::Node;
use sirius_polyhedral::{Error, Expr, Result};

#[derive(Clone)]
pub struct Direction {
    /// Plane of the weight tensors.
    pub number: usize,
    pub backwards: bool,
    pub activations: Vec<Activation>,
}

impl Direction {
    /// The subscript of the weight tensors.
    pub fn plane(&self) -> Expr {
        Expr::int(self.number as i64)
    }
}

/// The directions of the node with their activations; ONNX lists activations direction after direction.
pub fn directions(node: &Node, defaults: &[&str]) -> Result<Vec<Direction>> {
    let backwards: &[bool] = match node.string("direction").unwrap_or("forward") {
        "forward" => &[false],
        "reverse" => &[true],
        "bidirectional" => &[false, true],
        other => {
            let message = format!("node \"{}\": direction \"{other}\"", node.name);
            return Err(Error::invalid("E321", message)
                .at(&node.origin())
                .help("use forward, reverse or bidirectional"));
        }
    };
    let names = node.strings("activations").map(<[String]>::to_vec);
    let names =
        names.unwrap_or_else(|| backwards.iter().flat_map(|_| defaults.iter().map(|s| s.to_string())).collect());
    let mut alpha = node.floats("activation_alpha").unwrap_or(&[]).iter().copied();
    let mut beta = node.floats("activation_beta").unwrap_or(&[]).iter().copied();
    let mut all = names.into_iter().map(|name| {
        // Only functions that have the parameter take a value from the lists.
        let (takes_alpha, takes_beta) = parameters(&name);
        let alpha = if takes_alpha { alpha.next() } else { None };
        let beta = if takes_beta { beta.next() } else { None };
        Activation { name, alpha, beta }
    });
    let mut out = Vec::new();
    for (number, backwards) in backwards.iter().copied().enumerate() {
        let activations: Vec<Activation> = all.by_ref().take(defaults.len()).collect();
        if activations.len() < defaults.len() {
            let message = format!("node \"{}\": too few activations", node.name);
            return Err(Error::invalid("E322", message).at(&node.origin()));
        }
        out.push(Direction { number, backwards, activations });
    }
    Ok(out)
}
