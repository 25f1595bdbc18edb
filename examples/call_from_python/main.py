"""Calls a compiled model from Python with ctypes and numpy: python3 main.py FOLDER_OF_ARTIFACT

`Model` is all that is needed: arrays go in and come out without a copy of the inputs.
"""

import ctypes
import json
import pathlib
import sys

import numpy as np


class DLTensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


CODES = {"i": 0, "u": 1, "f": 2, "b": 6}
NUMPY = {"f64": "f8", "f32": "f4", "f16": "f2", "i64": "i8", "i32": "i4", "i16": "i2", "i8": "i1"}
NUMPY |= {"u64": "u8", "u32": "u4", "u16": "u2", "u8": "u1", "bool": "?"}


def tensors(arrays):
    """DLPack descriptions of contiguous arrays; the arrays must outlive them."""

    def one(a):
        shape = (ctypes.c_int64 * max(a.ndim, 1))(*a.shape)
        bits = a.dtype.itemsize * 8
        return DLTensor(a.ctypes.data, 1, 0, a.ndim, CODES[a.dtype.kind], bits, 1, shape, None, 0)

    return (DLTensor * max(len(arrays), 1))(*map(one, arrays))


class Model:
    def __init__(self, folder):
        path = next(p for p in pathlib.Path(folder).glob("*.json"))
        self.manifest = json.loads(path.read_text())
        self.library = ctypes.CDLL(str(path.parent.resolve() / self.manifest["library"]))
        self.model, self.context = ctypes.c_void_p(), ctypes.c_void_p()
        self.check(self.function("open")(None, ctypes.byref(self.model)))
        self.check(self.function("context_create")(self.model, None, ctypes.byref(self.context)))

    def function(self, name, result=ctypes.c_int):
        function = getattr(self.library, f"sirius_{self.manifest['tag']}_{name}")
        function.restype = result
        return function

    def check(self, status):
        if status == 0:
            return
        if self.context:
            raise ValueError(self.function("last_error", ctypes.c_char_p)(self.context).decode())
        raise OSError(self.function("status_text", ctypes.c_char_p)(status).decode())

    def __call__(self, *inputs):
        inputs = [np.ascontiguousarray(a) for a in inputs]
        given, count = tensors(inputs), ctypes.c_size_t(len(inputs))
        outputs = self.allocate(given, count)
        taken = tensors(outputs)
        self.check(self.function("run")(self.context, given, count, taken, ctypes.c_size_t(len(outputs))))
        # An output whose extent only the run could tell may be smaller than what was allocated for it.
        shapes = [tuple(t.shape[: t.ndim]) for t in taken]
        return [a.ravel()[: int(np.prod(s))].reshape(s) for a, s in zip(outputs, shapes)]

    def allocate(self, given, count):
        """Output arrays for these inputs."""
        ranks = [len(o["shape"]) for o in self.manifest["outputs"]]
        extents = (ctypes.c_int64 * max(sum(ranks), 1))()
        self.check(self.function("output_shapes")(self.context, given, count, extents, ctypes.c_size_t(sum(ranks))))
        rest, outputs = list(extents), []
        for rank, output in zip(ranks, self.manifest["outputs"]):
            outputs.append(np.empty(rest[:rank], NUMPY[output["dtype"]]))
            rest = rest[rank:]
        return outputs

    def __del__(self):
        self.function("context_destroy", None)(self.context)
        self.function("close", None)(self.model)


if __name__ == "__main__":
    model = Model(sys.argv[1])
    (y,) = model(np.array([[1, 2, 3, 4], [-1, 0, 0, -20]], np.float32))
    for row in y:
        print(*(f"{v:g}" for v in row))
    try:
        model(np.zeros((2, 5), np.float32))
    except ValueError as error:
        print("refused:", error)
