/* The run time of every Sirius artifact: open, check, bind, run. Compiled once with the compiler and linked into
 * each model, whose thunks (`sirius_<tag>_run` and so on) add the model's descriptor. One translation unit, so that
 * nothing but the entry points has a symbol, and those are hidden: two models in one process never mix. */

#include "descriptor.h"

#include "system.c"
#include "text.c"
#include "weights.c"
#include "sizes.c"
#include "team.c"

struct sirius_model {
  const sirius_descriptor *descriptor;
  const uint8_t *weights;
};

/* `planned_for` is what `planned`, `dims` and `slots` were computed from: equal shapes skip the planning. */
struct sirius_context {
  const sirius_model *model;
  size_t bytes; /* of this allocation */
  int64_t *planned_for, *planned, *params, *dims, *slots;
  void **arrays;
  int is_planned;
  uint8_t *workspace;
  size_t workspace_bytes;
  int owns_workspace;
  team *team; /* NULL: one worker */
  char message[MESSAGE_BYTES];
};

#include "check.c"

#define ENTRY __attribute__((visibility("hidden")))

static int complain(sirius_context *context, int status, const char *pattern, ...) {
  va_list args;
  va_start(args, pattern);
  format(context->message, sizeof context->message, pattern, args);
  va_end(args);
  return status;
}

ENTRY int sirius_rt_check_host(const sirius_descriptor *d, const char **why) {
  const char *missing = missing_feature(d);
  if (why) *why = missing;
  return missing ? SIRIUS_UNSUITED_HOST : SIRIUS_OK;
}

ENTRY int sirius_rt_open(const sirius_descriptor *d, const char *weights_path, sirius_model **out) {
  if (!out) return SIRIUS_INVALID_ARGUMENT;
  *out = NULL;
  if (missing_feature(d)) return SIRIUS_UNSUITED_HOST;
  const uint8_t *weights = d->weights;
  int status = weights || !d->weights_bytes ? SIRIUS_OK : weights_map(d, weights_path, &weights);
  if (status) return status;
  sirius_model *model = pages_alloc(sizeof *model);
  if (!model) {
    if (weights != d->weights) pages_free((void *)weights, d->weights_bytes);
    return SIRIUS_OUT_OF_MEMORY;
  }
  *model = (sirius_model){d, weights};
  *out = model;
  return SIRIUS_OK;
}

ENTRY void sirius_rt_close(sirius_model *model) {
  if (!model) return;
  if (model->weights != model->descriptor->weights)
    pages_free((void *)model->weights, model->descriptor->weights_bytes);
  pages_free(model, sizeof *model);
}

/* Does the caller give the value, in an input's shape or contents? */
static int is_given(const param_info *p) { return p->kind == PARAM_INPUT || p->kind == PARAM_CONTENT; }

/* Parameters before the size program: the given dimensions, and the largest value of what only the run will tell. */
static void params_reset(const sirius_descriptor *d, const int64_t *inputs, int64_t *params) {
  for (int64_t i = 0, next = 0; i < d->n_params; i++) {
    const param_info *p = &d->params[i];
    params[i] = is_given(p) ? inputs[next++] : p->kind == PARAM_VALUE ? p->max : 0;
  }
}

static int64_t count_inputs_params(const sirius_descriptor *d) {
  int64_t count = 0;
  for (int64_t i = 0; i < d->n_params; i++) count += is_given(&d->params[i]);
  return count;
}

/* Plans for the named dimensions in `context->planned_for`; the workspace's size, or -1. */
static int64_t plan(sirius_context *c) {
  const sirius_descriptor *d = c->model->descriptor;
  size_tables tables = {c->planned, c->dims, c->slots, 1};
  c->is_planned = 0;
  params_reset(d, c->planned_for, c->planned);
  int is_defined = size_run(d, &tables);
  for (int64_t i = 0; i < d->n_params; i++)
    if (d->params[i].kind == PARAM_REQUIRED && c->planned[i]) {
      complain(c, SIRIUS_INVALID_ARGUMENT, "the inputs' sizes do not fit together: %s is %d, wanted 0", d->params[i].name,
               c->planned[i]);
      return -1;
    }
  if (!is_defined) return -1;
  int64_t bytes = slots_place(d, c->slots);
  c->is_planned = bytes >= 0;
  return bytes;
}

