//! The dimensions of graph inputs: constants, or parameters that are read from the inputs' shapes.

use super::amounts;
use super::assume::{Same, intersect};
use super::context::{Context, Stop};
use crate::import::build::Draft;
use crate::import::inputs::{DeclaredDim, DeclaredInput, identifier};
use crate::import::{Dimension, ImportOptions};
use sirius_polyhedral::{Aff, Error, Param, ParamDef, ParamId, Params, Result};
use std::collections::{BTreeMap, BTreeSet};

/// A symbolic dimension: the name in the file (for messages) and the parameter's name.
struct Named<'a> {
    original: String,
    identifier: String,
    input: usize,
    axis: usize,
    dim: &'a DeclaredDim,
}

/// Every symbolic dimension, each parameter name standing for one original name.
fn named(inputs: &[DeclaredInput]) -> Vec<Named<'_>> {
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    let mut taken = BTreeSet::new();
    let mut found = Vec::new();
    for (input, declared) in inputs.iter().enumerate() {
        for (axis, dim) in declared.dims.iter().enumerate() {
            let original = match dim {
                DeclaredDim::Fixed(_) => continue,
                DeclaredDim::Named(name) => name.clone(),
                DeclaredDim::Unknown | DeclaredDim::Zero => format!("{}_{axis}", declared.name),
            };
            let fresh = || {
                let mut name = identifier(&original);
                while !taken.insert(name.clone()) {
                    name.push('_');
                }
                name
            };
            let identifier = names.entry(original.clone()).or_insert_with(fresh).clone();
            found.push(Named { original, identifier, input, axis, dim });
        }
    }
    found
}

pub fn check_options(draft: &Draft, options: &ImportOptions) -> Result<()> {
    let named = named(&draft.inputs);
    let elements: Vec<String> = draft.inputs.iter().flat_map(amounts::declared_elements).collect();
    for name in options.dims.keys() {
        if elements.contains(name) {
            continue;
        }
        if !named.iter().any(|n| n.original == *name || n.identifier == *name) {
            let mut names: Vec<&str> = named.iter().map(|n| n.original.as_str()).collect();
            names.dedup();
            let help = if names.is_empty() { "it has none".into() } else { format!("it has {}", names.join(", ")) };
            let message = format!("the model has no symbolic dimension \"{name}\"");
            return Err(Error::invalid("E107", message).help(help));
        }
    }
    Ok(())
}

/// Gives the graph inputs their types and shapes, and makes the parameters.
pub fn declare(context: &mut Context, draft: &Draft, options: &ImportOptions) -> std::result::Result<(), Stop> {
    for (id, composite) in &draft.composites {
        context.set_value(*id, composite.clone());
    }
    let named = named(&draft.inputs);
    for (number, input) in draft.inputs.iter().enumerate() {
        let mut shape = Vec::new();
        for (axis, dim) in input.dims.iter().enumerate() {
            shape.push(match dim {
                DeclaredDim::Fixed(n) => Aff::constant(*n),
                _ => {
                    let found = named.iter().find(|n| n.input == number && n.axis == axis);
                    found.map_or(Aff::constant(1), |n| symbolic(context, n, &named, options))
                }
            });
        }
        context.set_tensor(input.id, input.dtype, shape)?;
        context.declare_amount(number, input.id, |name| options.dims.get(name).copied());
    }
    context.apply_ranges(None);
    Ok(agree(context, options)?)
}

/// The model may need bounds that the user's leave nothing in.
fn agree(context: &Context, options: &ImportOptions) -> Result<()> {
    for (_, param) in context.graph.params.iter() {
        if let (Some(given), Some(max)) = (options.dims.get(&param.name), param.max)
            && max < param.min
        {
            let (name, min) = (&param.name, param.min);
            let message = format!("\"{name}\" is given as {given}, and the model leaves from {min} to {max}");
            let help = format!("give --dim {name} a value or a range that the model admits, or leave it out");
            return Err(Error::invalid("E107", message).help(help));
        }
    }
    Ok(())
}

/// The parameter that stands for a dimension; a number where the user or the model fixes it.
fn symbolic(context: &mut Context, dim: &Named, all: &[Named], options: &ImportOptions) -> Aff {
    let given = |n: &Named| options.dims.get(&n.original).or_else(|| options.dims.get(&n.identifier));
    let root = match context.known.resolve(&dim.identifier) {
        Same::Fixed(n) => return Aff::constant(n),
        Same::Dim(root) => root,
    };
    let same = |n: &&Named| matches!(context.known.resolve(&n.identifier), Same::Dim(r) if r == root);
    let dimensions: Vec<&Dimension> = all.iter().filter(same).filter_map(given).collect();
    if let Some(n) = dimensions.iter().find_map(|d| d.fixed()) {
        return Aff::constant(n);
    }
    let (low, max) = dimensions.iter().fold((None, None), |range, d| intersect(range, d.range()));
    let typical = dimensions.iter().find_map(|d| d.typical());
    if *dim.dim == DeclaredDim::Zero {
        context.zeros.push(root.clone());
    }
    let params = &mut context.graph.params;
    let id = params.find(&root).unwrap_or_else(|| {
        let def = ParamDef::Input { input: dim.input, axis: dim.axis };
        let min = low.unwrap_or(i64::from(*dim.dim != DeclaredDim::Zero));
        let hint = typical.unwrap_or(hint(dim)).clamp(min, max.unwrap_or(i64::MAX).max(min));
        params.push(Param { name: root.clone(), def, min, max, hint })
    });
    match context.known.multiple(&root) {
        Some(of) => multiple(&mut context.graph.params, id, of),
        None => Aff::param(id),
    }
}

/// `of * (dim / of)`: the artifact compares it with the extent that it is given, so other extents are refused.
fn multiple(params: &mut Params, dim: ParamId, of: i64) -> Aff {
    let name = format!("{}_by_{of}", params.get(dim).name);
    let quotient = params.find(&name).unwrap_or_else(|| {
        let def = ParamDef::FloorDiv(Aff::param(dim), Aff::constant(of));
        let whole = params.get(dim);
        let (min, max) = (i64::from(whole.min > 0), whole.max.map(|max| max / of));
        let hint = (whole.hint / of).max(min);
        params.push(Param { name, def, min, max, hint })
    });
    Aff::param(quotient) * of
}

/// A typical value for cost models: models mostly run on one item, and sequences have dozens of elements.
fn hint(dim: &Named) -> i64 {
    let name = dim.original.to_lowercase();
    let long = ["seq", "time", "len", "frame", "token", "step"].iter().any(|part| name.contains(part));
    if dim.axis == 0 && !long || name.contains("batch") || matches!(dim.dim, DeclaredDim::Fixed(_)) { 1 } else { 64 }
}
