//! The model's descriptor and its exported functions, as an LLVM module in text.
//!
//! The descriptor is the table in `runtime/descriptor.h`: tensors, parameters, arrays, the size program, needed
//! processor features, and where the weights are. Each exported `sirius_<tag>_*` function hands it, or its own
//! arguments, to the hidden function of the C runtime that does the work.

use crate::features::Feature;
use crate::prepare::SizeProgram;
use sirius_polyhedral::{Aff, Array, DType, LoopNest, Nest, Param, ParamDef, Params, Role};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Where the constant arrays are at run time.
#[derive(Clone, Debug, PartialEq)]
pub enum WeightsPlace {
    /// In the shared object, as the global `@weights` of this module.
    Embedded,
    /// In this file beside it.
    Sidecar(String),
}

/// All that the descriptor says beyond the nest itself.
pub struct Facts<'a> {
    pub nest: &'a LoopNest,
    pub tag: &'a str,
    pub body: &'a str,
    /// Tensor names for people, as in the ONNX file.
    pub inputs: &'a [String],
    pub outputs: &'a [String],
    /// The only contents that these inputs may have.
    pub fixed: &'a BTreeMap<usize, Vec<u8>>,
    pub manifest: &'a str,
    pub slots: &'a [Option<usize>],
    /// Byte offset in the weights of every constant array that is used.
    pub constants: &'a [Option<u64>],
    pub program: &'a SizeProgram,
    pub features: &'a [&'static Feature],
    pub weights: &'a WeightsPlace,
    pub weights_bytes: u64,
    pub weights_hash: u64,
}

/// The module's text. With embedded weights `@weights` is declared only: the bytes are set on the parsed module.
pub fn descriptor_ir(facts: &Facts) -> String {
    let mut ir = Ir { text: String::new(), strings: 0 };
    ir.line("target triple = \"x86_64-unknown-linux-gnu\"");
    for (name, fields) in [
        ("tensor", "ptr, i64, i64, i64, i64, ptr"),
        ("dim", "ptr, i64"),
        ("param", "ptr, i64, i64, i64, i64, i64"),
        ("array", "i64, i64"),
        ("feature", "ptr, i32, i32, i32, i32"),
    ] {
        ir.line(&format!("%{name} = type {{ {fields} }}"));
    }
    let manifest = ir.string(facts.manifest);
    ir.tables(facts);
    ir.descriptor(facts, &manifest);
    ir.text.push_str(&thunks(facts.tag, &manifest));
    ir.text
}

/// Module text under construction.
struct Ir {
    text: String,
    strings: usize,
}

impl Ir {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// A zero-terminated string constant; the reference to it.
    fn string(&mut self, value: &str) -> String {
        self.bytes(&[value.as_bytes(), &[0]].concat())
    }

    /// A constant of these bytes; the reference to it. Never empty, so that it differs from NULL.
    fn bytes(&mut self, value: &[u8]) -> String {
        let name = format!("@s{}", self.strings);
        self.strings += 1;
        let value = if value.is_empty() { &[0] } else { value };
        let mut escaped = String::new();
        for &byte in value {
            match byte {
                b' '..=b'~' if byte != b'"' && byte != b'\\' => escaped.push(byte as char),
                _ => write!(escaped, "\\{byte:02X}").unwrap_or_default(),
            }
        }
        let length = value.len();
        self.line(&format!("{name} = private unnamed_addr constant [{length} x i8] c\"{escaped}\""));
        format!("ptr {name}")
    }

    /// A constant table; `rows` are its elements without the type.
    fn table(&mut self, name: &str, of: &str, rows: &[String]) {
        let body = rows.iter().map(|row| format!("{of} {row}")).collect::<Vec<_>>().join(", ");
        self.line(&format!("@{name} = private unnamed_addr constant [{} x {of}] [{body}], align 8", rows.len()));
    }