/* Fixed entries of the array table: constants, and slots in the present workspace. */
static void place_arrays(sirius_context *c) {
  const sirius_descriptor *d = c->model->descriptor;
  for (int64_t i = 0; i < d->n_arrays; i++) {
    const array_info *a = &d->arrays[i];
    if (a->kind == ARRAY_CONSTANT) c->arrays[i] = (void *)(c->model->weights + a->value);
    if (a->kind == ARRAY_SLOT) c->arrays[i] = c->workspace + c->slots[a->value];
  }
}

static int grow_workspace(sirius_context *c, int64_t bytes) {
  if ((uint64_t)bytes <= c->workspace_bytes) return SIRIUS_OK;
  if (!c->owns_workspace)
    return complain(c, SIRIUS_INVALID_ARGUMENT, "option \"workspace\": wanted %d bytes for these dimensions, got %d",
                    bytes, (int64_t)c->workspace_bytes);
  pages_free(c->workspace, c->workspace_bytes);
  c->workspace_bytes = 0;
  c->workspace = pages_alloc((size_t)bytes);
  if (!c->workspace) return complain(c, SIRIUS_OUT_OF_MEMORY, "workspace: %d bytes are not to be had", bytes);
  c->workspace_bytes = (size_t)bytes;
  return SIRIUS_OK;
}

static int prepare(sirius_context *c) {
  int64_t bytes = plan(c);
  if (bytes < 0 && c->message[0]) return SIRIUS_INVALID_ARGUMENT;
  if (bytes < 0) return complain(c, SIRIUS_INVALID_ARGUMENT, "workspace: a size for these dimensions is negative or leaves 46 bits");
  int status = grow_workspace(c, bytes);
  if (status)
    c->is_planned = 0;
  else
    place_arrays(c);
  return status;
}

/* The tables behind the struct, in one allocation. */
static sirius_context *context_alloc(const sirius_model *model) {
  const sirius_descriptor *d = model->descriptor;
  size_t words = (size_t)(3 * d->n_params + d->n_dims + d->n_slots + d->n_arrays);
  size_t bytes = sizeof(sirius_context) + 8 * words;
  sirius_context *c = pages_alloc(bytes);
  if (!c) return NULL;
  c->model = model;
  c->bytes = bytes;
  c->owns_workspace = 1;
  c->planned_for = (int64_t *)(c + 1);
  c->planned = c->planned_for + d->n_params;
  c->params = c->planned + d->n_params;
  c->dims = c->params + d->n_params;
  c->slots = c->dims + d->n_dims;
  c->arrays = (void **)(c->slots + d->n_slots);
  return c;
}

ENTRY size_t sirius_rt_workspace_bytes(const sirius_model *model, const int64_t *dims, size_t n_dims) {
  if (!model || (int64_t)n_dims != count_inputs_params(model->descriptor)) return SIZE_MAX;
  sirius_context *c = context_alloc(model);
  if (!c) return SIZE_MAX;
  memcpy(c->planned_for, dims, 8 * n_dims);
  int64_t bytes = plan(c);
  pages_free(c, c->bytes);
  return bytes < 0 ? SIZE_MAX : (size_t)bytes;
}

ENTRY void sirius_rt_context_destroy(sirius_context *c) {
  if (!c) return;
  team_stop(c->team);
  if (c->owns_workspace) pages_free(c->workspace, c->workspace_bytes);
  pages_free(c, c->bytes);
}

/* The options of a caller that may have been compiled before the last fields existed. */
static int read_options(const sirius_options *from, sirius_options *options) {
  if (!from) return SIRIUS_OK;
  if (from->size < offsetof(sirius_options, parallel)) return SIRIUS_INVALID_ARGUMENT;
  memcpy(options, from, from->size < sizeof *options ? from->size : sizeof *options);
  return (uintptr_t)options->workspace % SLOT_ALIGNMENT ? SIRIUS_INVALID_ARGUMENT : SIRIUS_OK;
}

static int start_team(sirius_context *c, const sirius_options *options) {
  int64_t count = team_size(c->model->descriptor->team, options->threads);
  if (count == 1) return SIRIUS_OK;
  c->team = team_start(count, options->parallel ? options : NULL);
  return c->team ? SIRIUS_OK : SIRIUS_NO_THREADS;
}

