//! Messages to a draft graph: names become tensor ids, functions are inlined, constants are read.
//!
//! Types and shapes are still unknown; `infer` fills them in.

use super::attribute::{self, Value};
use super::external::External;
use super::infer::Composite;
use super::inputs::DeclaredInput;
use super::proto::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, ValueInfoProto,
};
use super::tensor::{self, Constant};
use super::{ImportOptions, Limits, order, ports};
use crate::graph::{Attribute, Block, Form, Graph, Node, Port, Tensor, TensorId};
use indexmap::IndexMap;
use sirius_polyhedral::{DType, Error, Origin, Result};
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// A graph whose tensors have no types yet, constants excepted.
pub struct Draft {
    pub graph: Graph,
    /// The tensors that are inputs: those of sequences and optionals, too.
    pub inputs: Vec<DeclaredInput>,
    /// The inputs of the file, in order.
    pub ports: Vec<Port>,
    /// What the inputs that are no tensors stand for.
    pub composites: Vec<(TensorId, Composite)>,
}

pub fn build(model: &ModelProto, directory: &Path, options: &ImportOptions) -> Result<Draft> {
    let Some(proto) = model.graph.as_deref() else {
        return Err(Error::invalid("E101", "the file holds no graph"));
    };
    let env = Env { opsets: opsets(&model.opset_import)?, attributes: HashMap::new() };
    let mut builder = Builder::new(model, directory, &options.limits);
    builder.graph.name = proto.name.clone();
    builder.tensor_names.extend(main_names(proto).map(|name| (name.to_string(), 1)));
    let mut scope = Scope::default();
    let main = builder.block(proto, &mut scope, &env, 0)?;
    let ids = main.inputs.clone();
    builder.graph.main = main;
    let weights: HashSet<&str> = proto.initializer.iter().map(|w| w.name.as_str()).collect();
    let declared = proto.input.iter().filter(|i| !weights.contains(i.name.as_str()));
    let mut draft = Draft { graph: Graph::default(), inputs: vec![], ports: vec![], composites: vec![] };
    for (info, id) in declared.zip(ids) {
        builder.input(info, id, options, &mut draft)?;
    }
    ports::check(&draft.ports, options)?;
    draft.graph = builder.graph;
    draft.graph.main.inputs = draft.inputs.iter().map(|input| input.id).collect();
    Ok(draft)
}

/// Versions by domain; 24 to 27 are accepted with a warning.
fn opsets(imports: &[OperatorSetIdProto]) -> Result<HashMap<String, i64>> {
    let mut versions = HashMap::new();
    for import in imports {
        let domain = plain_domain(&import.domain);
        if domain.is_empty() {
            check_version(import.version)?;
        }
        versions.insert(domain.to_string(), import.version);
    }
    Ok(versions)
}

fn check_version(version: i64) -> Result<()> {
    if !(1..=super::NEWEST).contains(&version) {
        return Err(Error::unsupported("E103", format!("opset {version} is not supported; versions 1 to 23 are"))
            .help("convert the model with onnx.version_converter"));
    }
    if version > 23 {
        tracing::warn!("opset {version} is newer than 23, the newest tested version");
    }
    Ok(())
}

fn plain_domain(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

/// What names mean, innermost scope last. A function body sees only its own.
#[derive(Default)]
struct Scope<'a> {
    frames: Vec<HashMap<&'a str, TensorId>>,
    /// Goes before the names of tensors and nodes of an inlined function.
    prefix: String,
}

impl Scope<'_> {
    fn find(&self, name: &str) -> Option<TensorId> {
        self.frames.iter().rev().find_map(|frame| frame.get(name).copied())
    }
}

/// What differs between the main graph and the body of a function.
struct Env<'a> {
    opsets: HashMap<String, i64>,
    /// The attributes of the call, for `ref_attr_name`.
    attributes: HashMap<&'a str, &'a AttributeProto>,
}

struct Builder<'a> {
    graph: Graph,
    external: External,
    functions: HashMap<(String, &'a str, &'a str), &'a FunctionProto>,
    limits: &'a Limits,
    tensor_names: Names,
    node_names: Names,
    nodes: usize,
}

