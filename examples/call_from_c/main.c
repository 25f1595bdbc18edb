/* Calls a compiled model from C: open, context, run, close. Build and run with `make examples`.
 *
 * The model is models/tiny/dense.onnx, relu(x @ w + b); batch is symbolic, so one library serves any batch. */
#include "dense.h"

#include <stdio.h>

enum { BATCH = 2 };

static int fail(const char *what, const char *why) {
  fprintf(stderr, "%s: %s\n", what, why);
  return 1;
}

int main(void) {
  const char *why;
  if (sirius_dense_check_host(&why)) return fail("this processor lacks", why);

  sirius_model *model;
  int status = sirius_dense_open(NULL, &model);
  if (status) return fail("open", sirius_dense_status_text(status));

  /* Naming the dimensions allocates the workspace here; runs then allocate nothing. */
  int64_t dims[] = {BATCH};
  sirius_options options = {.size = sizeof options, .dims = dims, .n_dims = 1};
  sirius_context *context;
  status = sirius_dense_context_create(model, &options, &context);
  if (status) return fail("context", sirius_dense_status_text(status));

  float x[BATCH][4] = {{1, 2, 3, 4}, {-1, 0, 0, -20}}, y[BATCH][3];
  int64_t x_shape[] = {BATCH, 4}, y_shape[] = {BATCH, 3};
  DLDataType f32 = {kDLFloat, 32, 1};
  DLTensor in = {.data = x, .device = {kDLCPU, 0}, .ndim = 2, .dtype = f32, .shape = x_shape};
  DLTensor out = {.data = y, .device = {kDLCPU, 0}, .ndim = 2, .dtype = f32, .shape = y_shape};
  if (sirius_dense_run(context, &in, 1, &out, 1)) return fail("run", sirius_dense_last_error(context));
  for (int b = 0; b < BATCH; b++) printf("%g %g %g\n", y[b][0], y[b][1], y[b][2]);

  /* Every argument is checked, and the message says what is wrong. */
  x_shape[1] = 5;
  if (sirius_dense_run(context, &in, 1, &out, 1)) printf("refused: %s\n", sirius_dense_last_error(context));

  sirius_dense_context_destroy(context);
  sirius_dense_close(model);
  return 0;
}
