//! Graph to program: every operator is a loop nest as data.
//!
//! Operators that only rename elements (transpose, reshape, slice) become views; the others add statements,
//! arrays and their own loops to the one schedule tree, in the order of the graph. `builder` holds the state
//! and its conventions; each other file is a family of operators.

mod activation;
mod agree;
mod amounts;
mod arguments;
mod assemble;
mod builder;
mod carried;
mod contraction;
mod control;
mod conv;
mod counted;
mod counters;
mod cumulative;
mod deform;
mod determinant;
mod einsum;
mod elementwise;
mod gather;
mod generate;
mod grams;
mod layout;
mod matmul;
mod names;
mod normalize;
mod padding;
mod pool;
mod positions;
mod quantize;
mod random;
mod recurrent;
mod reduce;
mod regions;
mod reshape;
mod resize;
mod resize_symbolic;
mod sample;
mod simplify;
mod softmax;
mod suppression;
mod terms;
mod top_k;
mod unique;
mod unpool;
mod varying;
mod view;

pub use builder::{Builder, Dims, Scope, View, dims, leaf, named_dims};
pub use random::key as random_key;

use crate::graph::{Block, CHOSEN, EXPECT, Graph, Node, OWN};
use sirius_polyhedral::{Error, Program, Result};

/// The whole graph as one program. Every operator that is not supported is named in the error.
pub fn extract(graph: &Graph) -> Result<Program> {
    let mut builder = Builder::new(graph);
    extract_block(&mut builder, &graph.main)?;
    if !builder.unsupported.is_empty() {
        return Err(combined(&builder.unsupported));
    }
    builder.finish()
}

/// One error for every node that cannot be extracted, subgraphs included.
pub fn unsupported_nodes(graph: &Graph) -> Result<Vec<Error>> {
    let mut builder = Builder::new(graph);
    extract_block(&mut builder, &graph.main)?;
    Ok(builder.unsupported)
}

/// Extracts the nodes of a block in order. A node that is not supported is noted and its results are
/// declared, so that the rest of the graph is still looked at.
pub fn extract_block(builder: &mut Builder, block: &Block) -> Result<()> {
    for node in &block.nodes {
        let outer = std::mem::replace(&mut builder.origin, node.origin());
        let result = extract_node(builder, node);
        builder.origin = outer;
        match result.map_err(|e| e.at(&node.origin())) {
            Err(error @ Error::Unsupported(_)) => {
                builder.unsupported.push(error);
                for output in node.outputs.iter().flatten() {
                    builder.define(*output);
                }
            }
            other => other?,
        }
    }
    Ok(())
}

/// Adds one node to the program, and the parameters that follow from its results.
pub fn extract_node(builder: &mut Builder, node: &Node) -> Result<()> {
    extract_results(builder, node)?;
    amounts::define_results(builder, node)
}

