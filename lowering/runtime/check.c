/* Checks of the host and of the caller's tensors. Every message names the argument, what was wanted, what was given. */

static void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t regs[4]) {
  __asm__ volatile("cpuid"
                   : "=a"(regs[0]), "=b"(regs[1]), "=c"(regs[2]), "=d"(regs[3])
                   : "a"(leaf), "c"(subleaf));
}

/* The highest leaf is checked first: an older processor answers an unknown leaf with arbitrary bits. */
static int has_feature(const feature_info *f) {
  uint32_t regs[4];
  cpuid(f->leaf & 0x80000000u, 0, regs);
  if (regs[0] < f->leaf) return 0;
  cpuid(f->leaf, f->subleaf, regs);
  return regs[f->reg] >> f->bit & 1;
}

/* Does the operating system save the vector registers of width `mask`? */
static int saves_state(uint64_t mask) {
  static const feature_info osxsave = {"osxsave", 1, 0, 2, 27};
  if (!mask) return 1;
  if (!has_feature(&osxsave)) return 0;
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return ((((uint64_t)high << 32) | low) & mask) == mask;
}

/* NULL when this machine can run the model, else what it lacks. */
static const char *missing_feature(const sirius_descriptor *d) {
  for (int64_t i = 0; i < d->n_features; i++)
    if (!has_feature(&d->features[i])) return d->features[i].name;
  return saves_state(d->xcr0) ? NULL : "vector registers saved by the operating system";
}

typedef struct {
  sirius_context *context;
  const char *role; /* "input" or "output" */
  const tensor_info *info;
  const DLTensor *tensor;
} checked;

static int complain(sirius_context *context, int status, const char *pattern, ...);

static const char *type_name(int64_t code) {
  static const char *const names[] = {
      "int",         "uint",          "float",       "handle",          "bfloat",      "complex",
      "bool",        "float8_e3m4",   "float8_e4m3", "float8_e4m3b11",  "float8_e4m3fn", "float8_e4m3fnuz",
      "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0", "float6_e2m3fn", "float6_e3m2fn", "float4_e2m1fn"};
  return code >= 0 && code < 18 ? names[code] : "type";
}

/* Device, type, rank, and pointers that must be there. */
static int check_kind(const checked *c) {
  const DLTensor *t = c->tensor;
  const tensor_info *w = c->info;
  if (t->device.device_type != kDLCPU)
    return complain(c->context, SIRIUS_INVALID_ARGUMENT, "%s \"%s\": wanted device 1 (CPU), got device %d", c->role,
                    w->name, (int64_t)t->device.device_type);
  /* numpy and older producers of DLPack give bool as an 8-bit unsigned integer. */
  int bool_as_byte = w->code == kDLBool && t->dtype.code == kDLUInt;
  if ((t->dtype.code != w->code && !bool_as_byte) || t->dtype.bits != w->bits || t->dtype.lanes != 1)
    return complain(c->context, SIRIUS_INVALID_ARGUMENT, "%s \"%s\": wanted element type %s%d, got %s%d (lanes %d)",
                    c->role, w->name, type_name(w->code), w->bits, type_name(t->dtype.code), (int64_t)t->dtype.bits,
                    (int64_t)t->dtype.lanes);
  if (t->ndim != w->rank)
    return complain(c->context, SIRIUS_INVALID_ARGUMENT, "%s \"%s\": wanted %d dimensions, got %d", c->role, w->name,
                    w->rank, (int64_t)t->ndim);
  if (t->ndim && !t->shape)
    return complain(c->context, SIRIUS_INVALID_ARGUMENT, "%s \"%s\": shape is NULL", c->role, w->name);
  return SIRIUS_OK;
}

/* Each extent against the dimension table; an output of unknown size may be larger than needed. */
static int check_shape(const checked *c, const dim_info *dims, const int64_t *wanted) {
  for (int64_t i = 0; i < c->info->rank; i++) {
    const dim_info *dim = &dims[c->info->first_dim + i];
    int64_t want = wanted[c->info->first_dim + i], got = c->tensor->shape[i];
    if (dim->kind == DIM_CAPACITY ? got >= want : got == want) continue;
    return complain(c->context, SIRIUS_INVALID_ARGUMENT, "%s \"%s\": dimension %d: wanted %s%d (%s), got %d", c->role,
                    c->info->name, i, dim->kind == DIM_CAPACITY ? "at least " : "", want, dim->text, got);
  }
  return SIRIUS_OK;
}

static int64_t element_count(const DLTensor *t) {
  int64_t count = 1;
  for (int32_t i = 0; i < t->ndim; i++)
    if (t->shape[i] < 0 || __builtin_mul_overflow(count, t->shape[i], &count)) return -1;
  return count;
}

/* Dense row-major strides; the stride of a dimension of extent 1 says nothing. */
static int check_strides(const checked *c) {
  const DLTensor *t = c->tensor;
  int64_t dense = 1;
  for (int32_t i = t->ndim - 1; t->strides && element_count(t) && i >= 0; i--) {
    if (t->shape[i] != 1 && t->strides[i] != dense)
      return complain(c->context, SIRIUS_INVALID_ARGUMENT,
                      "%s \"%s\": dimension %d: wanted stride %d (row-major, dense), got %d", c->role, c->info->name,
                      (int64_t)i, dense, t->strides[i]);
    dense *= t->shape[i];
  }
  return SIRIUS_OK;
}

static uint8_t *tensor_start(const DLTensor *t) { return (uint8_t *)t->data + t->byte_offset; }

/* An element narrower than a byte has a byte of its own. */
static size_t element_bytes(const DLTensor *t) { return (t->dtype.bits + 7u) / 8u; }

static size_t tensor_bytes(const DLTensor *t) { return (size_t)element_count(t) * element_bytes(t); }

static int check_memory(const checked *c) {
  const DLTensor *t = c->tensor;
  int64_t count = element_count(t), bytes;
  if (count < 0 || __builtin_mul_overflow(count, (int64_t)element_bytes(t), &bytes))
    return complain(c->context, SIRIUS_INVALID_ARGUMENT, "%s \"%s\": its size leaves 64 bits", c->role, c->info->name);
  if (count && !t->data)
    return complain(c->context, SIRIUS_INVALID_ARGUMENT, "%s \"%s\": wanted %d bytes, data is NULL", c->role,
                    c->info->name, bytes);
  if ((uintptr_t)tensor_start(t) % element_bytes(t))
    return complain(c->context, SIRIUS_INVALID_ARGUMENT, "%s \"%s\": wanted data aligned to %d bytes", c->role,
                    c->info->name, (int64_t)element_bytes(t));
  return SIRIUS_OK;
}

static int check_contents(const checked *c) {
  if (!c->info->fixed || !memcmp(tensor_start(c->tensor), c->info->fixed, tensor_bytes(c->tensor))) return SIRIUS_OK;
  return complain(c->context, SIRIUS_INVALID_ARGUMENT,
                  "%s \"%s\": wanted the contents that the model was compiled for (--value), got others", c->role,
                  c->info->name);
}

static int overlap(const DLTensor *a, const DLTensor *b) {
  uint8_t *x = tensor_start(a), *y = tensor_start(b);
  return x < y + tensor_bytes(b) && y < x + tensor_bytes(a);
}
