"""The runtime's C interface (llmopt/runtime.h) through ctypes: nothing but a Python."""

import array
import ctypes as c
import json
import math
import random

MAX_RANK = 16
# llmopt_dtype: array typecode or None (handled as raw 16-bit floats), bytes
DTYPES = {1: ("f", 4), 2: ("d", 8), 3: ("H", 2), 4: ("H", 2), 5: ("b", 1), 6: ("B", 1), 7: ("h", 2), 8: ("H", 2),
          9: ("i", 4), 10: ("I", 4), 11: ("q", 8), 12: ("Q", 8), 13: ("B", 1)}
FLOATS = {1, 2, 3, 4}


class Error(c.Structure):
    _fields_ = [("message", c.c_char * 512)]


class TensorType(c.Structure):
    _fields_ = [("dtype", c.c_uint32), ("rank", c.c_uint32), ("dims", c.c_int64 * MAX_RANK)]

    def count(self):
        return math.prod(self.dims[:self.rank])


class LoadOptions(c.Structure):
    _fields_ = [("struct_size", c.c_size_t), ("weights_path", c.c_char_p), ("load_mode", c.c_uint32),
                ("check_hash", c.c_uint32)]


class SessionOptions(c.Structure):
    _fields_ = [("struct_size", c.c_size_t), ("num_threads", c.c_uint32), ("profile", c.c_uint32),
                ("cache_capacity", c.c_uint64), ("device_pointers", c.c_uint32), ("no_device_graphs", c.c_uint32),
                ("no_device_overlap", c.c_uint32), ("reserved", c.c_uint32)]


class ModelInfo(c.Structure):
    _fields_ = [("struct_size", c.c_size_t)] + [(n, c.c_char_p) for n in (
        "name", "compiler", "target", "cpu_features", "metadata", "path", "weights_path")] + [
        ("build_id", c.c_uint8 * 16)] + [(n, c.c_uint32) for n in (
            "num_inputs", "num_outputs", "num_symbols", "num_steps", "num_weights", "reserved")] + [
        ("weights_size", c.c_uint64)]


class StepProfile(c.Structure):
    _fields_ = [("struct_size", c.c_size_t), ("name", c.c_char_p), ("runs", c.c_uint64), ("total_ns", c.c_uint64),
                ("last_ns", c.c_uint64), ("tiles", c.c_int64)]


class Buffer(c.Structure):
    _fields_ = [("data", c.c_void_p), ("size", c.c_size_t)]


