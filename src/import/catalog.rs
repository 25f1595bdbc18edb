//! The operators that the compiler knows: which domain, in which opset versions, for which element types.
//!
//! One table for people (`sirius ops`) and for the importer, which refuses every node that is not in it ([`check`]).
//! Names come from the tables of inference rules and functions; versions and types are the standard's (without strings
//! and complex numbers, which no operator here takes).

use super::infer::known_operators;
use sirius_polyhedral::{DType, Error, Result};

const FLOATS: &str = "f32 f64 f16 bf16";
const INTEGERS: &str = "i8 i16 i32 i64 u8 u16 u32 u64";
const NUMBERS: &str = "f32 f64 f16 bf16 i8 i16 i32 i64 u8 u16 u32 u64";
const PLAIN: &str = "f32 f64 f16 bf16 i8 i16 i32 i64 u8 u16 u32 u64 bool";
const ALL: &str = "f32 f64 f16 bf16 i8 i16 i32 i64 u8 u16 u32 u64 bool f8e4m3fn f8e4m3fnuz f8e5m2 f8e5m2fnuz f8e8m0 \
                   f4e2m1 i4 u4 i2 u2";

/// The newest opset version that is read.
pub const NEWEST: i64 = 27;

/// Operators of the default domain: element types of the first input (of the output where there is none), and for
/// each the first opset version that has it.
#[rustfmt::skip]
const STANDARD: &[(&str, &[(&str, i64)])] = &[
    (FLOATS, &[
        ("Acos", 7), ("Acosh", 9), ("AffineGrid", 20), ("Asin", 7), ("Asinh", 9), ("Atan", 7), ("Atanh", 9),
        ("Attention", 23), ("AveragePool", 1), ("BatchNormalization", 1), ("Bernoulli", 15), ("Ceil", 1), ("Conv", 1),
        ("ConvTranspose", 1), ("Cos", 7), ("Cosh", 9), ("DFT", 17), ("DeformConv", 19), ("Det", 11), ("Elu", 1),
        ("Exp", 1), ("Floor", 1), ("GRU", 1), ("Gelu", 20), ("GlobalAveragePool", 1), ("GlobalLpPool", 1),
        ("GlobalMaxPool", 1), ("GroupNormalization", 18), ("HardSigmoid", 1), ("HardSwish", 14), ("Hardmax", 1),
        ("InstanceNormalization", 1), ("LRN", 1), ("LSTM", 1), ("LayerNormalization", 17), ("LeakyRelu", 1),
        ("Log", 1), ("LogSoftmax", 1), ("LpNormalization", 1), ("LpPool", 1), ("MaxUnpool", 9), ("Mean", 1),
        ("MeanVarianceNormalization", 9), ("Mish", 18), ("Multinomial", 7), ("NegativeLogLikelihoodLoss", 12),
        ("RMSNormalization", 23), ("RNN", 1), ("RandomNormal", 1), ("RandomUniform", 1), ("Reciprocal", 1),
        ("RoiAlign", 10), ("Round", 11), ("STFT", 17), ("Selu", 1), ("Sigmoid", 1), ("Sin", 7), ("Sinh", 9),
        ("Softmax", 1), ("SoftmaxCrossEntropyLoss", 12), ("Softplus", 1), ("Softsign", 1), ("Sqrt", 1), ("Sum", 1),
        ("Swish", 24), ("Tan", 7), ("Tanh", 1), ("ThresholdedRelu", 10),
    ]),
    (PLAIN, &[
        ("CenterCropPad", 18), ("Col2Im", 18), ("Concat", 1), ("DepthToSpace", 1), ("Equal", 1), ("Expand", 8),
        ("EyeLike", 9), ("Gather", 1), ("GatherElements", 11), ("GatherND", 11), ("GridSample", 16), ("NonZero", 9),
        ("RandomNormalLike", 1), ("RandomUniformLike", 1), ("Resize", 10), ("ScatterElements", 11), ("ScatterND", 11),
        ("Slice", 1), ("SpaceToDepth", 1), ("Split", 1), ("SplitToSequence", 11), ("Tile", 1), ("Trilu", 14),
    ]),
    (NUMBERS, &[
        ("Abs", 1), ("Add", 1), ("ArgMax", 1), ("ArgMin", 1), ("Clip", 1), ("Div", 1), ("Erf", 9), ("Greater", 1),
        ("GreaterOrEqual", 12), ("Less", 1), ("LessOrEqual", 12), ("Max", 1), ("Min", 1), ("Mod", 10), ("Mul", 1),
        ("Sign", 9), ("Sub", 1), ("TopK", 1),
    ]),
    (ALL, &[
        ("BitCast", 26), ("Cast", 1), ("CastLike", 15), ("Flatten", 1), ("Identity", 1), ("Pad", 1), ("Reshape", 1),
        ("Scan", 8), ("Shape", 1), ("Size", 1), ("Squeeze", 1), ("Transpose", 1), ("Unsqueeze", 1),
    ]),
    ("f32 f64 f16 bf16 i32 i64 u32 u64", &[
        ("CumProd", 26), ("CumSum", 11), ("Gemm", 1), ("MatMul", 1), ("PRelu", 1), ("ReduceL1", 1), ("ReduceL2", 1),
        ("ReduceLogSum", 1), ("ReduceLogSumExp", 1), ("ReduceMean", 1), ("ReduceProd", 1), ("ReduceSum", 1),
        ("ReduceSumSquare", 1),
    ]),
    ("bool", &[
        ("And", 1), ("If", 1), ("Not", 1), ("Or", 1), ("Where", 9), ("Xor", 1),
    ]),
    ("f32 f64 f16 i8 i16 i32 i64 u8 u16 u32 u64 bool", &[
        ("Compress", 9), ("Optional", 15), ("OptionalGetElement", 15), ("OptionalHasElement", 15),
        ("ReverseSequence", 10), ("Scatter", 9), ("SequenceConstruct", 11), ("Unique", 11), ("Upsample", 1),
    ]),
    (INTEGERS, &[
        ("BitwiseAnd", 18), ("BitwiseNot", 18), ("BitwiseOr", 18), ("BitwiseXor", 18),
    ]),
    ("i32 i64", &[
        ("BlackmanWindow", 17), ("HammingWindow", 17), ("HannWindow", 17), ("MelWeightMatrix", 17),
        ("TfIdfVectorizer", 9),
    ]),
    ("f32 f16 bf16", &[
        ("CausalConvWithState", 27), ("LinearAttention", 27), ("RotaryEmbedding", 23),
    ]),
    ("i8 u8", &[
        ("ConvInteger", 10), ("MatMulInteger", 10), ("QLinearConv", 10),
    ]),
    ("f32 f64 f16 bf16 f8e4m3fn f8e4m3fnuz f8e5m2 f8e5m2fnuz", &[
        ("Dropout", 1), ("IsInf", 10), ("IsNaN", 9),
    ]),
    ("f32 f64 f16 i8 i16 i32 i64 u8 u16 u32 u64", &[
        ("Einsum", 12), ("OneHot", 9), ("Shrink", 9),
    ]),
    ("i64", &[
        ("ConstantOfShape", 9), ("Loop", 1),
    ]),
    ("f32 f64 f16 bf16 i8 i16 i32 i64", &[
        ("Neg", 1), ("Relu", 1),
    ]),
    ("f32 f64 f16 bf16 i8 i32 i64 u8 u32 u64 bool", &[
        ("ReduceMax", 1), ("ReduceMin", 1),
    ]),
    ("u8 u16 u32 u64", &[
        ("BitShift", 11),
    ]),
    ("f32", &[
        ("Celu", 12), ("DynamicQuantizeLinear", 11), ("NonMaxSuppression", 10),
    ]),
    ("i8 i16 i32 u8 u16 f8e4m3fn f8e4m3fnuz f8e5m2 f8e5m2fnuz f4e2m1 i4 u4 i2 u2", &[
        ("DequantizeLinear", 10),
    ]),
    ("f32 f64 f16 bf16 i8 u8", &[
        ("MaxPool", 1),
    ]),
    ("f32 f64 f16 bf16 i32 i64", &[
        ("Pow", 1),
    ]),
    ("i8 u8 f8e4m3fn f8e4m3fnuz f8e5m2 f8e5m2fnuz", &[
        ("QLinearMatMul", 10),
    ]),
    ("f32 f16 bf16 i32", &[
        ("QuantizeLinear", 10),
    ]),
    ("f32 f64 f16 bf16 i16 i32 i64", &[
        ("Range", 11),
    ]),
    ("f32 f64 f16 bf16 i8 i16 i32 i64 u8 u16 u32 u64 bool f8e4m3fn f8e4m3fnuz f8e5m2 f8e5m2fnuz f8e8m0 f4e2m1 i4 u4", &[
        ("TensorScatter", 24),
    ]),
    ("", &[
        ("ConcatFromSequence", 11), ("SequenceAt", 11), ("SequenceEmpty", 11), ("SequenceErase", 11),
        ("SequenceInsert", 11), ("SequenceLength", 11), ("SequenceMap", 17),
    ]),
];