impl<'a> Builder<'a> {
    fn new(model: &'a ModelProto, directory: &Path, limits: &'a Limits) -> Builder<'a> {
        let key = |f: &'a FunctionProto| (plain_domain(&f.domain).to_string(), f.name.as_str(), f.overload.as_str());
        Builder {
            graph: Graph::default(),
            external: External::new(directory),
            functions: model.functions.iter().map(|f| (key(f), f)).collect(),
            limits,
            tensor_names: Names::new(),
            node_names: Names::new(),
            nodes: 0,
        }
    }

    fn block(&mut self, proto: &'a GraphProto, scope: &mut Scope<'a>, env: &Env<'a>, depth: usize) -> Result<Block> {
        if !proto.sparse_initializer.is_empty() {
            return Err(Error::unsupported("E110", "sparse initializers are not supported"));
        }
        scope.frames.push(HashMap::new());
        let mut block = Block::default();
        for weight in &proto.initializer {
            self.constant(&weight.name, weight, scope)?;
        }
        let weights: HashSet<&str> = proto.initializer.iter().map(|w| w.name.as_str()).collect();
        for input in proto.input.iter().filter(|i| !weights.contains(i.name.as_str())) {
            block.inputs.push(self.define(&input.name, scope)?);
        }
        for n in order::sort(&proto.node)? {
            self.node(&proto.node[n], scope, env, depth, &mut block.nodes)?;
        }
        for output in &proto.output {
            let id = scope.find(&output.name).ok_or_else(|| unknown(&output.name, "a graph output"))?;
            block.outputs.push(id);
        }
        scope.frames.pop();
        Ok(block)
    }

    /// Declares an input of the main graph: one tensor, or those of a sequence or optional.
    fn input(&mut self, info: &ValueInfoProto, id: TensorId, options: &ImportOptions, draft: &mut Draft) -> Result<()> {
        let name = &info.name;
        let (kind, tensor_type) = ports::read(info)?;
        let port = Port { name: name.clone(), form: ports::form(name, kind, options.lengths.get(name).copied())? };
        if port.form == Form::Tensor {
            draft.inputs.push(DeclaredInput::read(name, tensor_type, options.shapes.get(name), id)?);
            draft.ports.push(port);
            return Ok(());
        }
        let mut elements = Vec::new();
        for k in 0..port.form.tensors() {
            let element = self.anonymous(&format!("{name}[{k}]"));
            draft.inputs.push(ports::element(&port, k, tensor_type, options, element)?);
            elements.push(element);
        }
        match port.form {
            Form::OptionalSequence(_) => {
                let list = self.anonymous(&format!("{name}.value"));
                draft.composites.push((list, Composite::List(elements)));
                draft.composites.push((id, Composite::Optional(Some(list))));
            }
            Form::Sequence(_) => draft.composites.push((id, Composite::List(elements))),
            _ => draft.composites.push((id, Composite::Optional(elements.first().copied()))),
        }
        draft.ports.push(port);
        Ok(())
    }

    /// A new tensor for `name`, which must be new in the innermost scope.
    fn define(&mut self, name: &'a str, scope: &mut Scope<'a>) -> Result<TensorId> {
        let main = scope.prefix.is_empty() && scope.frames.len() == 1;
        let id = if main { self.add(name.to_string()) } else { self.anonymous(&format!("{}{name}", scope.prefix)) };
        let frame = scope.frames.last_mut();
        if frame.and_then(|frame| frame.insert(name, id)).is_some() {
            return Err(Error::invalid("E104", format!("the name \"{name}\" is defined twice")));
        }
        Ok(id)
    }

    /// A tensor of a subgraph or function: its name gives way to names of the main graph and earlier ones.
    fn anonymous(&mut self, name: &str) -> TensorId {
        let name = unique(&mut self.tensor_names, name);
        self.add(name)
    }

    fn add(&mut self, name: String) -> TensorId {
        self.graph.add_tensor(Tensor { name, dtype: DType::F32, shape: vec![], constant: None, symbolic: None })
    }

    fn constant(&mut self, name: &'a str, proto: &TensorProto, scope: &mut Scope<'a>) -> Result<()> {
        let constant = tensor::read(proto, name, &mut self.external)?;
        let id = self.define(name, scope)?;
        self.fill(id, constant);
        Ok(())
    }

    fn fill(&mut self, id: TensorId, constant: Constant) {
        let tensor = self.graph.tensor_mut(id);
        tensor.dtype = constant.dtype;
        tensor.shape = constant.affs();
        tensor.constant = Some(constant.data);
    }

    fn node(
        &mut self,
        proto: &'a NodeProto,
        scope: &mut Scope<'a>,
        env: &Env<'a>,
        depth: usize,
        out: &mut Vec<Node>,
    ) -> Result<()> {
        self.nodes += 1;
        if self.nodes > self.limits.nodes || depth > self.limits.depth {
            let (nodes, depth) = (self.limits.nodes, self.limits.depth);
            return Err(Error::invalid("E102", format!("the model has more than {nodes} nodes or {depth} levels")));
        }
        let domain = plain_domain(&proto.domain);
        let key = (domain.to_string(), proto.op_type.as_str(), proto.overload.as_str());
        if let Some(function) = self.functions.get(&key).copied() {
            return self.inline(proto, function, scope, env, depth, out);
        }
        let origin = self.origin(proto, scope);
        if domain.is_empty() && proto.op_type == "Constant" {
            return self.constant_node(proto, scope, env).map_err(|e| e.at(&origin));
        }
        let node = self.plain_node(proto, domain, &origin, scope, env, depth).map_err(|e| e.at(&origin))?;
        out.push(node);
        Ok(())
    }

    fn origin(&mut self, proto: &NodeProto, scope: &Scope) -> Origin {
        let given =
            if proto.name.is_empty() { format!("{}_{}", proto.op_type, self.nodes) } else { proto.name.clone() };
        let node = unique(&mut self.node_names, &format!("{}{given}", scope.prefix));
        Origin { node, op: proto.op_type.clone() }
    }

    fn plain_node(
        &mut self,
        proto: &'a NodeProto,
        domain: &str,
        origin: &Origin,
        scope: &mut Scope<'a>,
        env: &Env<'a>,
        depth: usize,
    ) -> Result<Node> {
        let inputs = resolve(&proto.input, scope)?;
        let mut attributes = IndexMap::new();
        for attribute in given_attributes(proto, env).into_iter().filter(|a| !attribute::is_type(a.value)) {
            let value = self.attribute(attribute.value, origin, scope, env, depth)?;
            attributes.insert(attribute.name.to_string(), value);
        }
        let version = env.opsets.get(domain).copied().unwrap_or(1);
        if domain.is_empty() && !env.opsets.contains_key("") {
            return Err(Error::invalid("E103", "the model imports no version of the default operator set"));
        }
        let mut outputs = Vec::new();
        for name in &proto.output {
            outputs.push(if name.is_empty() { None } else { Some(self.define(name, scope)?) });
        }
        let (name, op, domain) = (origin.node.clone(), proto.op_type.clone(), domain.to_string());
        Ok(Node { name, op, domain, version, inputs, outputs, attributes })
    }

    fn attribute(
        &mut self,
        proto: &'a AttributeProto,
        origin: &Origin,
        scope: &mut Scope<'a>,
        env: &Env<'a>,
        depth: usize,
    ) -> Result<Attribute> {
        Ok(match attribute::value(proto)? {
            Value::Plain(plain) => plain,
            Value::Tensor(tensor) => {
                let name = format!("{}.{}", origin.node, proto.name);
                let constant = tensor::read(tensor, &name, &mut self.external)?;
                let id = self.anonymous(&name);
                self.fill(id, constant);
                Attribute::Tensor(id)
            }
            Value::Graph(graph) => Attribute::Block(self.block(graph, scope, env, depth + 1)?),
        })
    }

    /// `Constant` is not a node but a tensor.
    fn constant_node(&mut self, proto: &'a NodeProto, scope: &mut Scope<'a>, env: &Env<'a>) -> Result<()> {
        let [name] = proto.output.as_slice() else {
            return Err(Error::invalid("E104", "a Constant must have one output"));
        };
        let Some(given) = given_attributes(proto, env).into_iter().next() else {
            return Err(Error::invalid("E104", format!("constant \"{name}\" has no value")));
        };
        let constant = match attribute::value(given.value)? {
            Value::Tensor(tensor) => tensor::read(tensor, name, &mut self.external)?,
            Value::Plain(Attribute::Int(v)) => Constant::ints(&[v], &[]),
            Value::Plain(Attribute::Ints(v)) => Constant::ints(&v, &[v.len() as i64]),
            Value::Plain(Attribute::Float(v)) => Constant::floats(&[v], &[]),
            Value::Plain(Attribute::Floats(v)) => Constant::floats(&v, &[v.len() as i64]),
            _ => {
                let message = format!("constant \"{name}\" holds strings or a sparse tensor, which is not supported");
                let help = "store a dense tensor of numbers, and keep strings outside of the model";
                return Err(Error::unsupported("E110", message).help(help));
            }
        };
        let id = self.define(name, scope)?;
        self.fill(id, constant);
        Ok(())
    }

    /// Builds a function's nodes in place of its call, in a scope that holds only its arguments.
    fn inline(
        &mut self,
        call: &'a NodeProto,
        function: &'a FunctionProto,
        scope: &mut Scope<'a>,
        env: &Env<'a>,
        depth: usize,
        out: &mut Vec<Node>,
    ) -> Result<()> {
        let origin = self.origin(call, scope);
        let mut frame = HashMap::new();
        for (formal, actual) in function.input.iter().zip(resolve(&call.input, scope).map_err(|e| e.at(&origin))?) {
            if let Some(id) = actual {
                frame.insert(formal.as_str(), id);
            }
        }
        let mut inner = Scope { frames: vec![frame], prefix: format!("{}/", origin.node) };
        let attributes = call_attributes(call, function, env);
        let imports =
            if function.opset_import.is_empty() { env.opsets.clone() } else { opsets(&function.opset_import)? };
        let inner_env = Env { opsets: imports, attributes };
        for n in order::sort(&function.node).map_err(|e| e.at(&origin))? {
            self.node(&function.node[n], &mut inner, &inner_env, depth + 1, out)?;
        }
        for (formal, actual) in function.output.iter().zip(&call.output).filter(|(_, actual)| !actual.is_empty()) {
            let id = inner.find(formal).ok_or_else(|| unknown(formal, "a function output").at(&origin))?;
            self.alias(actual, id, scope, &origin, out)?;
        }
        Ok(())
    }

    /// Binds a call's output name by an `Identity`, which inference drops again.
    fn alias(
        &mut self,
        name: &'a str,
        id: TensorId,
        scope: &mut Scope<'a>,
        origin: &Origin,
        out: &mut Vec<Node>,
    ) -> Result<()> {
        let output = self.define(name, scope).map_err(|e| e.at(origin))?;
        out.push(Node {
            name: unique(&mut self.node_names, &format!("{}/{name}", origin.node)),
            op: "Identity".to_string(),
            domain: String::new(),
            version: 23,
            inputs: vec![Some(id)],
            outputs: vec![Some(output)],
            attributes: IndexMap::new(),
        });
        Ok(())
    }
}