    fn tables(&mut self, facts: &Facts) {
        let nest = facts.nest;
        let mut first_dim = 0;
        for (table, ids, names) in [("inputs", &nest.inputs, facts.inputs), ("outputs", &nest.outputs, facts.outputs)] {
            let mut rows = Vec::new();
            for (n, (id, name)) in ids.iter().zip(names).enumerate() {
                let array = &nest.arrays[id.0 as usize];
                let (code, bits) = dlpack_type(array.dtype);
                let rank = array.extents.len();
                let name = self.string(name);
                let fixed = facts.fixed.get(&n).filter(|_| table == "inputs");
                let fixed = fixed.map_or("ptr null".to_string(), |bytes| self.bytes(bytes));
                rows.push(format!("{{ {name}, i64 {code}, i64 {bits}, i64 {rank}, i64 {first_dim}, {fixed} }}"));
                first_dim += rank;
            }
            self.table(table, "%tensor", &rows);
        }
        self.dims_table(facts);
        self.params_table(facts);
        let arrays = nest.arrays.iter().enumerate().map(|(i, a)| array_row(a, facts.slots[i], facts.constants[i]));
        self.table("arrays", "%array", &arrays.collect::<Vec<_>>());
        let words = facts.program.words.iter().map(i64::to_string).collect::<Vec<_>>();
        self.table("program", "i64", &words);
        self.features_table(facts.features);
    }

    fn dims_table(&mut self, facts: &Facts) {
        let nest = facts.nest;
        let mut rows = Vec::new();
        for id in nest.inputs.iter().chain(&nest.outputs) {
            for extent in &nest.arrays[id.0 as usize].extents {
                let text = self.string(&extent_text(extent, &nest.params));
                let capacity = is_known_after_run(extent, &nest.params) as i64;
                rows.push(format!("{{ {text}, i64 {capacity} }}"));
            }
        }
        self.table("dims", "%dim", &rows);
    }

    fn params_table(&mut self, facts: &Facts) {
        let mut rows = Vec::new();
        for (_, param) in facts.nest.params.iter() {
            let required = required(param, &facts.nest.params).or_else(|| mistake(param, facts.nest));
            let name = self.string(required.as_ref().unwrap_or(&param.name));
            let (kind, source, part) = match &param.def {
                ParamDef::Input { input, axis } => (0, *input, *axis),
                ParamDef::Content { input, at } => (3, *input, *at),
                ParamDef::Value { array } => {
                    let at = facts.nest.arrays.iter().position(|a| a.name == *array).unwrap_or_default();
                    (if required.is_some() { 5 } else { 2 }, at, facts.nest.arrays[at].dtype.size())
                }
                _ if required.is_some() => (4, 0, 0),
                _ => (1, 0, 0),
            };
            let max = param.max.unwrap_or(i64::MAX);
            rows.push(format!("{{ {name}, i64 {kind}, i64 {source}, i64 {part}, i64 {}, i64 {max} }}", param.min));
        }
        self.table("params", "%param", &rows);
    }

