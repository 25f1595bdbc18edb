/* Types of the Sirius artifact ABI, version 1. Shared by every model header; include as many as you like.
 *
 * A model is immutable and may be shared by threads; a context belongs to one thread at a time. Nothing is
 * thrown, printed or signalled: every function returns a status, and the context keeps the last message. */
#ifndef SIRIUS_ABI_H
#define SIRIUS_ABI_H

#include <stddef.h>
#include <stdint.h>

#define SIRIUS_ABI_VERSION 1

/* DLPack's tensor (https://dmlc.github.io/dlpack), layout-compatible with dlpack.h, which wins when included first. */
#ifndef DLPACK_DLPACK_H_
#define DLPACK_DLPACK_H_
typedef enum { kDLCPU = 1 } DLDeviceType;
typedef struct {
  int32_t device_type; /* kDLCPU */
  int32_t device_id;   /* 0 */
} DLDevice;
typedef enum { kDLInt = 0, kDLUInt = 1, kDLFloat = 2, kDLBfloat = 4, kDLBool = 6 } DLDataTypeCode;
typedef struct {
  uint8_t code;   /* DLDataTypeCode */
  uint8_t bits;   /* of one element */
  uint16_t lanes; /* 1 */
} DLDataType;
typedef struct {
  void *data;       /* may be NULL when the tensor has no elements */
  DLDevice device;
  int32_t ndim;
  DLDataType dtype;
  int64_t *shape;
  int64_t *strides; /* in elements; NULL means row-major and dense, the only layout accepted */
  uint64_t byte_offset;
} DLTensor;
#endif

typedef struct sirius_model sirius_model;
typedef struct sirius_context sirius_context;

/* Returned by every function of type int. */
enum {
  SIRIUS_OK = 0,
  SIRIUS_INVALID_ARGUMENT = 1, /* the message names the argument, what was wanted and what was given */
  SIRIUS_OUT_OF_MEMORY = 2,
  SIRIUS_UNSUITED_HOST = 3,    /* the processor lacks an instruction set: see check_host */
  SIRIUS_NO_WEIGHTS = 4,       /* the weights file cannot be read */
  SIRIUS_WRONG_WEIGHTS = 5,    /* the weights file belongs to another build of the model */
  SIRIUS_MODEL_ERROR = 6,      /* the model itself stopped on this data */
  SIRIUS_NO_THREADS = 7        /* the system gives no threads for the workers */
};

/* Set `size` to sizeof(sirius_options) and the rest to zero for defaults. */
typedef struct {
  size_t size;
  /* Values of the named dimensions, in the order of "dims" in the manifest: the workspace is then allocated at
   * once, and runs with the same (or smaller) needs allocate nothing. Otherwise the first run allocates, and
   * later runs only when they need more. */
  const int64_t *dims;
  size_t n_dims;
  /* Memory of the caller to work in, 64-byte aligned; such a context never allocates while running. */
  void *workspace;
  size_t workspace_bytes;
  /* Worker threads, the caller's among them; 0 means the number chosen at compile time. More are not used, and the
   * number used divides that one: results are the same bits for each. The context keeps its threads until it is
   * destroyed; they spin for some tens of microseconds after a run and then sleep. */
  uint32_t threads;
  /* To run on threads of the caller instead: calls task(argument, i) for every i below n, each on a thread of its
   * own and all at the same time (they wait for each other), and returns when all have returned. May be NULL. A
   * caller with a `size` that ends before these fields has none. */
  void (*parallel)(void *user, uint32_t n, void (*task)(void *argument, uint32_t index), void *argument);
  void *user;
} sirius_options;

#endif
