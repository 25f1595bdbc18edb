//! Files that are broken, on purpose or not: an error with the right kind, at once, in little memory.

use super::kit::*;
use crate::import::proto::*;
use crate::import::{ImportOptions, load, load_bytes};
use bytes::Bytes;
use prost::Message;
use sirius_polyhedral::Error;
use std::path::Path;
use std::time::{Duration, Instant};

fn good() -> ModelProto {
    let weights = vec![zeros("w", &[3, 4])];
    model(graph(vec![value("x", FLOAT, &["n", "3"])], weights, vec![node("MatMul", "x w", "y", vec![])], "y"))
}

fn bytes_error(bytes: Vec<u8>) -> Error {
    let started = Instant::now();
    let error = load_bytes(Bytes::from(bytes), Path::new("."), &ImportOptions::default()).unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(2), "{:?} for {error}", started.elapsed());
    error
}

/// Imports a changed model, which must fail as invalid with `code`, saying `words`.
#[track_caller]
fn refused(change: impl FnOnce(&mut ModelProto), code: &str, words: &str) {
    let mut broken = good();
    change(&mut broken);
    let error = bytes_error(broken.encode_to_vec());
    assert!(matches!(error, Error::Invalid(_)), "{error:?}");
    assert_eq!(error.diagnostic().code, code, "{error}");
    assert!(error.to_string().contains(words), "{error}");
}

fn main_graph(model: &mut ModelProto) -> &mut GraphProto {
    model.graph.as_mut().unwrap()
}

#[test]
fn the_unbroken_model_is_accepted() {
    assert!(import(&good()).is_ok());
}

#[test]
fn empty_and_garbage_files() {
    assert_eq!(bytes_error(vec![]).diagnostic().code, "E101");
    assert_eq!(bytes_error(b"PK\x03\x04 this is a zip file".to_vec()).diagnostic().code, "E101");
    assert_eq!(bytes_error(vec![0xff; 1 << 20]).diagnostic().code, "E101");
    assert_eq!(
        bytes_error(ModelProto { ir_version: 8, ..Default::default() }.encode_to_vec()).diagnostic().code,
        "E101"
    );
    let missing = load(Path::new("no/such/model.onnx"), &ImportOptions::default()).unwrap_err();
    assert!(matches!(missing, Error::Environment(_)));
}

#[test]
fn every_truncation_is_an_error_and_no_panic() {
    let whole = good().encode_to_vec();
    for length in 0..whole.len() {
        let error = bytes_error(whole[..length].to_vec());
        assert!(matches!(error, Error::Invalid(_)), "{length}: {error:?}");
    }
}

#[test]
fn every_flipped_byte_is_an_error_or_a_graph_and_no_panic() {
    let whole = good().encode_to_vec();
    for at in 0..whole.len() {
        for bit in [0x01, 0x10, 0x80] {
            let mut flipped = whole.clone();
            flipped[at] ^= bit;
            if let Ok(graph) = load_bytes(Bytes::from(flipped), Path::new("."), &ImportOptions::default()) {
                crate::graph::verify::verify(&graph).unwrap();
            }
        }
    }
}

#[test]
fn cycles_and_unknown_names() {
    let tanh = |i: &str, o: &str| node("Tanh", i, o, vec![]);
    refused(|m| main_graph(m).node.extend([tanh("b", "a"), tanh("a", "b")]), "E104", "cycle");
    refused(|m| main_graph(m).node.push(tanh("a", "a")), "E104", "cycle");
    refused(|m| main_graph(m).node.push(tanh("nothing", "a")), "E104", "nothing defines it");
    refused(|m| main_graph(m).node.push(tanh("x", "y")), "E104", "defined twice");
    refused(|m| main_graph(m).output.push(value("z", FLOAT, &[])), "E104", "graph output");
}

#[test]
fn nodes_out_of_order_are_sorted() {
    let mut shuffled = good();
    main_graph(&mut shuffled).node.insert(0, node("Tanh", "y", "z", vec![]));
    main_graph(&mut shuffled).output = vec![value("z", FLOAT, &[])];
    let graph = import(&shuffled).unwrap();
    let ops: Vec<&str> = graph.main.nodes.iter().map(|n| n.op.as_str()).collect();
    assert_eq!(ops, ["MatMul", "Tanh"]);
}