/// A node whose results import already knows adds nothing.
fn extract_results(builder: &mut Builder, node: &Node) -> Result<()> {
    let known = |t: &crate::graph::TensorId| {
        let tensor = builder.graph.tensor(*t);
        tensor.constant.is_some() || tensor.symbolic.is_some()
    };
    if node.outputs.iter().flatten().all(known) {
        return Ok(());
    }
    match (node.domain.as_str(), node.op.as_str()) {
        (OWN, EXPECT) => return agree::expect(builder, node),
        (OWN, CHOSEN) => return agree::chosen(builder, node),
        _ => {}
    }
    if !matches!(node.domain.as_str(), "" | "ai.onnx") {
        return Err(unsupported(builder, node));
    }
    if elementwise::is_rename(builder, node)? {
        return layout::identity(builder, node);
    }
    if elementwise::extract(builder, node)? {
        return Ok(());
    }
    match node.op.as_str() {
        "Concat" => assemble::concat(builder, node),
        "DepthToSpace" => layout::depth_to_space(builder, node),
        "Einsum" => einsum::einsum(builder, node),
        "Expand" => layout::expand(builder, node),
        "Flatten" | "Reshape" | "Squeeze" | "Unsqueeze" => layout::reshape(builder, node),
        "Gemm" => matmul::gemm(builder, node),
        "Hardmax" | "LogSoftmax" | "Softmax" => softmax::softmax(builder, node),
        "MatMul" => matmul::matmul(builder, node),
        "CenterCropPad" => assemble::center_crop_pad(builder, node),
        "Pad" => assemble::pad(builder, node),
        "Slice" => layout::slice(builder, node),
        "SpaceToDepth" => layout::space_to_depth(builder, node),
        "Split" => layout::split(builder, node),
        "ArgMax" | "ArgMin" => reduce::arg_extreme(builder, node),
        "AveragePool" | "LpPool" | "MaxPool" => pool::pool(builder, node),
        "Bernoulli" => random::bernoulli(builder, node),
        "BatchNormalization" => normalize::batch(builder, node),
        "Constant" => generate::constant(builder, node),
        "ConstantOfShape" => generate::constant_of_shape(builder, node),
        "Conv" => conv::conv(builder, node),
        "ConvInteger" => conv::conv_integer(builder, node),
        "Col2Im" => unpool::col2im(builder, node),
        "Compress" => counted::compress(builder, node),
        "CumProd" | "CumSum" => cumulative::cumulative(builder, node),
        "DeformConv" => deform::deform_conv(builder, node),
        "Det" => determinant::determinant(builder, node),
        "DequantizeLinear" => quantize::dequantize_linear(builder, node),
        "DynamicQuantizeLinear" => quantize::dynamic_quantize_linear(builder, node),
        "EyeLike" => generate::eye_like(builder, node),
        "Gather" => gather::gather(builder, node),
        "GatherElements" => gather::gather_elements(builder, node),
        "GatherND" => gather::gather_nd(builder, node),
        "GlobalAveragePool" | "GlobalLpPool" | "GlobalMaxPool" => pool::global(builder, node),
        "GridSample" => sample::grid_sample(builder, node),
        "GroupNormalization" => normalize::group(builder, node),
        "InstanceNormalization" => normalize::instance(builder, node),
        "LayerNormalization" | "RMSNormalization" => normalize::layer(builder, node),
        "LpNormalization" => normalize::lp(builder, node),
        "LRN" => normalize::local_response(builder, node),
        "MatMulInteger" => quantize::matmul_integer(builder, node),
        "MaxUnpool" => unpool::max_unpool(builder, node),
        "Multinomial" => random::multinomial(builder, node),
        "NonMaxSuppression" => suppression::non_max_suppression(builder, node),
        "RandomNormal" | "RandomNormalLike" | "RandomUniform" | "RandomUniformLike" => random::random(builder, node),
        "TfIdfVectorizer" => grams::tf_idf(builder, node),
        "TensorScatter" => gather::tensor_scatter(builder, node),
        "MeanVarianceNormalization" => normalize::mean_variance(builder, node),
        "NonZero" => counted::non_zero(builder, node),
        "OneHot" => gather::one_hot(builder, node),
        "QLinearConv" => quantize::qlinear_conv(builder, node),
        "QLinearMatMul" => quantize::qlinear_matmul(builder, node),
        "QuantizeLinear" => quantize::quantize_linear(builder, node),
        "Range" => generate::range(builder, node),
        "ReduceL1" | "ReduceL2" | "ReduceLogSum" | "ReduceLogSumExp" | "ReduceMax" | "ReduceMean" | "ReduceMin"
        | "ReduceProd" | "ReduceSum" | "ReduceSumSquare" => reduce::reduce(builder, node),
        "Resize" | "Upsample" => resize::resize(builder, node),
        "ReverseSequence" => gather::reverse_sequence(builder, node),
        "RoiAlign" => regions::roi_align(builder, node),
        "Scatter" | "ScatterElements" => gather::scatter_elements(builder, node),
        "ScatterND" => gather::scatter_nd(builder, node),
        "Shape" | "Size" => generate::shape(builder, node),
        "Tile" => layout::tile(builder, node),
        "Trilu" => generate::triangle(builder, node),
        "TopK" => top_k::top_k(builder, node),
        "Transpose" => layout::transpose(builder, node),
        "Unique" => unique::unique(builder, node),
        "If" => control::extract_if(builder, node),
        "Loop" => control::extract_loop(builder, node),
        "Scan" => control::extract_scan(builder, node),
        "LSTM" => recurrent::extract_lstm(builder, node),
        "GRU" => recurrent::extract_gru(builder, node),
        "RNN" => recurrent::extract_rnn(builder, node),
        _ => Err(unsupported(builder, node)),
    }
}

/// The error for an operator, or a form of it, that has no loop nest here.
pub fn unsupported(_builder: &Builder, node: &Node) -> Error {
    let domain = if node.domain.is_empty() { "ai.onnx" } else { &node.domain };
    let message = format!("node \"{}\": operator {} (domain {domain}, opset {})", node.name, node.op, node.version);
    Error::unsupported("E301", format!("{message} is not supported")).at(&node.origin())
}

fn combined(errors: &[Error]) -> Error {
    if let [one] = errors {
        return one.clone();
    }
    let list: Vec<String> = errors.iter().map(|e| format!("  {}", e.diagnostic().message)).collect();
    let message = format!("{} nodes are not supported:\n{}", errors.len(), list.join("\n"));
    Error::unsupported("E301", message).help("list them with: sirius check MODEL")
}
