//! The worker process: compiles, loads and runs the cases that come in on standard input.

use crate::advice::Fixed;
use crate::cases::{Case, Data};
use crate::judge;
use crate::protocol::{self, Verdict};
use crate::tolerances;
use sirius::compile::{CompileOptions, compile};
use sirius::report::session::Session;
use sirius::run::{Loaded, Value, pb};
use sirius_lowering::metadata::TensorInfo;
use sirius_polyhedral::{Error, Result};

/// A request's line to its verdict's.
pub fn answer(line: &str) -> String {
    protocol::answer(&run(&protocol::parse_request(line).expect("a request of this test")))
}

pub fn panicked(message: &str) -> String {
    protocol::answer(&Verdict::Wrong(format!("panicked: {message}")))
}

/// What decides the shapes is fixed step by step, as the refusals advise.
fn run(case: &Case) -> Verdict {
    let mut fixed = Fixed::default();
    loop {
        match results(case, &fixed) {
            Ok((got, wanted)) => return judge::judge(&got, &wanted, tolerances::of(&case.name), &fixed.names()),
            Err(error) if follow(case, &error, &mut fixed) => {}
            Err(error @ Error::Unsupported(_)) => {
                let d = error.diagnostic();
                return Verdict::Refused(one_line(&format!("{} {}", d.code, d.message)));
            }
            Err(error) => return Verdict::Wrong(one_line(&error.to_string())),
        }
    }
}

fn follow(case: &Case, error: &Error, fixed: &mut Fixed) -> bool {
    match &case.data {
        Data::Files(folder) => fixed.follow(&case.model, folder, error),
        Data::Ramp(_) => false,
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The outputs of the compiled model, and what they should be.
fn results(case: &Case, fixed: &Fixed) -> Result<(Vec<Value>, Vec<Value>)> {
    let dir = tempfile::tempdir().map_err(|e| Error::environment("E611", format!("no temporary folder: {e}")))?;
    let Fixed { values, lengths, shapes, dims } = fixed.clone();
    let name = Some("case".to_string());
    let options = CompileOptions { name, values, lengths, shapes, dims, ..CompileOptions::default() };
    compile(&case.model, &options, &mut Session::default(), dir.path())?;
    let loaded = Loaded::open(dir.path())?;
    let (inputs, wanted) = match &case.data {
        Data::Files(folder) => {
            let ports = loaded.ports()?;
            (pb::read_ports(folder, "input", &ports.inputs)?, pb::read_ports(folder, "output", &ports.outputs)?)
        }
        Data::Ramp(answer) => {
            let ramps = loaded.manifest.inputs.iter().map(ramp).collect::<Result<_>>()?;
            (ramps, vec![pb::read(answer)?])
        }
    };
    Ok((loaded.run(&inputs)?, wanted))
}

/// `arange(n) / n`, in `f32` as the reference runner makes it.
fn ramp(input: &TensorInfo) -> Result<Value> {
    let extents: std::result::Result<Vec<usize>, _> = input.shape.iter().map(|d| d.parse()).collect();
    let shape = extents.map_err(|_| Error::unsupported("E301", "a light model with symbolic dimensions"))?;
    let n: usize = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|i| i as f32 / n as f32).collect();
    Value::from_f32(&shape, &values)
}