#[test]
fn constants_that_do_not_fit_their_shape() {
    refused(|m| main_graph(m).initializer[0].dims = vec![3, 5], "E105", "needs 60 bytes");
    refused(|m| main_graph(m).initializer[0].dims = vec![1 << 32, 1 << 32], "E105", "impossible shape");
    refused(|m| main_graph(m).initializer[0].dims = vec![-1, 4], "E105", "impossible shape");
    // 64 TiB declared, 48 bytes there.
    refused(|m| main_graph(m).initializer[0].dims = vec![1 << 44], "E105", "the file has 48");
    refused(|m| main_graph(m).initializer[0].raw_data = None, "E105", "the file has 0");
}

#[test]
fn tensors_of_absurd_size() {
    let huge = |m: &mut ModelProto| main_graph(m).input[0] = value("x", FLOAT, &["4294967296", "4294967296"]);
    refused(huge, "E102", "more than 1024 GiB");
    let fill = |m: &mut ModelProto| {
        main_graph(m).initializer.push(weight("s", &[2], &[1 << 22, 1 << 22]));
        main_graph(m).node.push(node("ConstantOfShape", "s", "big", vec![]));
    };
    refused(fill, "E102", "4194304, 4194304");
    let overflow = |m: &mut ModelProto| {
        main_graph(m).initializer.push(weight("s", &[2], &[i64::MAX, i64::MAX]));
        main_graph(m).node.push(node("Tile", "x s", "big", vec![]));
    };
    refused(overflow, "E102", "more than 1024 GiB");
}

#[test]
fn shapes_that_do_not_fit() {
    refused(|m| main_graph(m).initializer[0] = zeros("w", &[5, 4]), "E113", "dimensions 3 and 5 must be equal");
    refused(|m| main_graph(m).node[0].input.truncate(1), "E113", "input 1 is missing");
    let axis = |m: &mut ModelProto| main_graph(m).node.push(node("Softmax", "y", "z", vec![]));
    let mut fine = good();
    axis(&mut fine);
    assert!(import(&fine).is_ok());
    refused(|m| main_graph(m).node.push(node("Concat", "y y", "z", vec![int("axis", 7)])), "E113", "axis 7");
}

#[test]
fn deep_nesting_is_refused_before_decoding() {
    let mut inner = graph(vec![], vec![], vec![node("Tanh", "x", "deep", vec![])], "deep");
    for level in 0..40 {
        let output = format!("level{level}");
        let branches = vec![subgraph("then_branch", inner.clone()), subgraph("else_branch", GraphProto::default())];
        inner = graph(vec![], vec![], vec![node("If", "c", &output, branches)], &output);
    }
    refused(|m| main_graph(m).node.extend(inner.node), "E102", "deeper than 32");
}

#[test]
fn node_bombs_are_refused_before_decoding() {
    // Two bytes each: field 1 of the graph, length 0.
    let mut body = Vec::new();
    for _ in 0..2_000_000 {
        body.extend([0x0a, 0x00]);
    }
    let mut file = vec![0x3a];
    prost::encoding::encode_varint(body.len() as u64, &mut file);
    file.extend(body);
    let error = bytes_error(file);
    assert!(matches!(error, Error::Invalid(_)));
    assert_eq!(error.diagnostic().code, "E102");
}

