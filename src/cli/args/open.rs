//! What a model leaves open and the user may decide: dimensions, contents of inputs, lengths of sequences.

use crate::compile::CompileOptions;
use crate::import::{Dimension, Given, Length, Shape};
use crate::run::pb;
use clap::Args;
use std::path::Path;
use std::str::FromStr;

#[derive(Args, Debug, Clone)]
pub struct OpenArgs {
    /// Fix a named dimension (batch=1), or bound it and say what to tune for (seq=1..512:128). May be repeated
    #[arg(long = "dim", value_name = "NAME=VALUE|LO..HI[:TYPICAL]", value_parser = parse_dim)]
    pub dims: Vec<(String, Dimension)>,
    /// Fix the contents of an input that decides shapes: numbers (axes=0,2) or a .pb or .npy file. May be repeated
    #[arg(long = "value", value_name = "INPUT=VALUES", value_parser = parse_value)]
    pub values: Vec<(String, Given)>,
    /// How many tensors an input has that is a sequence; 1 or none for an optional. May be repeated
    #[arg(long = "length", value_name = "INPUT=N|none", value_parser = parse_named::<Length>)]
    pub lengths: Vec<(String, Length)>,
    /// Dimensions of an input (or of element NAME[K] of a sequence) that the model leaves open: numbers, names or ?
    #[arg(long = "shape", value_name = "INPUT=N,M,..", value_parser = parse_named::<Shape>)]
    pub shapes: Vec<(String, Shape)>,
}

impl OpenArgs {
    /// The options that say this, and nothing else.
    pub fn options(&self) -> CompileOptions {
        CompileOptions {
            dims: self.dims.iter().cloned().collect(),
            values: self.values.iter().cloned().collect(),
            lengths: self.lengths.iter().cloned().collect(),
            shapes: self.shapes.iter().cloned().collect(),
            ..CompileOptions::default()
        }
    }
}

fn parse_dim(text: &str) -> Result<(String, Dimension), String> {
    let named = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = named.ok_or("wanted NAME=VALUE or NAME=LO..HI, for example batch=1")?;
    Ok((name.to_string(), value.parse()?))
}

/// `NAME=` and what the type reads.
fn parse_named<T: FromStr<Err = String>>(text: &str) -> Result<(String, T), String> {
    let named = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = named.ok_or("wanted INPUT=.., for example xs=3")?;
    Ok((name.to_string(), value.parse()?))
}

/// `axes=0,2`, `scale=0.5`, `shape=` (no elements), or `axes=FILE.pb`.
fn parse_value(text: &str) -> Result<(String, Given), String> {
    let (name, value) = text.split_once('=').ok_or("wanted INPUT=VALUES, for example axes=0,2")?;
    if value.ends_with(".pb") || value.ends_with(".npy") {
        let tensor = pb::read(Path::new(value)).map_err(|e| e.to_string())?;
        return Ok((name.to_string(), Given::Tensor(tensor)));
    }
    let words = || value.split(',').map(str::trim).filter(|w| !w.is_empty());
    let ints: Result<Vec<i128>, _> = words().map(str::parse).collect();
    let floats = || words().map(str::parse).collect::<Result<Vec<f64>, _>>();
    let given = ints.map(Given::Ints).or_else(|_| floats().map(Given::Floats));
    let given =
        given.map_err(|_| format!("\"{value}\" is neither numbers with commas between nor a .pb or .npy file"))?;
    Ok((name.to_string(), given))
}