class Failure(Exception):
    """A call that failed: its status, and the runtime's line of text."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


UNSUPPORTED_CPU, NO_DEVICE = 5, 13


class Runtime:
    def __init__(self, path):
        self.library = c.CDLL(str(path))
        for name in ("llmopt_model_get_symbol", "llmopt_status_name"):
            getattr(self.library, name).restype = c.c_char_p

    def call(self, name, *arguments):
        error = Error()
        status = getattr(self.library, name)(*arguments, c.byref(error))
        if status:
            raise Failure(status, error.message.decode(errors="replace"))

    def load(self, path, weights=None):
        return Model(self, path, weights)


class Model:
    def __init__(self, runtime, path, weights):
        self.runtime, self.handle = runtime, c.c_void_p()
        options = LoadOptions(c.sizeof(LoadOptions), str(weights).encode() if weights else None, 0, 0)
        runtime.call("llmopt_model_load", str(path).encode(), c.byref(options), c.byref(self.handle))
        self.info = ModelInfo(c.sizeof(ModelInfo))
        runtime.call("llmopt_model_get_info", self.handle, c.byref(self.info))
        self.metadata = json.loads(self.info.metadata)
        self.caches = self.metadata.get("caches", [])
        library = runtime.library
        self.symbols = [library.llmopt_model_get_symbol(self.handle, i).decode() for i in range(self.info.num_symbols)]
        self.inputs = [self._tensor("llmopt_model_get_input", i) for i in range(self.info.num_inputs)]
        self.outputs = [self._tensor("llmopt_model_get_output", i) for i in range(self.info.num_outputs)]

    def _tensor(self, function, index):
        name, kind = c.c_char_p(), TensorType()
        self.runtime.call(function, self.handle, c.c_uint32(index), c.byref(name), c.byref(kind))
        return name.value.decode(errors="replace")

    def input_types(self, values):
        """The types of all inputs where symbols have these values (others: 3)."""
        numbers = (c.c_int64 * max(1, len(self.symbols)))(*[values.get(s, 3) for s in self.symbols])
        types = []
        for i in range(self.info.num_inputs):
            kind = TensorType()
            self.runtime.call("llmopt_model_evaluate_input", self.handle, numbers, c.c_size_t(len(self.symbols)),
                              c.c_uint32(i), c.byref(kind))
            types.append(kind)
        return types

    def close(self):
        self.runtime.library.llmopt_model_destroy(self.handle)


class Session:
    """Bound to shapes, with inputs made up from a seed. A model with caches counts the tokens
    that it has seen; `step` binds for the ones after them, and runs."""

    def __init__(self, model, values, seed=0, profile=False, graphs=True, overlap=True, threads=0, capacity=0):
        self.model, self.handle, self.seed, self.tokens = model, c.c_void_p(), seed, 0
        options = SessionOptions(c.sizeof(SessionOptions), threads, int(profile), capacity, 0, int(not graphs),
                                 int(not overlap), 0)
        model.runtime.call("llmopt_session_create", model.handle, c.byref(options), c.byref(self.handle))
        self.bind(values)

    def bind(self, values):
        model, self.values = self.model, dict(values)
        if model.caches:
            self.values.update({s: self.tokens for s in model.symbols if s.startswith("past")})
        types = model.input_types(self.values)
        self.arrays = [make_input(name, kind, self.seed, self.tokens) for name, kind in zip(model.inputs, types)]
        table = (TensorType * max(1, len(types)))(*types)
        model.runtime.call("llmopt_session_bind", self.handle, table, c.c_size_t(len(types)))
        self.results = []
        for i in range(model.info.num_outputs):
            kind = TensorType()
            model.runtime.call("llmopt_session_get_output_type", self.handle, c.c_uint32(i), c.byref(kind))
            code, size = DTYPES.get(kind.dtype, ("B", 1))
            self.results.append((kind, array.array(code, bytes(size * kind.count()))))
        self.given = self._buffers(self.arrays)
        self.taken = self._buffers([data for _, data in self.results])

    def step(self, length=1):
        """`length` more tokens for each sequence of the batch."""
        self.bind({**self.values, "sequence": length, "sequence_length": length})
        self.run()

    @staticmethod
    def _buffers(arrays):
        return (Buffer * max(1, len(arrays)))(*[Buffer(a.buffer_info()[0] if len(a) else None, len(a) * a.itemsize)
                                                for a in arrays])

    def run(self):
        self.model.runtime.call("llmopt_session_run", self.handle, self.given, c.c_size_t(len(self.arrays)), self.taken,
                                c.c_size_t(len(self.results)))
        if self.model.caches:
            self.tokens += next(v for s, v in self.values.items() if s in ("sequence", "sequence_length"))

    def profile(self):
        """(name, ns of the last run) of every step."""
        rows = []
        for i in range(self.model.info.num_steps):
            row = StepProfile(c.sizeof(StepProfile))
            self.model.runtime.call("llmopt_session_get_profile", self.handle, c.c_uint32(i), c.byref(row))
            rows.append((row.name.decode(errors="replace"), row.last_ns))
        return rows

    def close(self):
        self.model.runtime.library.llmopt_session_destroy(self.handle)


def half(value):
    """The bits of a float in [-1, 1] as f16, cut."""
    import struct
    return struct.unpack("<H", struct.pack("<e", value))[0]


def make_input(name, kind, seed, past=0):
    """Token ids, ragged masks, positions behind `past` tokens; floats uniform in [-1, 1)."""
    generator = random.Random(f"{seed} {name}")
    count, dims = kind.count(), kind.dims[:kind.rank]
    code, _ = DTYPES.get(kind.dtype, ("B", 1))
    last = dims[-1] if dims else 1
    if kind.dtype in (1, 2):
        return array.array(code, [generator.uniform(-1, 1) for _ in range(count)])
    if kind.dtype == 3:
        return array.array(code, [half(generator.uniform(-1, 1)) for _ in range(count)])
    if kind.dtype == 4:
        return array.array(code, [generator.choice((0x3f00, 0xbe80, 0x3e00)) for _ in range(count)])
    if "mask" in name:  # of every row the first 1..all are there
        values = []
        for _ in range(count // last if last else 0):
            alive = generator.randint(1, last)
            values += [1] * alive + [0] * (last - alive)
        return array.array(code, values)
    if "type" in name:
        return array.array(code, [0] * count)
    if "position" in name:
        return array.array(code, [past + i % last for i in range(count)])
    if kind.dtype == 13:
        return array.array(code, [1] * count)
    return array.array(code, [generator.randint(1, 40) for _ in range(count)])


def difference(kind, actual, expected):
    """max |a - b| / max(1e-6, max |b|), with NaN where others are and infinities equal; of
    integers the share that differs."""
    if kind.dtype not in FLOATS:
        return sum(a != b for a, b in zip(actual, expected)) / max(1, len(expected))
    if kind.dtype in (3, 4):
        actual, expected = ([from_bits(v, kind.dtype) for v in values] for values in (actual, expected))
    worst, largest = 0.0, 1e-6
    for a, b in zip(actual, expected):
        if a == b or (a != a and b != b):
            largest = max(largest, abs(b)) if math.isfinite(b) else largest
            continue
        if not (math.isfinite(a) and math.isfinite(b)):
            return math.inf
        worst, largest = max(worst, abs(a - b)), max(largest, abs(b))
    return worst / largest


def from_bits(bits, dtype):
    import struct
    if dtype == 3:
        return struct.unpack("<e", struct.pack("<H", bits))[0]
    return struct.unpack("<f", struct.pack("<I", bits << 16))[0]