/* Takes over the options; a context whose dimensions are known allocates its workspace at once. */
static int apply_options(sirius_context *c, const sirius_options *options) {
  int64_t named = count_inputs_params(c->model->descriptor);
  const int64_t *dims = options->dims;
  size_t n_dims = dims ? options->n_dims : 0;
  if (options->workspace) {
    c->owns_workspace = 0;
    c->workspace = options->workspace;
    c->workspace_bytes = options->workspace_bytes;
  }
  if (dims && (int64_t)n_dims != named) return SIRIUS_INVALID_ARGUMENT;
  if (!dims && named) return SIRIUS_OK;
  memcpy(c->planned_for, dims, 8 * n_dims);
  return prepare(c);
}

ENTRY int sirius_rt_context_create(const sirius_model *model, const sirius_options *options, sirius_context **out) {
  if (!out) return SIRIUS_INVALID_ARGUMENT;
  *out = NULL;
  if (!model) return SIRIUS_INVALID_ARGUMENT;
  sirius_options own = {0};
  int status = read_options(options, &own);
  if (status) return status;
  sirius_context *c = context_alloc(model);
  if (!c) return SIRIUS_OUT_OF_MEMORY;
  status = apply_options(c, &own);
  if (!status) status = start_team(c, &own);
  if (status)
    sirius_rt_context_destroy(c);
  else
    *out = c;
  return status;
}

ENTRY const char *sirius_rt_last_error(const sirius_context *c) { return c ? c->message : "context is NULL"; }

static int64_t read_integer(const void *at, int64_t bytes) {
  int64_t value = 0;
  memcpy(&value, at, (size_t)bytes);
  int unused = (int)(64 - 8 * bytes);
  return (int64_t)((uint64_t)value << unused) >> unused;
}

/* An element of an input whose device and type are right; its shape has not been compared yet. */
static int read_content(sirius_context *c, const DLTensor *in, const param_info *p, int64_t *value) {
  const DLTensor *t = &in[p->source];
  const tensor_info *info = &c->model->descriptor->inputs[p->source];
  checked one = {c, "input", info, t};
  int status = check_strides(&one);
  if (!status) status = check_memory(&one);
  if (status) return status;
  if (element_count(t) <= p->part)
    return complain(c, SIRIUS_INVALID_ARGUMENT, "input \"%s\": wanted at least %d elements, got %d", info->name,
                    p->part + 1, element_count(t));
  int64_t bytes = info->bits / 8;
  *value = read_integer(tensor_start(t) + p->part * bytes, bytes);
  if (info->code == kDLUInt && bytes < 8) *value &= ((int64_t)1 << info->bits) - 1;
  return SIRIUS_OK;
}

/* Reads the named dimensions off the inputs' shapes and contents; tells whether they differ from the last run's. */
static int bind_params(sirius_context *c, const DLTensor *in, int *changed) {
  const sirius_descriptor *d = c->model->descriptor;
  for (int64_t i = 0, next = 0; i < d->n_params; i++) {
    const param_info *p = &d->params[i];
    if (!is_given(p)) continue;
    int64_t value = 0;
    int status = SIRIUS_OK;
    if (p->kind == PARAM_INPUT)
      value = in[p->source].shape[p->part];
    else
      status = read_content(c, in, p, &value);
    if (status) return status;
    if (value < p->min || value > p->max)
      return complain(c, SIRIUS_INVALID_ARGUMENT, "input \"%s\": %s %d (%s): wanted %d to %d, got %d",
                      d->inputs[p->source].name, p->kind == PARAM_INPUT ? "dimension" : "element", p->part, p->name,
                      p->min, p->max, value);
    *changed |= c->planned_for[next] != value;
    c->planned_for[next++] = value;
  }
  return SIRIUS_OK;
}

static int check_kinds(sirius_context *c, const char *role, const tensor_info *infos, const DLTensor *tensors,
                       int64_t wanted, size_t got) {
  if ((int64_t)got != wanted || (wanted && !tensors))
    return complain(c, SIRIUS_INVALID_ARGUMENT, "%ss: wanted %d tensors, got %d", role, wanted,
                    tensors ? (int64_t)got : 0);
  for (int64_t i = 0; i < wanted; i++) {
    checked one = {c, role, &infos[i], &tensors[i]};
    int status = check_kind(&one);
    if (status) return status;
  }
  return SIRIUS_OK;
}

static int check_layouts(sirius_context *c, const char *role, const tensor_info *infos, const DLTensor *tensors,
                         int64_t count) {
  for (int64_t i = 0; i < count; i++) {
    checked one = {c, role, &infos[i], &tensors[i]};
    int status = check_shape(&one, c->model->descriptor->dims, c->dims);
    if (!status) status = check_strides(&one);
    if (!status) status = check_memory(&one);
    if (!status) status = check_contents(&one);
    if (status) return status;
  }
  return SIRIUS_OK;
}

