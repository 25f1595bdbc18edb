//! From operator names to the families that evaluate them.

use super::*;
use crate::graph::{CHOSEN, EXPECT, OWN};

/// Evaluates a node without subgraphs.
pub fn eval(call: &Call) -> Result<Vec<Value>> {
    match (call.node.domain.as_str(), call.op()) {
        (OWN, EXPECT) => return shape::expect(call),
        (OWN, CHOSEN) => return shape::chosen(call),
        _ => {}
    }
    if !matches!(call.node.domain.as_str(), "" | "ai.onnx") {
        return Err(call.unsupported(format!("the interpreter has no operator {}.{}", call.node.domain, call.op())));
    }
    numeric(call)
        .or_else(|| structural(call))
        .unwrap_or_else(|| Err(call.unsupported(format!("the interpreter has no operator {}", call.op()))))
}

/// Operators that compute.
fn numeric(call: &Call) -> Option<Result<Vec<Value>>> {
    Some(match call.op() {
        "Abs" | "Neg" | "Sign" | "Floor" | "Ceil" | "Round" | "Sqrt" | "Reciprocal" | "Exp" | "Log" | "Sin" | "Cos"
        | "Tan" | "Asin" | "Acos" | "Atan" | "Sinh" | "Cosh" | "Asinh" | "Acosh" | "Atanh" | "Tanh" | "Erf"
        | "Sigmoid" | "Relu" | "Softsign" | "Softplus" | "HardSwish" | "Mish" | "Gelu" | "Shrink" | "Swish"
        | "Celu" | "Selu" | "LeakyRelu" | "ThresholdedRelu" | "Elu" | "HardSigmoid" | "ScaledTanh" | "Affine"
        | "Not" | "BitwiseNot" => unary::eval(call),
        "IsNaN" | "IsInf" => unary::predicate(call),
        "Cast" | "CastLike" => unary::cast(call),
        "BitCast" => unary::bit_cast(call),
        "Clip" => unary::clip(call),
        "Dropout" => unary::dropout(call),
        "Add" | "Sub" | "Mul" | "Div" | "Mod" | "PRelu" | "And" | "Or" | "Xor" | "BitwiseAnd" | "BitwiseOr"
        | "BitwiseXor" | "BitShift" => binary::arithmetic(call),
        "Max" | "Min" | "Sum" | "Mean" => binary::variadic(call),
        "Equal" | "Less" | "LessOrEqual" | "Greater" | "GreaterOrEqual" => binary::comparison(call),
        "Pow" => binary::pow(call),
        "Where" => binary::select(call),
        "MatMul" => matmul::eval(call),
        "Gemm" => matmul::gemm(call),
        "Det" => matmul::determinant(call),
        "Resize" | "Upsample" => resize::eval(call),
        "DeformConv" => deform::deform_conv(call),
        "Col2Im" => deform::col2im(call),
        "NonMaxSuppression" => suppression::non_max_suppression(call),
        "RandomUniform" | "RandomUniformLike" | "RandomNormal" | "RandomNormalLike" => random::random(call),
        "Bernoulli" => random::bernoulli(call),
        "Multinomial" => random::multinomial(call),
        "GridSample" => sample::grid_sample(call),
        "RoiAlign" => sample::roi_align(call),
        "Einsum" => einsum::eval(call),
        "Conv" => conv::eval(call),
        "ConvTranspose" => conv::transpose(call),
        "AveragePool" | "LpPool" => pool::eval(call),
        "MaxPool" => pool::max(call),
        "GlobalAveragePool" | "GlobalMaxPool" | "GlobalLpPool" => pool::global(call),
        "MaxUnpool" => pool::unpool(call),
        "ReduceSum" | "ReduceMean" | "ReduceProd" | "ReduceMax" | "ReduceMin" | "ReduceL1" | "ReduceL2"
        | "ReduceSumSquare" | "ReduceLogSum" | "ReduceLogSumExp" => reduce::eval(call),
        "CumSum" | "CumProd" => reduce::cumulative(call),
        "ArgMax" | "ArgMin" => reduce::arg(call),
        "BatchNormalization" => norm::batch(call),
        "InstanceNormalization" | "GroupNormalization" => norm::groups(call),
        "LayerNormalization" | "RMSNormalization" | "SimplifiedLayerNormalization" => norm::layer(call),
        "LpNormalization" => norm::lp(call),
        "MeanVarianceNormalization" => norm::mean_variance(call),
        "LRN" => norm::local_response(call),
        "Softmax" | "LogSoftmax" | "Hardmax" => norm::softmax(call),
        "RNN" | "GRU" | "LSTM" => recurrent::eval(call),
        "QuantizeLinear" => quantize::quantize(call),
        "DequantizeLinear" => quantize::dequantize(call),
        "DynamicQuantizeLinear" => quantize::dynamic(call),
        "MatMulInteger" => quantize::matmul_integer(call),
        "ConvInteger" => quantize::conv_integer(call),
        "QLinearMatMul" => quantize::qlinear_matmul(call),
        "QLinearConv" => quantize::qlinear_conv(call),
        _ => return None,
    })
}

/// Operators that move elements or make tensors.
fn structural(call: &Call) -> Option<Result<Vec<Value>>> {
    Some(match call.op() {
        "Identity" => call.input(0).map(|x| vec![x.clone()]),
        "Reshape" => shape::reshape(call),
        "Flatten" => shape::flatten(call),
        "Squeeze" => shape::squeeze(call),
        "Unsqueeze" => shape::unsqueeze(call),
        "Transpose" => shape::transposition(call),
        "Shape" => shape::shape(call),
        "Size" => shape::size(call),
        "Expand" => shape::expansion(call),
        "ConstantOfShape" => shape::constant_of_shape(call),
        "Constant" => shape::constant(call),
        "Range" => shape::range(call),
        "HannWindow" | "HammingWindow" | "BlackmanWindow" => shape::window(call),
        "EyeLike" => shape::eye_like(call),
        "Concat" => layout::concat(call),
        "Split" => layout::split(call),
        "Slice" => layout::slice(call),
        "Tile" => layout::tile(call),
        "DepthToSpace" => layout::depth_to_space(call),
        "SpaceToDepth" => layout::space_to_depth(call),
        "Trilu" => layout::trilu(call),
        "ReverseSequence" => layout::reverse_sequence(call),
        "Compress" => layout::compress(call),
        "Pad" => pad::pad(call),
        "CenterCropPad" => pad::center_crop_pad(call),
        "Gather" => gather::gather(call),
        "GatherElements" => gather::gather_elements(call),
        "GatherND" => gather::gather_nd(call),
        "OneHot" => gather::one_hot(call),
        "NonZero" => gather::non_zero(call),
        "TopK" => gather::top_k(call),
        "Unique" => gather::unique(call),
        "Scatter" | "ScatterElements" => scatter::elements(call),
        "ScatterND" => scatter::nd(call),
        "TensorScatter" => scatter::tensor(call),
        _ => return None,
    })
}
