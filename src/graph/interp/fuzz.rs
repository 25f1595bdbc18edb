//! No operator may panic, whatever a file says: random attributes, shapes and types are evaluated or refused.

use super::evaluate;
use super::testing::node;
use crate::graph::Attribute;
use crate::run::value::Value;
use proptest::prelude::*;
use proptest::sample::select;
use sirius_polyhedral::DType;

const OPERATORS: &[&str] = &[
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Mod",
    "Max",
    "Mean",
    "PRelu",
    "BitShift",
    "Less",
    "Equal",
    "Pow",
    "Where",
    "Relu",
    "Erf",
    "Gelu",
    "Selu",
    "IsInf",
    "Cast",
    "CastLike",
    "BitCast",
    "Clip",
    "Dropout",
    "MatMul",
    "Gemm",
    "Einsum",
    "Det",
    "Conv",
    "ConvTranspose",
    "AveragePool",
    "LpPool",
    "MaxPool",
    "GlobalMaxPool",
    "MaxUnpool",
    "ReduceSum",
    "ReduceMax",
    "ReduceL2",
    "ReduceLogSumExp",
    "CumSum",
    "ArgMax",
    "BatchNormalization",
    "InstanceNormalization",
    "GroupNormalization",
    "LayerNormalization",
    "RMSNormalization",
    "LpNormalization",
    "MeanVarianceNormalization",
    "LRN",
    "Softmax",
    "LogSoftmax",
    "Hardmax",
    "RNN",
    "GRU",
    "LSTM",
    "QuantizeLinear",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "MatMulInteger",
    "ConvInteger",
    "QLinearMatMul",
    "QLinearConv",
    "Resize",
    "Upsample",
    "GridSample",
    "RoiAlign",
    "Identity",
    "Reshape",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "Transpose",
    "Shape",
    "Size",
    "Expand",
    "ConstantOfShape",
    "Constant",
    "Range",
    "EyeLike",
    "HannWindow",
    "Concat",
    "Split",
    "Slice",
    "Tile",
    "DepthToSpace",
    "SpaceToDepth",
    "Trilu",
    "ReverseSequence",
    "Compress",
    "Pad",
    "CenterCropPad",
    "Gather",
    "GatherElements",
    "GatherND",
    "OneHot",
    "NonZero",
    "TopK",
    "Unique",
    "ScatterElements",
    "ScatterND",
    "TensorScatter",
];

const INTS: &[&str] = &[
    "axis",
    "keepdims",
    "group",
    "p",
    "ceil_mode",
    "count_include_pad",
    "blocksize",
    "to",
    "transA",
    "exclusive",
    "batch_dims",
    "num_groups",
    "num_outputs",
    "allowzero",
    "k",
    "size",
    "training_mode",
    "hidden_size",
    "layout",
    "linear_before_reset",
    "input_forget",
    "batch_axis",
    "time_axis",
    "block_size",
    "align_corners",
    "antialias",
    "exclude_outside",
    "output_height",
    "sampling_ratio",
    "upper",
    "largest",
    "start",
    "end",
    "storage_order",
];

const LISTS: &[&str] = &[
    "axes",
    "kernel_shape",
    "strides",
    "dilations",
    "pads",
    "output_padding",
    "output_shape",
    "perm",
    "split",
    "starts",
    "ends",
    "shape",
    "value_ints",
];

const STRINGS: &[(&str, &[&str])] = &[
    ("mode", &["edge", "reflect", "wrap", "linear", "cubic", "nearest", "CRD", "circular", "max"]),
    ("auto_pad", &["SAME_UPPER", "SAME_LOWER", "VALID"]),
    ("equation", &["ij,jk->ik", "...i->i...", "ii", "a,b,c", "->", ""]),
    ("coordinate_transformation_mode", &["align_corners", "tf_crop_and_resize", "asymmetric"]),
    ("padding_mode", &["border", "reflection"]),
    ("direction", &["reverse", "bidirectional", "LEFT"]),
    ("reduction", &["add", "max", "odd"]),
];

fn small() -> impl Strategy<Value = i64> {
    prop_oneof![8 => -3i64..5, 1 => select(vec![i64::MAX, i64::MIN, 1 << 40, -(1 << 40)])]
}

fn value() -> impl Strategy<Value = Value> {
    let shape = prop::collection::vec(0usize..4, 0..5);
    let dtype = select(vec![DType::F32, DType::F32, DType::I64, DType::I64, DType::I8, DType::U8, DType::Bool]);
    (dtype, shape, prop::collection::vec(small(), 1..8)).prop_map(|(dtype, shape, pattern)| {
        let len: usize = shape.iter().product();
        let elements: Vec<i128> = pattern.iter().cycle().take(len).map(|v| *v as i128).collect();
        Value::from_ints(dtype, &shape, &elements).unwrap()
    })
}

fn attribute() -> impl Strategy<Value = (&'static str, Attribute)> {
    prop_oneof![
        (select(INTS), small()).prop_map(|(name, v)| (name, Attribute::Int(v))),
        (select(LISTS), prop::collection::vec(small(), 0..5)).prop_map(|(name, v)| (name, Attribute::Ints(v))),
        select(STRINGS).prop_flat_map(|(name, all)| select(all).prop_map(move |v| (name, Attribute::String(v.into())))),
        (select(vec!["alpha", "clip", "ratio", "epsilon"]), select(vec![0.0f32, -1.0, f32::NAN, 2.0]))
            .prop_map(|(name, v)| (name, Attribute::Float(v))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn operators_refuse_but_never_panic(
        op in select(OPERATORS),
        version in 7i64..24,
        attributes in prop::collection::vec(attribute(), 0..5),
        inputs in prop::collection::vec(prop::option::weighted(0.9, value()), 0..8),
    ) {
        let inputs: Vec<Option<&Value>> = inputs.iter().map(Option::as_ref).collect();
        if let Ok(results) = evaluate(&node(op, version, &attributes), &inputs, &[]) {
            for result in results {
                prop_assert_eq!(result.bytes.len(), result.shape.iter().product::<usize>() * result.dtype.size());
            }
        }
    }
}