/* An output may share memory with nothing: the code writes and reads in an order of its own. */
static int check_aliases(sirius_context *c, const DLTensor *in, const DLTensor *out) {
  const sirius_descriptor *d = c->model->descriptor;
  for (int64_t o = 0; o < d->n_outputs; o++) {
    for (int64_t i = 0; i < d->n_inputs; i++)
      if (overlap(&out[o], &in[i]))
        return complain(c, SIRIUS_INVALID_ARGUMENT, "output \"%s\": wanted memory of its own, got memory of input \"%s\"",
                        d->outputs[o].name, d->inputs[i].name);
    for (int64_t p = 0; p < o; p++)
      if (overlap(&out[o], &out[p]))
        return complain(c, SIRIUS_INVALID_ARGUMENT,
                        "output \"%s\": wanted memory of its own, got memory of output \"%s\"", d->outputs[o].name,
                        d->outputs[p].name);
  }
  return SIRIUS_OK;
}

static int check_all(sirius_context *c, const DLTensor *in, size_t n_in, const DLTensor *out, size_t n_out) {
  const sirius_descriptor *d = c->model->descriptor;
  int changed = !c->is_planned;
  int status = check_kinds(c, "input", d->inputs, in, d->n_inputs, n_in);
  if (!status) status = check_kinds(c, "output", d->outputs, out, d->n_outputs, n_out);
  if (!status) status = bind_params(c, in, &changed);
  if (changed) c->is_planned = 0;
  if (!status && changed) status = prepare(c);
  if (!status) status = check_layouts(c, "input", d->inputs, in, d->n_inputs);
  if (!status) status = check_layouts(c, "output", d->outputs, out, d->n_outputs);
  return status ? status : check_aliases(c, in, out);
}

/* The extents of all outputs, one after another, for these inputs: what to allocate before a run. */
ENTRY int sirius_rt_output_shapes(sirius_context *c, const DLTensor *in, size_t n_in, int64_t *extents,
                                  size_t n_extents) {
  if (!c) return SIRIUS_INVALID_ARGUMENT;
  const sirius_descriptor *d = c->model->descriptor;
  c->message[0] = 0;
  int status = check_kinds(c, "input", d->inputs, in, d->n_inputs, n_in);
  int changed = 1;
  if (!status) status = bind_params(c, in, &changed);
  if (!status) status = prepare(c);
  if (!status) status = check_layouts(c, "input", d->inputs, in, d->n_inputs);
  if (status) return status;
  int64_t first = d->n_dims;
  for (int64_t o = 0; o < d->n_outputs; o++)
    if (d->outputs[o].first_dim < first) first = d->outputs[o].first_dim;
  if ((int64_t)n_extents != d->n_dims - first)
    return complain(c, SIRIUS_INVALID_ARGUMENT, "extents: wanted %d numbers, got %d", d->n_dims - first,
                    (int64_t)n_extents);
  memcpy(extents, c->dims + first, 8 * n_extents);
  return SIRIUS_OK;
}

static void bind_arrays(sirius_context *c, const DLTensor *in, const DLTensor *out) {
  const sirius_descriptor *d = c->model->descriptor;
  for (int64_t i = 0; i < d->n_arrays; i++) {
    const array_info *a = &d->arrays[i];
    if (a->kind == ARRAY_INPUT) c->arrays[i] = tensor_start(&in[a->value]);
    if (a->kind == ARRAY_OUTPUT) c->arrays[i] = tensor_start(&out[a->value]);
  }
}

/* The extents that only the run could tell, from the arrays that it left behind. */
static int report_extents(sirius_context *c, DLTensor *out) {
  const sirius_descriptor *d = c->model->descriptor;
  size_tables tables = {c->params, c->dims, c->slots, 0};
  for (int64_t i = 0; i < d->n_params; i++)
    if (d->params[i].kind == PARAM_VALUE) {
      c->params[i] = read_integer(c->arrays[d->params[i].source], d->params[i].part);
      /* A loop that was cut off leaves -1 - max. */
      if (c->params[i] > d->params[i].max || c->params[i] == -1 - d->params[i].max)
        return complain(c, SIRIUS_MODEL_ERROR,
                        "the model computed an amount (%s) above %d, for which it has room; compiling with --room N "
                        "makes more where nothing else bounds it",
                        d->params[i].name, d->params[i].max);
      if (c->params[i] < d->params[i].min)
        return complain(c, SIRIUS_MODEL_ERROR, "the model computed an amount (%s) of %d, wanted %d at least",
                        d->params[i].name, c->params[i], d->params[i].min);
    }
  c->is_planned = 0; /* the tables now hold this run's sizes, not the plan's */
  if (!size_run(d, &tables)) return complain(c, SIRIUS_MODEL_ERROR, "an output's size is negative");
  for (int64_t o = 0; o < d->n_outputs; o++)
    for (int64_t i = 0; i < d->outputs[o].rank; i++) out[o].shape[i] = c->dims[d->outputs[o].first_dim + i];
  return SIRIUS_OK;
}