#[test]
fn function_bombs_are_refused() {
    // Function k calls function k + 1 twice: 2^30 nodes.
    let mut bomb = good();
    for k in 0..30 {
        let call = |output: &str| NodeProto { domain: "f".into(), ..node(&format!("F{}", k + 1), "a", output, vec![]) };
        bomb.functions.push(FunctionProto {
            name: format!("F{k}"),
            domain: "f".into(),
            input: vec!["a".into()],
            output: vec!["c".into()],
            node: if k == 29 { vec![node("Tanh", "a", "c", vec![])] } else { vec![call("b"), call("c")] },
            ..Default::default()
        });
    }
    main_graph(&mut bomb).node.push(NodeProto { domain: "f".into(), ..node("F0", "x", "z", vec![]) });
    let started = Instant::now();
    let mut options = ImportOptions::default();
    options.limits.nodes = 50_000;
    let error = import_with(&bomb, &options).unwrap_err();
    assert_eq!(error.diagnostic().code, "E102");
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[test]
fn recursive_functions_are_refused() {
    let call = NodeProto { domain: "f".into(), ..node("F", "a", "c", vec![]) };
    let mut endless = good();
    endless.functions.push(FunctionProto {
        name: "F".into(),
        domain: "f".into(),
        input: vec!["a".into()],
        output: vec!["c".into()],
        node: vec![call],
        ..Default::default()
    });
    main_graph(&mut endless).node.push(NodeProto { domain: "f".into(), ..node("F", "x", "z", vec![]) });
    assert_eq!(import(&endless).unwrap_err().diagnostic().code, "E102");
}

#[test]
fn all_unsupported_nodes_are_named_at_once() {
    let mut strange = good();
    let odd = NodeProto { domain: "com.example".into(), ..node("Frobnicate", "y", "a", vec![]) };
    main_graph(&mut strange).node.extend([odd, node("NoSuchOp", "x", "b", vec![]), node("Tanh", "b", "c", vec![])]);
    let error = import(&strange).unwrap_err();
    assert!(matches!(error, Error::Unsupported(_)));
    let text = error.to_string();
    assert!(text.contains("2 nodes are not supported"), "{text}");
    assert!(text.contains("Frobnicate of domain com.example") && text.contains("\"NoSuchOp_of_b\""), "{text}");
    assert!(text.contains("opset 17"), "{text}");
}

#[test]
fn opsets_outside_the_range_are_refused() {
    for version in [0, 28] {
        let mut other = good();
        other.opset_import[0].version = version;
        let error = import(&other).unwrap_err();
        assert_eq!((error.diagnostic().code, matches!(error, Error::Unsupported(_))), ("E103", true));
    }
}

fn external(location: &str, offset: &str, length: &str) -> Vec<StringStringEntryProto> {
    let entry = |key: &str, value: &str| StringStringEntryProto { key: key.into(), value: value.into() };
    vec![entry("location", location), entry("offset", offset), entry("length", length)]
}

#[test]
fn external_data_stays_inside_the_models_folder() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("model");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(root.path().join("secret"), [0u8; 64]).unwrap();
    std::fs::write(folder.join("weights"), [0u8; 64]).unwrap();
    std::os::unix::fs::symlink(root.path().join("secret"), folder.join("link")).unwrap();
    let absolute = root.path().join("secret").display().to_string();
    let attempt = |location: &str, offset: &str, length: &str| {
        let mut model = good();
        let tensor = &mut main_graph(&mut model).initializer[0];
        (tensor.raw_data, tensor.data_location) = (None, 1);
        tensor.external_data = external(location, offset, length);
        load_bytes(Bytes::from(model.encode_to_vec()), &folder, &ImportOptions::default())
    };
    assert!(attempt("weights", "16", "48").is_ok());
    let refusals = [
        ("../secret", "0", "48", "outside the model's directory"),
        ("a/../../secret", "0", "48", "outside the model's directory"),
        (absolute.as_str(), "0", "48", "outside the model's directory"),
        ("link", "0", "48", "link out of the model's directory"),
        ("missing", "0", "48", "put missing beside the model file"),
        ("weights", "32", "48", "has only 64 bytes"),
        ("weights", "0", "47", "need 48"),
        ("weights", "18446744073709551615", "48", "has only 64 bytes"),
        ("weights", "-1", "48", "has offset \"-1\""),
    ];
    for (location, offset, length, words) in refusals {
        let error = attempt(location, offset, length).unwrap_err();
        assert_eq!(error.diagnostic().code, "E106");
        assert!(error.to_string().contains(words), "{error}");
    }
}