/// Operators that later versions took out of the default domain, and the last version that has them.
const REMOVED: &[(&str, i64)] = &[("Scatter", 10), ("Upsample", 9)];

/// One operator that the compiler knows.
#[derive(Clone, Debug, PartialEq)]
pub struct Operator {
    /// Empty for the default domain.
    pub domain: &'static str,
    pub op: &'static str,
    /// First and last opset version of its domain, where the domain is the default one.
    pub versions: Option<(i64, i64)>,
    /// Element types of the first input; empty where the standard has no list.
    pub types: Vec<DType>,
}

/// Every known operator, by domain and name.
pub fn catalog() -> Vec<Operator> {
    let mut all: Vec<Operator> = known_operators().into_iter().map(|(domain, op)| describe(domain, op)).collect();
    all.sort_by_key(|o| (o.domain, o.op));
    all.dedup_by_key(|o| (o.domain, o.op));
    all
}

/// Types and versions of an operator of the default domain.
fn standard(op: &str) -> Option<(&'static str, (i64, i64))> {
    let entry = STANDARD.iter().find_map(|(types, ops)| Some((*types, ops.iter().find(|(name, _)| *name == op)?.1)));
    let last = REMOVED.iter().find(|(name, _)| *name == op).map_or(NEWEST, |(_, last)| *last);
    entry.map(|(types, since)| (types, (since, last)))
}

