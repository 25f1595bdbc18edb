//! Inputs of `run` and `bench`: from files, or made up from a seed.

use crate::cli::args::DataArgs;
use crate::graph::{Graph, Signature as Ports, TensorId};
use crate::import::Dimension;
use crate::run::{Loaded, Value, formula, pb};
use sirius_lowering::metadata::{DimInfo, Manifest};
use sirius_polyhedral::{Aff, DType, Error, Params, Result};
use std::path::{Path, PathBuf};

/// One set of inputs, and the outputs they should give where those are known.
pub struct Case {
    pub name: String,
    pub inputs: Vec<Value>,
    pub expected: Vec<Value>,
}

/// What made-up inputs look like.
pub type Signature = Vec<Form>;

/// One input: type, extents, and its contents where these are fixed.
pub struct Form {
    dtype: DType,
    extents: Vec<i64>,
    fixed: Option<Vec<u8>>,
}

/// The cases of `--data`, or one made-up case.
pub fn cases(args: &DataArgs, ports: &Ports, signature: impl FnOnce() -> Result<Signature>) -> Result<Vec<Case>> {
    let Some(dir) = &args.data else {
        return Ok(vec![made_up(&signature()?, args.seed)?]);
    };
    let mut folders = test_sets(dir);
    if folders.is_empty() {
        folders.push(dir.clone());
    }
    folders.iter().map(|f| read_case(f, ports)).collect()
}

/// The `test_data_set_*` folders of `dir`, by number.
fn test_sets(dir: &Path) -> Vec<PathBuf> {
    (0..).map(|n| dir.join(format!("test_data_set_{n}"))).take_while(|p| p.is_dir()).collect()
}

fn read_case(folder: &Path, ports: &Ports) -> Result<Case> {
    let inputs = pb::read_ports(folder, "input", &ports.inputs)?;
    if inputs.is_empty() && !folder.is_dir() {
        return Err(Error::environment("E831", format!("{} is not a folder", folder.display())));
    }
    let name = folder.file_name().map_or_else(|| folder.display().to_string(), |n| n.to_string_lossy().into_owned());
    Ok(Case { name, inputs, expected: pb::read_ports(folder, "output", &ports.outputs)? })
}

/// Reproducible values: floats in -1..1, integers 0 or 1 (in range as an index of almost anything).
fn made_up(signature: &Signature, seed: u64) -> Result<Case> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 40
    };
    let mut inputs = Vec::new();
    for Form { dtype, extents, fixed } in signature {
        let shape = extents.iter().map(|d| usize::try_from(*d).unwrap_or(0)).collect::<Vec<_>>();
        if let Some(bytes) = fixed {
            inputs.push(Value::new(*dtype, shape, bytes.clone())?);
            continue;
        }
        let len = crate::run::value::checked_len(*dtype, &shape)?;
        inputs.push(match dtype.is_float() {
            true => {
                let values: Vec<f64> = (0..len).map(|_| next() as f64 / f64::from(1u32 << 23) - 1.0).collect();
                Value::from_floats(*dtype, &shape, &values)?
            }
            false => {
                let values: Vec<i128> = (0..len).map(|_| (next() & 1) as i128).collect();
                Value::from_ints(*dtype, &shape, &values)?
            }
        });
    }
    Ok(Case { name: format!("made-up inputs (seed {seed})"), inputs, expected: Vec::new() })
}

/// The first data set for an artifact that has just been compiled.
pub fn first_case(args: &DataArgs, loaded: &Loaded) -> Result<Case> {
    // The compiler has had the dimensions: what it fixed is none of the artifact's, and it is tuned for the others.
    let signature = || manifest_signature(&loaded.manifest, &[]);
    let cases = cases(args, &loaded.ports()?, signature)?;
    cases.into_iter().next().ok_or_else(|| Error::invalid("E831", "there is no data set"))
}

/// The value of a named dimension for these inputs; `None` where they have no such axis or element.
pub fn dim_value(dim: &DimInfo, inputs: &[Value]) -> Option<i64> {
    let input = inputs.get(dim.input)?;
    match dim.content {
        true => (dim.axis < input.len()).then(|| input.get_i64(dim.axis)),
        false => input.shape.get(dim.axis).map(|n| *n as i64),
    }
}

/// The values of all named dimensions, in the manifest's order.
pub fn dim_values(manifest: &Manifest, inputs: &[Value]) -> Option<Vec<i64>> {
    manifest.dims.iter().map(|d| dim_value(d, inputs)).collect()
}

/// Extents of a graph's inputs where symbolic dimensions take their hints.
pub fn graph_signature(graph: &Graph) -> Signature {
    let extents = |shape: &[Aff], params: &Params| shape.iter().map(|e| params.hint(e)).collect();
    let one = |(n, id): (usize, &TensorId)| {
        let tensor = graph.tensor(*id);
        let fixed = graph.fixed.get(&n).map(|data| data.bytes().to_vec());
        Form { dtype: tensor.dtype, extents: extents(&tensor.shape, &graph.params), fixed }
    };
    graph.main.inputs.iter().enumerate().map(one).collect()
}

/// Extents of an artifact's inputs where named dimensions take the values of `dims`, else those that it is tuned for.
pub fn manifest_signature(manifest: &Manifest, dims: &[(String, Dimension)]) -> Result<Signature> {
    for (name, _) in dims {
        if manifest.dims.iter().all(|d| d.name != *name) {
            let known: Vec<&str> = manifest.dims.iter().map(|d| d.name.as_str()).collect();
            return Err(Error::invalid("E832", format!("the artifact has no dimension \"{name}\""))
                .help(format!("its dimensions are: {}", known.join(", "))));
        }
    }
    let given = |name: &str| dims.iter().find(|(n, _)| n == name).and_then(|(_, dim)| dim.typical());
    let usual = |name: &str| manifest.dims.iter().find(|d| d.name == name).map(|d| d.typical.unwrap_or(d.min.max(1)));
    let value = |name: &str| given(name).or_else(|| usual(name));
    let mut signature = Vec::new();
    for info in &manifest.inputs {
        let dtype = DType::parse(&info.dtype)
            .ok_or_else(|| Error::invalid("E817", format!("input \"{}\" has type {}", info.name, info.dtype)))?;
        let extents = info.shape.iter().map(|text| formula::evaluate(text, &value)).collect::<Result<_>>()?;
        signature.push(Form { dtype, extents, fixed: info.fixed.clone() });
    }
    Ok(signature)
}
