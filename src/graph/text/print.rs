//! Graph to text.

use super::{INLINE, scalar};
use crate::graph::{Attribute, Block, Graph, Node, Tensor, TensorId};
use sirius_polyhedral::{Aff, ConstantData, Param, ParamDef};
use std::fmt::Write;

pub fn print(graph: &Graph) -> String {
    let mut printer = Printer { graph, out: String::new(), weights: 0 };
    printer.line(0, &format!("graph {}", quote(&graph.name)));
    for (_, param) in graph.params.iter() {
        printer.param(param);
    }
    for (n, data) in &graph.fixed {
        let bytes: Vec<String> = data.bytes().iter().map(u8::to_string).collect();
        printer.line(1, &format!("fixed {n} [{}]", bytes.join(", ")));
    }
    for (role, ports) in [("input", &graph.signature.inputs), ("output", &graph.signature.outputs)] {
        for port in ports {
            let (name, form) = (quote(&port.name), quote(&port.form.to_string()));
            printer.line(1, &format!("{role} {name} {form}"));
        }
    }
    for (n, tensor) in graph.tensors.iter().enumerate() {
        printer.tensor(TensorId(n as u32), tensor);
    }
    printer.block("main", &graph.main, 0);
    printer.out
}

/// The constants that the text calls `#0`, `#1` and so on.
pub fn weights(graph: &Graph) -> Vec<&ConstantData> {
    graph.tensors.iter().filter(|t| is_weight(t)).filter_map(|t| t.constant.as_ref()).collect()
}

fn is_weight(tensor: &Tensor) -> bool {
    tensor.constant.as_ref().is_some_and(|data| data.bytes().len() > INLINE * tensor.dtype.size())
}

/// A string in double quotes; only backslash, quote and control characters are escaped.
pub fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:06x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

struct Printer<'g> {
    graph: &'g Graph,
    out: String,
    weights: usize,
}

impl Printer<'_> {
    fn line(&mut self, depth: usize, text: &str) {
        self.out.extend(std::iter::repeat_n("  ", depth));
        self.out.push_str(text);
        self.out.push('\n');
    }

    fn aff(&self, aff: &Aff) -> String {
        aff.display(&|p| self.graph.params.get(p).name.clone(), &|n| format!("i{n}"))
    }

    fn affs(&self, affs: &[Aff]) -> String {
        affs.iter().map(|a| self.aff(a)).collect::<Vec<_>>().join(", ")
    }

    fn param(&mut self, param: &Param) {
        let two = |name: &str, a: &Aff, b: &Aff| format!("{name}({}, {})", self.aff(a), self.aff(b));
        let def = match &param.def {
            ParamDef::Input { input, axis } => format!("input({input}, {axis})"),
            ParamDef::Content { input, at } => format!("content({input}, {at})"),
            ParamDef::Value { array } => format!("value({})", quote(array)),
            ParamDef::Mul(a, b) => two("mul", a, b),
            ParamDef::FloorDiv(a, b) => two("floordiv", a, b),
            ParamDef::Max(a, b) => two("max", a, b),
            ParamDef::Min(a, b) => two("min", a, b),
        };
        let mut text = format!("param {} = {def}", param.name);
        if param.min > i64::MIN {
            let _ = write!(text, " min {}", param.min);
        }
        if let Some(max) = param.max {
            let _ = write!(text, " max {max}");
        }
        let _ = write!(text, " hint {}", param.hint);
        self.line(0, &text);
    }

    fn tensor(&mut self, id: TensorId, tensor: &Tensor) {
        let mut text = format!("{id} {} {}[{}]", quote(&tensor.name), tensor.dtype, self.affs(&tensor.shape));
        if let Some(data) = &tensor.constant {
            if is_weight(tensor) {
                let _ = write!(text, " = #{}", self.weights);
                self.weights += 1;
            } else {
                let size = tensor.dtype.size();
                let elements = data.bytes().chunks_exact(size).map(|c| scalar::print(c, tensor.dtype));
                let _ = write!(text, " = [{}]", elements.collect::<Vec<_>>().join(", "));
            }
        }
        if let Some(values) = &tensor.symbolic {
            let _ = write!(text, " ~ [{}]", self.affs(values));
        }
        self.line(0, &text);
    }

    /// `main (inputs) -> (outputs) { nodes }`
    fn block(&mut self, label: &str, block: &Block, depth: usize) {
        let ids = |ids: &[TensorId]| ids.iter().map(TensorId::to_string).collect::<Vec<_>>().join(", ");
        self.line(depth, &format!("{label} ({}) -> ({}) {{", ids(&block.inputs), ids(&block.outputs)));
        for node in &block.nodes {
            self.node(node, depth + 1);
        }
        self.line(depth, "}");
    }

    fn node(&mut self, node: &Node, depth: usize) {
        let ids = |ids: &[Option<TensorId>]| {
            let show = |id: &Option<TensorId>| id.map_or_else(|| "_".to_string(), |id| id.to_string());
            ids.iter().map(show).collect::<Vec<_>>().join(", ")
        };
        let domain = if node.domain.is_empty() { String::new() } else { format!("{} ", quote(&node.domain)) };
        let mut text = format!(
            "{domain}{}@{} {} ({}) -> ({})",
            node.op,
            node.version,
            quote(&node.name),
            ids(&node.inputs),
            ids(&node.outputs)
        );
        let plain: Vec<String> = node
            .attributes
            .iter()
            .filter_map(|(name, value)| Some(format!("{name} = {}", attribute(value)?)))
            .collect();
        if !plain.is_empty() {
            let _ = write!(text, " {{{}}}", plain.join(", "));
        }
        self.line(depth, &text);
        for (name, value) in &node.attributes {
            if let Attribute::Block(block) = value {
                self.block(&format!(": {name}"), block, depth + 1);
            }
        }
    }
}

/// Everything but subgraphs. Lists and floats say their type, since `[]` and `1` would not.
fn attribute(value: &Attribute) -> Option<String> {
    let float = |v: f32| scalar::print(&v.to_le_bytes(), sirius_polyhedral::DType::F32);
    let list = |items: Vec<String>| format!("[{}]", items.join(", "));
    Some(match value {
        Attribute::Int(v) => v.to_string(),
        Attribute::Float(v) => format!("f {}", float(*v)),
        Attribute::String(v) => quote(v),
        Attribute::Ints(v) => list(v.iter().map(i64::to_string).collect()),
        Attribute::Floats(v) => format!("f {}", list(v.iter().map(|&v| float(v)).collect())),
        Attribute::Strings(v) => format!("s {}", list(v.iter().map(|v| quote(v)).collect())),
        Attribute::Tensor(id) => id.to_string(),
        Attribute::Block(_) => return None,
    })
}
