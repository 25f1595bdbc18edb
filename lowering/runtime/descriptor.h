/* What the compiler tells the runtime about one model: constants in the shared object, written by
 * lowering/src/descriptor.rs in exactly this order. Private: it may change with every version. */
#ifndef SIRIUS_DESCRIPTOR_H
#define SIRIUS_DESCRIPTOR_H

#include "sirius_abi.h"

typedef struct {
  const char *name;
  int64_t code, bits; /* DLDataType */
  int64_t rank;
  int64_t first_dim; /* index of dimension 0 in the dimension table */
  const uint8_t *fixed; /* the only contents that an input may have; NULL: any */
} tensor_info;

enum { DIM_EXACT = 0, DIM_CAPACITY = 1 };

typedef struct {
  const char *text; /* "batch", "2*n + 1" */
  int64_t kind;     /* DIM_CAPACITY: known only after the run; the caller's extent is an upper limit */
} dim_info;

enum { PARAM_INPUT = 0, PARAM_DERIVED = 1, PARAM_VALUE = 2, PARAM_CONTENT = 3, PARAM_REQUIRED = 4, PARAM_MISTAKE = 5 };

typedef struct {
  const char *name;
  int64_t kind;
  /* PARAM_INPUT: input and axis whose extent is the value. PARAM_CONTENT: input and element. PARAM_VALUE: number of
   * the array whose first element is the value after a run, and the bytes of that element. PARAM_REQUIRED: derived,
   * and wanted to be 0. PARAM_MISTAKE: as PARAM_VALUE, wanted to be 0; the name says where, and the value what is wrong otherwise
   * (`complain_mark`). */
  int64_t source, part;
  int64_t min, max;
} param_info;

enum { ARRAY_NONE = 0, ARRAY_INPUT = 1, ARRAY_OUTPUT = 2, ARRAY_CONSTANT = 3, ARRAY_SLOT = 4 };

typedef struct {
  int64_t kind;
  int64_t value; /* input or output number, byte offset in the weights, or workspace slot */
} array_info;

/* One CPUID bit. */
typedef struct {
  const char *name;
  uint32_t leaf, subleaf, reg, bit; /* reg: 0 eax, 1 ebx, 2 ecx, 3 edx */
} feature_info;

/* Instructions of the size program: pairs (operation, argument) for a stack machine. */
enum {
  OP_PUSH = 0,
  OP_PARAM = 1,
  OP_ADD = 2,
  OP_MUL = 3,
  OP_FLOOR_DIV = 4,
  OP_MAX = 5,
  OP_MIN = 6,
  OP_SET_PARAM = 7, /* parameter `argument` = pop */
  OP_SET_DIM = 8,   /* dimension `argument` = pop */
  OP_GROW_SLOT = 9, /* slot `argument` = max(itself, pop) bytes */
  OP_PARAM_LOW = 10 /* the least value of a parameter that only the run tells, until it has told */
};

enum { STACK_DEPTH = 32 };

/* What the code knows about the thread that runs it: worker `number` of `count`. */
typedef struct sirius_worker {
  int64_t number, count;
  void (*wait)(struct sirius_worker *); /* until all workers have come here */
} sirius_worker;

typedef struct {
  const char *manifest;
  int64_t n_inputs, n_outputs, n_params, n_arrays, n_slots, n_dims, n_features, n_program;
  int64_t team; /* workers that the code was made for; any divisor will do */
  const tensor_info *inputs, *outputs;
  const param_info *params;
  const array_info *arrays;
  const dim_info *dims;
  const feature_info *features;
  const int64_t *program;
  uint64_t xcr0; /* register state that the operating system must save */
  const uint8_t *weights; /* NULL: in the file `weights_file` beside the shared object */
  const char *weights_file;
  uint64_t weights_bytes, weights_hash;
  int32_t (*body)(void **arrays, int64_t *params, sirius_worker *worker);
} sirius_descriptor;

#endif