    fn features_table(&mut self, features: &[&'static Feature]) {
        let mut rows = Vec::new();
        for f in features {
            let name = self.string(f.name);
            let (leaf, sub, reg, bit) = (f.leaf as i32, f.subleaf, f.register as u32, f.bit);
            rows.push(format!("{{ {name}, i32 {leaf}, i32 {sub}, i32 {reg}, i32 {bit} }}"));
        }
        self.table("features", "%feature", &rows);
    }

    /// The descriptor, field by field as in `runtime/descriptor.h`.
    fn descriptor(&mut self, facts: &Facts, manifest: &str) {
        let nest = facts.nest;
        let (weights, file) = match facts.weights {
            WeightsPlace::Embedded if facts.weights_bytes > 0 => ("ptr @weights".to_string(), "ptr null".to_string()),
            WeightsPlace::Embedded => ("ptr null".to_string(), "ptr null".to_string()),
            WeightsPlace::Sidecar(name) => ("ptr null".to_string(), self.string(name)),
        };
        if weights != "ptr null" {
            self.line(&format!("@weights = external hidden constant [{} x i8], align 64", facts.weights_bytes));
        }
        self.line(&format!("declare hidden i32 @{}(ptr, ptr, ptr)", facts.body));
        let counts = [
            nest.inputs.len(),
            nest.outputs.len(),
            nest.params.len(),
            nest.arrays.len(),
            facts.program.slots,
            facts.program.dims,
            facts.features.len(),
            facts.program.words.len(),
            nest.team() as usize,
        ];
        let tables = ["inputs", "outputs", "params", "arrays", "dims", "features", "program"];
        let mut fields = vec![manifest.to_string()];
        fields.extend(counts.iter().map(|n| format!("i64 {n}")));
        fields.extend(tables.iter().map(|t| format!("ptr @{t}")));
        fields.push(format!("i64 {}", crate::features::saved_state(facts.features)));
        fields.extend([weights, file]);
        fields.push(format!("i64 {}", facts.weights_bytes));
        fields.push(format!("i64 {}", facts.weights_hash as i64));
        fields.push(format!("ptr @{}", facts.body));
        let types = fields.iter().map(|f| f.split(' ').next().unwrap_or_default()).collect::<Vec<_>>().join(", ");
        let values = fields.join(", ");
        self.line(&format!("@descriptor = private constant {{ {types} }} {{ {values} }}, align 8"));
    }
}

fn array_row(array: &Array, slot: Option<usize>, constant: Option<u64>) -> String {
    let (kind, value) = match (&array.role, slot, constant) {
        (Role::Input(n), ..) => (1, *n as u64),
        (Role::Output(n), ..) => (2, *n as u64),
        (Role::Constant(_), _, Some(offset)) => (3, offset),
        (Role::Temp, Some(slot), _) => (4, slot as u64),
        _ => (0, 0),
    };
    format!("{{ i64 {kind}, i64 {value} }}")
}

/// DLPack's type code and bits. Elements narrower than a byte have a byte each (DLPack calls that padded).
pub fn dlpack_type(dtype: DType) -> (u8, u8) {
    let bits = dtype.bits() as u8;
    let code = match dtype {
        DType::F8E4M3FN => 10,
        DType::F8E4M3FNUZ => 11,
        DType::F8E5M2 => 12,
        DType::F8E5M2FNUZ => 13,
        DType::F8E8M0 => 14,
        DType::F4E2M1 => 17,
        DType::Bool => 6,
        DType::BF16 => 4,
        t if t.is_float() => 2,
        t if t.is_signed() => 0,
        _ => 1,
    };
    (code, bits)
}

/// What must be 0, where the parameter says that and the caller's dimensions tell.
fn required(param: &Param, params: &Params) -> Option<String> {
    let ParamDef::Mul(difference, _) = &param.def else { return None };
    let known = !is_known_after_run(difference, params);
    if !known || param.min != 0 || param.max != Some(0) {
        return None;
    }
    /// A longer formula tells less than the names in it.
    const READABLE: usize = 80;
    let text = extent_text(difference, params);
    if text.len() <= READABLE {
        return Some(text);
    }
    let mut names = Vec::new();
    given_names(difference, params, &mut names);
    Some(format!("what follows from {}", names.join(", ")))
}

/// The named dimensions and amounts that an expression follows from.
fn given_names(aff: &Aff, params: &Params, names: &mut Vec<String>) {
    aff.visit_params(&mut |id| match &params.get(id).def {
        ParamDef::Mul(a, b) | ParamDef::FloorDiv(a, b) | ParamDef::Max(a, b) | ParamDef::Min(a, b) => {
            given_names(a, params, names);
            given_names(b, params, names);
        }
        _ if names.contains(&params.get(id).name) => {}
        _ => names.push(params.get(id).name.clone()),
    });
}

/// Where the data is wrong when an integer that the run computes, and that must be 0, is not: at the node that computes
/// it. The run time says what is wrong, by the integer.
fn mistake(param: &Param, nest: &LoopNest) -> Option<String> {
    let ParamDef::Value { array } = &param.def else { return None };
    let mut writer = None;
    let mut visit = |n: &Nest| {
        if let Nest::Compute { target, origin, .. } = n
            && nest.arrays[target.array.0 as usize].name == *array
        {
            writer.get_or_insert(origin.clone());
        }
    };
    nest.body.iter().for_each(|n| n.visit(&mut visit));
    let origin = writer.filter(|_| param.min == 0 && param.max == Some(0))?;
    Some(format!("node \"{}\" ({})", origin.node, origin.op))
}

/// Does the extent depend on an integer that the model computes itself?
pub fn is_known_after_run(extent: &Aff, params: &Params) -> bool {
    let mut found = false;
    extent.visit_params(&mut |id| {
        found |= match &params.get(id).def {
            ParamDef::Value { .. } => true,
            ParamDef::Input { .. } | ParamDef::Content { .. } => false,
            ParamDef::Mul(a, b) | ParamDef::FloorDiv(a, b) | ParamDef::Max(a, b) | ParamDef::Min(a, b) => {
                is_known_after_run(a, params) || is_known_after_run(b, params)
            }
        }
    });
    found
}

/// An extent for people: derived parameters spelt out, so that only named dimensions remain.
pub fn extent_text(extent: &Aff, params: &Params) -> String {
    let text = |aff: &Aff| extent_text(aff, params);
    let name = |id| match &params.get(id).def {
        ParamDef::Input { .. } | ParamDef::Content { .. } | ParamDef::Value { .. } => params.get(id).name.clone(),
        ParamDef::Mul(a, b) => format!("({})*({})", text(a), text(b)),
        ParamDef::FloorDiv(a, b) => format!("floor(({})/({}))", text(a), text(b)),
        ParamDef::Max(a, b) => format!("max({}, {})", text(a), text(b)),
        ParamDef::Min(a, b) => format!("min({}, {})", text(a), text(b)),
    };
    extent.display(&name, &|n| format!("i{n}"))
}

/// The exported functions. `@` marks where the descriptor is passed before the caller's own arguments.
const EXPORTS: [(&str, &str, &str, bool); 10] = [
    ("check_host", "i32", "ptr", true),
    ("open", "i32", "ptr, ptr", true),
    ("close", "void", "ptr", false),
    ("workspace_bytes", "i64", "ptr, ptr, i64", false),
    ("context_create", "i32", "ptr, ptr, ptr", false),
    ("context_destroy", "void", "ptr", false),
    ("output_shapes", "i32", "ptr, ptr, i64, ptr, i64", false),
    ("run", "i32", "ptr, ptr, i64, ptr, i64", false),
    ("last_error", "ptr", "ptr", false),
    ("status_text", "ptr", "i32", false),
];

fn thunks(tag: &str, manifest: &str) -> String {
    let mut text = String::new();
    let mut line = |s: String| {
        text.push_str(&s);
        text.push('\n');
    };
    for (name, result, types, with_descriptor) in EXPORTS {
        let typed: Vec<String> = types.split(", ").enumerate().map(|(i, t)| format!("{t} %a{i}")).collect();
        let arguments = typed.join(", ");
        let (passed, declared) = match with_descriptor {
            true => (format!("ptr @descriptor, {arguments}"), format!("ptr, {types}")),
            false => (arguments.clone(), types.to_string()),
        };
        line(format!("declare hidden {result} @sirius_rt_{name}({declared})"));
        line(format!("define {result} @sirius_{tag}_{name}({arguments}) nounwind {{"));
        match result {
            "void" => line(format!("  tail call void @sirius_rt_{name}({passed})\n  ret void\n}}")),
            _ => line(format!("  %r = tail call {result} @sirius_rt_{name}({passed})\n  ret {result} %r\n}}")),
        }
    }
    line(format!("define i32 @sirius_{tag}_abi_version() nounwind {{\n  ret i32 {}\n}}", crate::artifact::ABI_VERSION));
    line(format!("define ptr @sirius_{tag}_manifest_json() nounwind {{\n  ret {manifest}\n}}"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `min(.. min(a, b) .., b) - 1` must be 0.
    fn said(depth: usize) -> Option<String> {
        let mut params = Params::default();
        let mut given = |name: &str, at| {
            let def = ParamDef::Content { input: 0, at };
            Aff::param(params.push(Param { name: name.into(), def, min: 0, max: None, hint: 1 }))
        };
        let (a, b) = (given("a", 0), given("b", 1));
        let nested =
            (0..depth).fold(a, |inner, _| Aff::param(params.derived(ParamDef::Min(inner, b.clone() + 1.into()))));
        let def = ParamDef::Mul(nested - 1.into(), 1.into());
        required(&Param { name: "d".into(), def, min: 0, max: Some(0), hint: 0 }, &params)
    }

    #[test]
    fn a_rule_is_spelt_out_while_that_can_be_read() {
        assert_eq!(said(1).as_deref(), Some("min(a, b + 1) - 1"));
        assert_eq!(said(30).as_deref(), Some("what follows from a, b"));
    }
}
