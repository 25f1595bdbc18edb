//! ONNX test-data files: one serialized `TensorProto`, `SequenceProto` or `OptionalProto` per file, as `input_0.pb`
//! beside a model. Which of them a file is, only the model knows.

use crate::graph::{Form, Port};
use crate::import::external::External;
use crate::import::proto::{OptionalProto, SequenceProto, TensorProto};
use crate::import::{Kind, tensor};
use crate::run::npy;
use crate::run::value::{Value, checked_len};
use prost::Message;
use sirius_polyhedral::{DType, Error, Result};
use std::path::{Path, PathBuf};

/// Reads a tensor from a `.pb` or `.npy` file, by its extension.
pub fn read(path: &Path) -> Result<Value> {
    let bytes = std::fs::read(path).map_err(|e| Error::environment("E703", format!("{}: {e}", path.display())))?;
    let parsed = match path.extension().and_then(|e| e.to_str()) {
        Some("npy") => npy::decode(&bytes),
        _ => decode(&bytes).map(|(_, value)| value),
    };
    parsed.map_err(|e| e.help(format!("the file is {}", path.display())))
}

/// Writes a tensor to a `.pb` or `.npy` file, by its extension.
pub fn write(path: &Path, name: &str, value: &Value) -> Result<()> {
    let bytes = match path.extension().and_then(|e| e.to_str()) {
        Some("npy") => npy::encode(value)?,
        _ => encode(name, value),
    };
    std::fs::write(path, bytes).map_err(|e| Error::environment("E703", format!("{}: {e}", path.display())))
}

/// All `ROLE_0.pb`, `ROLE_1.npy`, ... of a folder, in order; stops at the first missing number.
pub fn read_all(folder: &Path, role: &str) -> Result<Vec<Value>> {
    files(folder, role).map(|path| read(&path)).collect()
}

fn files(folder: &Path, role: &str) -> impl Iterator<Item = PathBuf> {
    let file = move |n: usize, extension: &str| -> Option<PathBuf> {
        let path = folder.join(format!("{role}_{n}.{extension}"));
        path.is_file().then_some(path)
    };
    (0..).map_while(move |n| file(n, "pb").or_else(|| file(n, "npy")))
}

/// The tensors of all files, which must have the forms of `ports` (none: each is one tensor).
pub fn read_ports(folder: &Path, role: &str, ports: &[Port]) -> Result<Vec<Value>> {
    if ports.is_empty() {
        return read_all(folder, role);
    }
    let mut tensors = Vec::new();
    for (path, port) in files(folder, role).zip(ports) {
        let kind = match port.form {
            Form::Tensor => Kind::Tensor,
            Form::Sequence(_) => Kind::Sequence,
            _ => Kind::Optional,
        };
        let (form, values) = read_value(&path, kind)?;
        if form != port.form {
            let message = format!("{} is {form}, and \"{}\" was compiled as {}", path.display(), port.name, port.form);
            return Err(Error::invalid("E706", message)
                .help("compile the model for this data: --length NAME=N sets how many tensors an input has"));
        }
        tensors.extend(values);
    }
    Ok(tensors)
}

/// Reads a value of this kind: its form and its tensors.
pub fn read_value(path: &Path, kind: Kind) -> Result<(Form, Vec<Value>)> {
    if kind == Kind::Tensor {
        return Ok((Form::Tensor, vec![read(path)?]));
    }
    let bytes = std::fs::read(path).map_err(|e| Error::environment("E703", format!("{}: {e}", path.display())))?;
    let parsed = match kind {
        Kind::Sequence => SequenceProto::decode(&bytes[..]).map(|sequence| (None, Some(sequence), false)),
        _ => OptionalProto::decode(&bytes[..]).map(|o| (o.tensor_value, o.sequence_value, true)),
    };
    let (tensor, sequence, optional) = parsed.map_err(|e| {
        Error::invalid("E704", format!("no sequence or optional: {e}")).help(format!("the file is {}", path.display()))
    })?;
    let (form, tensors) = match (tensor, sequence) {
        (None, Some(s)) if optional => (Form::OptionalSequence(s.tensor_values.len()), s.tensor_values),
        (None, Some(s)) => (Form::Sequence(s.tensor_values.len()), s.tensor_values),
        (Some(tensor), _) => (Form::Optional, vec![tensor]),
        (None, None) => (Form::Empty, vec![]),
    };
    Ok((form, tensors.iter().map(from_proto).collect::<Result<_>>()?))
}

/// Writes the tensors of a value as ONNX does a value of this form.
pub fn write_port(path: &Path, port: &Port, values: &[Value]) -> Result<()> {
    let name = port.name.clone();
    let tensor_values: Vec<TensorProto> = values.iter().map(|value| to_proto("", value)).collect();
    let sequence = |name: &str, tensor_values| SequenceProto { name: name.to_string(), elem_type: 1, tensor_values };
    let bytes = match (port.form, values) {
        (Form::Tensor, [value]) => return write(path, &name, value),
        (Form::Sequence(_), _) => sequence(&name, tensor_values).encode_to_vec(),
        (Form::OptionalSequence(_), _) => {
            let sequence_value = Some(sequence("", tensor_values));
            OptionalProto { name, elem_type: 3, tensor_value: None, sequence_value }.encode_to_vec()
        }
        _ => {
            let tensor_value = tensor_values.into_iter().next();
            let elem_type = i32::from(tensor_value.is_some());
            OptionalProto { name, elem_type, tensor_value, sequence_value: None }.encode_to_vec()
        }
    };
    std::fs::write(path, bytes).map_err(|e| Error::environment("E703", format!("{}: {e}", path.display())))
}

