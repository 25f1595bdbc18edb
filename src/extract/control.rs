//! `If`, `Loop` and `Scan` as bands and guards of the one schedule tree.

use super::Builder;
use crate::graph::Node;
use sirius_polyhedral::Result;

pub fn extract_if(builder: &mut Builder, node: &Node) -> Result<()> {
    Err(super::unsupported(builder, node))
}

pub fn extract_loop(builder: &mut Builder, node: &Node) -> Result<()> {
    Err(super::unsupported(builder, node))
}

pub fn extract_scan(builder: &mut Builder, node: &Node) -> Result<()> {
    Err(super::unsupported(builder, node))
}
