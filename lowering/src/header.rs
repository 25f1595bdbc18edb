//! The C header of one artifact: the shared ABI types and this model's own functions, with its tensors spelt out.

use crate::metadata::{Manifest, PortInfo, TensorInfo};
use std::fmt::Write;

const ABI_TYPES: &str = include_str!("../runtime/sirius_abi.h");

/// Functions and their comments; `@` stands for the model's prefix.
const FUNCTIONS: &str = r#"/* SIRIUS_ABI_VERSION of the library. */
int @_abi_version(void);

/* What NAME.json says, as a string that lives as long as the library. */
const char *@_manifest_json(void);

/* SIRIUS_OK when this processor can run the model; else *why names what it lacks. `why` may be NULL. */
int @_check_host(const char **why);

/* Opens the model. `weights_path` is NULL for the weights inside the library or in the file beside it. */
int @_open(const char *weights_path, sirius_model **model);
void @_close(sirius_model *model);

/* Bytes of workspace for these values of the named dimensions (order of "dims" in the manifest); SIZE_MAX when
 * their number is wrong or the size is absurd. */
size_t @_workspace_bytes(const sirius_model *model, const int64_t *dims, size_t n_dims);

/* A context holds the workspace of one inference and its worker threads. `options` may be NULL. */
int @_context_create(const sirius_model *model, const sirius_options *options, sirius_context **context);
void @_context_destroy(sirius_context *context);

/* The extents of all outputs, one after another (the ranks' sum in all), for these inputs; data is not looked at
 * beyond its address. For an extent known only after the run: the capacity it needs. */
int @_output_shapes(sirius_context *context, const DLTensor *in, size_t n_in, int64_t *extents, size_t n_extents);

/* One inference. Checks every argument, and allocates nothing when the workspace suffices (see sirius_options).
 * Outputs share memory with nothing else. An output whose extent is known only after the run takes its capacity
 * in `shape`, which is overwritten with the actual extents. */
int @_run(sirius_context *context, const DLTensor *in, size_t n_in, DLTensor *out, size_t n_out);

/* What the last call on this context that failed had to say: argument, wanted, got. */
const char *@_last_error(const sirius_context *context);

/* A sentence for a status. */
const char *@_status_text(int status);
"#;

/// The whole text of `NAME.h`.
pub fn header(manifest: &Manifest) -> String {
    let guard = format!("SIRIUS_MODEL_{}_H", manifest.tag.to_uppercase());
    let mut text = format!("/* {}, compiled by {}.\n *\n", manifest.name, manifest.tool);
    describe(&mut text, "in ", &manifest.inputs);
    describe(&mut text, "out", &manifest.outputs);
    describe_values(&mut text, "in ", &manifest.input_values);
    describe_values(&mut text, "out", &manifest.output_values);
    for dim in &manifest.dims {
        line(&mut text, &format!(" * dim {}: {}", dim.name, dim.bounds()));
    }
    for (what, formula) in [("", &manifest.workspace.formula), ("at most ", &manifest.workspace.polynomial)] {
        if let Some(formula) = formula {
            line(&mut text, &format!(" * workspace: {what}{formula} bytes"));
        }
    }
    line(&mut text, &format!(" * numeric contract {}: {}", manifest.numeric.name(), manifest.fp_policy));
    line(&mut text, &format!(" */\n#ifndef {guard}\n#define {guard}\n"));
    text.push_str(ABI_TYPES);
    text.push_str("\n#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n");
    text.push_str(&FUNCTIONS.replace('@', &format!("sirius_{}", manifest.tag)));
    text.push_str("\n#ifdef __cplusplus\n}\n#endif\n\n#endif\n");
    text
}

fn describe(text: &mut String, role: &str, tensors: &[TensorInfo]) {
    for (n, t) in tensors.iter().enumerate() {
        // A name is any text in ONNX; it must not end the comment.
        let name = t.name.replace("*/", "* /");
        line(text, &format!(" * {role}[{n}] {name}: {}[{}]", t.dtype, t.shape.join(", ")));
    }
}

/// Which tensors form a sequence or optional of the model.
fn describe_values(text: &mut String, role: &str, values: &[PortInfo]) {
    let mut first = 0;
    for value in values {
        let (name, next) = (value.name.replace("*/", "* /"), first + value.tensors);
        let tensors = match value.tensors {
            0 => "nothing".to_string(),
            1 => format!("{role}[{first}]"),
            _ => format!("{role}[{first}] to {role}[{}]", next - 1),
        };
        line(text, &format!(" * {name}, {}: {tensors}", value.form));
        first = next;
    }
}

fn line(text: &mut String, line: &str) {
    writeln!(text, "{line}").unwrap_or_default();
}