/* What a mark says: 1, an index; 2, the sizes do not fit the branch; 3, a loop's counter is
 * out of range; `1 << 62 | a << 31 | b`, two extents differ. */
static int complain_mark(sirius_context *c, const char *where, int64_t mark) {
  const int64_t extent = ((int64_t)1 << 31) - 1;
  if (mark == 1)
    return complain(c, SIRIUS_MODEL_ERROR, "%s: an index lies outside the dimension that it goes into", where);
  if (mark == 2)
    return complain(c, SIRIUS_MODEL_ERROR, "%s: the branch that it takes has no meaning for inputs of these sizes", where);
  if (mark == 3)
    return complain(c, SIRIUS_MODEL_ERROR,
                    "%s: a counter of its steps leaves the range for which there is room; compiling with --room N makes "
                    "more",
                    where);
  return complain(c, SIRIUS_MODEL_ERROR, "%s: extents %d and %d must be equal", where, mark >> 31 & extent, mark & extent);
}

/* Marks that the run left where it met data that the model has no answer for. */
static int check_marks(sirius_context *c) {
  const sirius_descriptor *d = c->model->descriptor;
  for (int64_t i = 0; i < d->n_params; i++) {
    const param_info *p = &d->params[i];
    const int64_t mark = p->kind == PARAM_MISTAKE ? read_integer(c->arrays[p->source], p->part) : 0;
    if (mark) return complain_mark(c, p->name, mark);
  }
  return SIRIUS_OK;
}

/* The code on the context's team; alone where there is none, as in the child of a fork. */
static int32_t run_body(sirius_context *c) {
  const sirius_descriptor *d = c->model->descriptor;
  team *t = c->team;
  if (!t || t->process != system_call(SYS_GETPID, 0, 0, 0, 0, 0, 0)) {
    sirius_worker alone = {0, 1, wait_alone};
    return d->body(c->arrays, c->params, &alone);
  }
  t->body = d->body;
  t->arrays = c->arrays;
  t->params = c->params;
  return team_run(t);
}

ENTRY int sirius_rt_run(sirius_context *c, const DLTensor *in, size_t n_in, DLTensor *out, size_t n_out) {
  if (!c) return SIRIUS_INVALID_ARGUMENT;
  const sirius_descriptor *d = c->model->descriptor;
  c->message[0] = 0;
  int status = check_all(c, in, n_in, out, n_out);
  if (status) return status;
  bind_arrays(c, in, out);
  memcpy(c->params, c->planned, 8 * (size_t)d->n_params);
  int32_t result = run_body(c);
  if (result) return complain(c, SIRIUS_MODEL_ERROR, "the model stopped with code %d", (int64_t)result);
  status = check_marks(c);
  if (status) return status;
  for (int64_t i = 0; i < d->n_params; i++)
    if (d->params[i].kind == PARAM_VALUE) return report_extents(c, out);
  return SIRIUS_OK;
}

/* For the functions that have no context to keep a message in. */
ENTRY const char *sirius_rt_status_text(int status) {
  switch (status) {
    case SIRIUS_OK: return "ok";
    case SIRIUS_INVALID_ARGUMENT: return "invalid argument";
    case SIRIUS_OUT_OF_MEMORY: return "out of memory";
    case SIRIUS_UNSUITED_HOST: return "this processor lacks an instruction set that the model was compiled for";
    case SIRIUS_NO_WEIGHTS: return "the weights file cannot be read";
    case SIRIUS_WRONG_WEIGHTS: return "the weights file belongs to another build of the model";
    case SIRIUS_MODEL_ERROR: return "the model stopped on this data";
    case SIRIUS_NO_THREADS: return "the system gives no threads for the workers";
    default: return "unknown status";
  }
}
