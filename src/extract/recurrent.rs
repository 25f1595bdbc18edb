//! `LSTM`, `GRU` and `RNN` as a time loop around the gates.

use super::Builder;
use crate::graph::Node;
use sirius_polyhedral::Result;

pub fn extract_lstm(builder: &mut Builder, node: &Node) -> Result<()> {
    Err(super::unsupported(builder, node))
}

pub fn extract_gru(builder: &mut Builder, node: &Node) -> Result<()> {
    Err(super::unsupported(builder, node))
}

pub fn extract_rnn(builder: &mut Builder, node: &Node) -> Result<()> {
    Err(super::unsupported(builder, node))
}
