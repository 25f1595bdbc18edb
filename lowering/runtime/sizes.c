/* The size program: derived parameters, dimensions and workspace slots from the named dimensions. Interpreted,
 * not compiled: it runs once per new set of dimensions. Results that leave 64 bits stay at the limit, and no such
 * size is granted. */

typedef struct {
  int64_t *params, *dims, *slots;
  int is_planning; /* parameters that only the run tells are intervals, and `params` holds their upper ends */
} size_tables;

static int64_t saturated_add(int64_t a, int64_t b) {
  int64_t sum;
  return __builtin_add_overflow(a, b, &sum) ? (a < 0 ? INT64_MIN : INT64_MAX) : sum;
}

static int64_t saturated_mul(int64_t a, int64_t b) {
  int64_t product;
  return __builtin_mul_overflow(a, b, &product) ? ((a < 0) != (b < 0) ? INT64_MIN : INT64_MAX) : product;
}

static int64_t floor_div(int64_t a, int64_t b) {
  int64_t q = a / b;
  return a % b < 0 ? q - 1 : q;
}

/* `a op b`; 0 when the result is not defined. */
static int size_binary(int64_t op, int64_t a, int64_t b, int64_t *out) {
  switch (op) {
    case OP_ADD: return *out = saturated_add(a, b), 1;
    case OP_MUL: return *out = saturated_mul(a, b), 1;
    case OP_MAX: return *out = a > b ? a : b, 1;
    case OP_MIN: return *out = a < b ? a : b, 1;
    default: return b > 0 ? (*out = floor_div(a, b), 1) : 0;
  }
}

/* 0 when a dimension is negative. */
static int size_store(size_tables *t, int64_t op, int64_t at, int64_t value) {
  if (op == OP_SET_PARAM) t->params[at] = value;
  if (op == OP_SET_DIM) t->dims[at] = value;
  if (op == OP_GROW_SLOT && value > t->slots[at]) t->slots[at] = value;
  return op != OP_SET_DIM || value >= 0;
}

/* Runs the program; 0 when a size is negative or not defined. */
static int size_run(const sirius_descriptor *d, size_tables *t) {
  int64_t stack[STACK_DEPTH];
  int top = 0;
  for (int64_t i = 0; i < d->n_slots; i++) t->slots[i] = 0;
  for (int64_t i = 0; i < d->n_program; i += 2) {
    int64_t op = d->program[i], argument = d->program[i + 1];
    if (op == OP_PUSH || op == OP_PARAM) {
      stack[top++] = op == OP_PUSH ? argument : t->params[argument];
    } else if (op == OP_PARAM_LOW) {
      stack[top++] = t->is_planning ? d->params[argument].min : t->params[argument];
    } else if (op >= OP_SET_PARAM) {
      if (!size_store(t, op, argument, stack[--top])) return 0;
    } else {
      top--;
      if (!size_binary(op, stack[top - 1], stack[top], &stack[top - 1])) return 0;
    }
  }
  return 1;
}

enum { SLOT_ALIGNMENT = 64 };

/* Turns slot sizes into offsets; the total, or -1 when it leaves 47 bits. */
static int64_t slots_place(const sirius_descriptor *d, int64_t *slots) {
  int64_t total = 0;
  for (int64_t i = 0; i < d->n_slots; i++) {
    int64_t bytes = slots[i];
    if (bytes > (int64_t)1 << 46 || total > (int64_t)1 << 46) return -1;
    slots[i] = total;
    total += (bytes + SLOT_ALIGNMENT - 1) & -(int64_t)SLOT_ALIGNMENT;
  }
  return total;
}