/// An attribute under the name that the operator knows.
struct Given<'a> {
    name: &'a str,
    value: &'a AttributeProto,
}

/// A node's attributes, references to the enclosing function's attributes resolved. A reference to an
/// attribute that the call does not give means that the operator's own default holds.
fn given_attributes<'a>(proto: &'a NodeProto, env: &Env<'a>) -> Vec<Given<'a>> {
    let resolve = |a: &'a AttributeProto| match a.ref_attr_name.as_str() {
        "" => Some(Given { name: &a.name, value: a }),
        reference => env.attributes.get(reference).map(|value| Given { name: &a.name, value }),
    };
    proto.attribute.iter().filter_map(resolve).collect()
}

fn call_attributes<'a>(
    call: &'a NodeProto,
    function: &'a FunctionProto,
    env: &Env<'a>,
) -> HashMap<&'a str, &'a AttributeProto> {
    let defaults = function.attribute_proto.iter().map(|a| (a.name.as_str(), a));
    let given = given_attributes(call, env).into_iter().map(|g| (g.name, g.value));
    defaults.chain(given).collect()
}

fn resolve(names: &[String], scope: &Scope) -> Result<Vec<Option<TensorId>>> {
    let find = |name: &String| match name.as_str() {
        "" => Ok(None),
        name => scope.find(name).map(Some).ok_or_else(|| unknown(name, "an input")),
    };
    names.iter().map(find).collect()
}

fn unknown(name: &str, role: &str) -> Error {
    Error::invalid("E104", format!("\"{name}\" is used as {role}, but nothing defines it"))
}

/// The names that the main graph defines. They stay as they are, for people and for the files of test data.
fn main_names(graph: &GraphProto) -> impl Iterator<Item = &str> {
    let inputs = graph.input.iter().map(|i| i.name.as_str());
    let weights = graph.initializer.iter().map(|w| w.name.as_str());
    let outputs = graph.node.iter().flat_map(|n| n.output.iter().map(String::as_str));
    inputs.chain(weights).chain(outputs)
}

/// Names in use, and how often each was asked for: a million equal names must not take a million squared steps.
type Names = HashMap<String, usize>;

/// `name`, or `name_2` and so on where it is taken.
fn unique(taken: &mut Names, name: &str) -> String {
    let mut count = taken.get(name).copied().unwrap_or(0) + 1;
    let mut candidate = if count == 1 { name.to_string() } else { format!("{name}_{count}") };
    while count > 1 && taken.contains_key(&candidate) {
        count += 1;
        candidate = format!("{name}_{count}");
    }
    taken.insert(candidate.clone(), 1);
    taken.insert(name.to_string(), count);
    candidate
}