/// Parses one serialized `TensorProto`: its name and contents.
pub fn decode(bytes: &[u8]) -> Result<(String, Value)> {
    let proto = TensorProto::decode(bytes).map_err(|e| Error::invalid("E704", format!("not a TensorProto: {e}")))?;
    let value = from_proto(&proto)?;
    Ok((proto.name, value))
}

/// Serializes as ONNX does, with the contents in `raw_data`.
pub fn encode(name: &str, value: &Value) -> Vec<u8> {
    to_proto(name, value).encode_to_vec()
}

fn to_proto(name: &str, value: &Value) -> TensorProto {
    TensorProto {
        dims: value.shape.iter().map(|d| *d as i64).collect(),
        data_type: data_type(value.dtype),
        name: name.to_string(),
        raw_data: Some(packed(value).into()),
        ..TensorProto::default()
    }
}

/// The contents as in a file, where elements narrower than a byte are packed.
fn packed(value: &Value) -> Vec<u8> {
    if value.dtype.bits() < 8 { tensor::packed(&value.bytes, value.dtype) } else { value.bytes.clone() }
}

/// The `TensorProto.DataType` number; every element type has one below 32.
fn data_type(dtype: DType) -> i32 {
    (0..32).find(|n| tensor::dtype(*n) == Ok(dtype)).unwrap_or(0)
}

fn from_proto(proto: &TensorProto) -> Result<Value> {
    if proto.data_location != 0 {
        return Err(Error::unsupported("E705", "a test-data tensor with external data"));
    }
    let shape: Option<Vec<usize>> = proto.dims.iter().map(|d| usize::try_from(*d).ok()).collect();
    let shape = shape.ok_or_else(|| Error::invalid("E704", "a tensor with a negative extent"))?;
    checked_len(DType::Bool, &shape)?;
    let constant = tensor::read(proto, &proto.name, &mut External::new(Path::new(".")))?;
    Value::from_constant(constant.dtype, &shape, &constant.data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_survives_a_file() {
        let folder = tempfile::tempdir().unwrap();
        for dtype in DType::ALL {
            let value = Value::from_ints(dtype, &[2, 2], &[0, 1, 1, 0]).unwrap();
            for extension in ["pb", "npy"] {
                if (dtype == DType::BF16 || dtype.is_narrow_float() || dtype.bits() < 8) && extension == "npy" {
                    continue;
                }
                let path = folder.path().join(format!("x.{extension}"));
                write(&path, "x", &value).unwrap();
                assert_eq!(read(&path).unwrap(), value, "{dtype} {extension}");
            }
        }
    }

    #[test]
    fn sequences_and_optionals_survive_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let values = [Value::vector(&[1, 2]), Value::scalar(3)];
        let forms = [
            (Form::Tensor, Kind::Tensor),
            (Form::Sequence(2), Kind::Sequence),
            (Form::Sequence(0), Kind::Sequence),
            (Form::Empty, Kind::Optional),
            (Form::Optional, Kind::Optional),
            (Form::OptionalSequence(2), Kind::Optional),
            (Form::OptionalSequence(0), Kind::Optional),
        ];
        for (n, (form, kind)) in forms.into_iter().enumerate() {
            let (path, port) = (folder.path().join(format!("input_{n}.pb")), Port { name: "x".into(), form });
            write_port(&path, &port, &values[..form.tensors()]).unwrap();
            assert_eq!(read_value(&path, kind).unwrap(), (form, values[..form.tensors()].to_vec()));
        }
        let ports: Vec<Port> = forms.iter().map(|(form, _)| Port { name: "x".into(), form: *form }).collect();
        assert_eq!(read_ports(folder.path(), "input", &ports).unwrap().len(), 6);
        let other = [Port { name: "x".into(), form: Form::Tensor }, Port { name: "y".into(), form: Form::Sequence(1) }];
        let error = read_ports(folder.path(), "input", &other).unwrap_err();
        assert!(error.to_string().contains("is seq(2), and \"y\" was compiled as seq(1)"), "{error}");
    }

    #[test]
    fn typed_fields_are_read() {
        let half = TensorProto { dims: vec![1], data_type: 10, int32_data: vec![0x3c00], ..Default::default() };
        assert_eq!(from_proto(&half).unwrap().floats(), [1.0]);
        let float = TensorProto { dims: vec![2], data_type: 1, float_data: vec![1.5, 2.0], ..Default::default() };
        assert_eq!(from_proto(&float).unwrap().floats(), [1.5, 2.0]);
        let bool = TensorProto { dims: vec![], data_type: 9, int32_data: vec![1], ..Default::default() };
        assert_eq!(from_proto(&bool).unwrap().bools(), [true]);
    }

    #[test]
    fn broken_files_are_refused() {
        assert!(matches!(decode(&[0xff, 0xff, 0xff]), Err(Error::Invalid(_))));
        let short =
            TensorProto { dims: vec![3], data_type: 1, raw_data: Some(vec![0; 8].into()), ..Default::default() };
        assert!(matches!(from_proto(&short), Err(Error::Invalid(_))));
        let huge = TensorProto { dims: vec![1 << 40, 1 << 40], data_type: 1, ..Default::default() };
        assert!(matches!(from_proto(&huge), Err(Error::Limit(_))));
        let strings = TensorProto { dims: vec![0], data_type: 8, ..Default::default() };
        assert!(matches!(from_proto(&strings), Err(Error::Unsupported(_))));
    }

    #[test]
    fn numbered_files_are_read_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for n in [0, 1, 3] {
            let path = folder.path().join(format!("input_{n}.{}", if n == 1 { "npy" } else { "pb" }));
            write(&path, "x", &Value::vector(&[n])).unwrap();
        }
        let found = read_all(folder.path(), "input").unwrap();
        assert_eq!(found.iter().map(|v| v.get_i64(0)).collect::<Vec<_>>(), [0, 1]);
    }
}