fn describe(domain: &'static str, op: &'static str) -> Operator {
    let (types, versions) = match standard(op).filter(|_| domain.is_empty()) {
        Some((types, versions)) => (types, Some(versions)),
        None => ("", None),
    };
    let types = types.split_whitespace().filter_map(DType::parse).collect();
    Operator { domain, op, versions, types }
}

/// Refuses an operator of the default domain that opset `version` does not have, or that does not take `first` as the
/// type of its first input.
pub fn check(op: &str, version: i64, first: Option<DType>) -> Result<()> {
    let Some((types, (since, last))) = standard(op) else { return Ok(()) };
    if version < since || version > last {
        let range = if version < since { format!("since {since}") } else { format!("up to {last}") };
        let message = format!("operator {op} is in opsets {range}, and the model imports opset {version}");
        return Err(Error::unsupported("E110", message).help("convert the model with onnx.version_converter"));
    }
    match first {
        Some(first) if !types.is_empty() && !types.split(' ').any(|t| DType::parse(t) == Some(first)) => {
            let message = format!("operator {op} takes no {first} as its first input");
            Err(Error::unsupported("E110", message).help(format!("cast it to one of {types}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_described_operator_is_known_and_described_once() {
        let known = known_operators();
        let mut seen = std::collections::BTreeSet::new();
        for (types, ops) in STANDARD {
            assert!(types.split_whitespace().all(|t| DType::parse(t).is_some()), "{types}");
            for (op, since) in *ops {
                assert!(known.contains(&("", op)), "{op} is described, but the importer does not know it");
                assert!(seen.insert(op), "{op} is described twice");
                assert!((1..=NEWEST).contains(since), "{op}");
            }
        }
        let described = |op| seen.contains(&op);
        let open: Vec<_> = known.iter().filter(|(domain, op)| domain.is_empty() && !described(op)).collect();
        assert!(open.is_empty(), "the importer knows operators that are not described: {open:?}");
    }

    #[test]
    fn what_the_table_does_not_have_is_refused() {
        assert!(check("Gelu", 20, Some(DType::F16)).is_ok());
        let said = |op, version, first| check(op, version, first).unwrap_err().to_string();
        assert!(said("Gelu", 17, None).contains("in opsets since 20, and the model imports opset 17"));
        assert!(said("Upsample", 10, None).contains("up to 9"));
        assert!(said("Add", 14, Some(DType::Bool)).contains("Add takes no bool as its first input"));
    }
}
