"""Facts of the device and its ceilings, through the CUDA driver and cuBLASLt by ctypes."""

import ctypes as c
import os

ATTRIBUTES = {"multiprocessors": 16, "clock_khz": 13, "memory_clock_khz": 36, "bus_bits": 37, "l2_bytes": 38,
              "major": 75, "minor": 76}


class NoDevice(Exception):
    pass


class Device:
    """The first device, with a current context and one stream."""

    def __init__(self):
        path = os.environ.get("LLMOPT_CUDA_DRIVER") or "libcuda.so.1"
        try:
            self.driver = c.CDLL(path)
        except OSError as error:
            raise NoDevice(f"no CUDA driver: {error}") from None
        result = self.driver.cuInit(0)
        count = c.c_int()
        if result or self.driver.cuDeviceGetCount(c.byref(count)) or not count.value:
            raise NoDevice("the CUDA driver finds no device")
        name, version, handle = c.create_string_buffer(128), c.c_int(), c.c_int()
        self.driver.cuDriverGetVersion(c.byref(version))
        self.driver.cuDeviceGet(c.byref(handle), 0)
        self.driver.cuDeviceGetName(name, 128, handle)
        self.handle, self.name, self.driver_version = handle, name.value.decode(), version.value
        self.facts, self.libraries = {}, []
        for fact, attribute in ATTRIBUTES.items():
            value = c.c_int()
            self.driver.cuDeviceGetAttribute(c.byref(value), attribute, handle)
            self.facts[fact] = value.value
        self.context, self.stream = c.c_void_p(), c.c_void_p()
        self.check(self.driver.cuDevicePrimaryCtxRetain(c.byref(self.context), handle), "context")
        self.check(self.driver.cuCtxPushCurrent_v2(self.context), "context")
        self.check(self.driver.cuStreamCreate(c.byref(self.stream), 1), "stream")

    def check(self, result, what):
        if result:
            raise RuntimeError(f"{what}: CUDA error {result}")

    def allocate(self, size):
        address = c.c_uint64()
        self.check(self.driver.cuMemAlloc_v2(c.byref(address), c.c_size_t(size)), f"{size} bytes")
        self.check(self.driver.cuMemsetD8Async(address, c.c_ubyte(0), c.c_size_t(size), self.stream), "memset")
        self.wait()
        return address.value

    def free(self, address):
        self.driver.cuMemFree_v2(c.c_uint64(address))

    def memory(self):
        free, total = c.c_size_t(), c.c_size_t()
        self.check(self.driver.cuMemGetInfo_v2(c.byref(free), c.byref(total)), "memory")
        return free.value, total.value

    def load(self, path):
        """name -> kernel of a fat binary."""
        library = c.c_void_p()
        self.image = path.read_bytes()  # read by the driver for as long as the library lives
        self.check(self.driver.cuLibraryLoadData(c.byref(library), self.image, None, None, 0, None, None, 0), path.name)
        self.libraries.append(library)

        def find(name):
            kernel = c.c_void_p()
            self.check(self.driver.cuLibraryGetKernel(c.byref(kernel), library, name.encode()), name)
            return kernel
        return find

    def launch(self, kernel, grid, block, values=()):
        """`values` are ctypes objects."""
        pointers = (c.c_void_p * max(1, len(values)))(*[c.cast(c.pointer(v), c.c_void_p) for v in values])
        self.check(self.driver.cuLaunchKernel(kernel, grid, 1, 1, block, 1, 1, 0, self.stream, pointers, None), "launch")

    def wait(self):
        self.check(self.driver.cuStreamSynchronize(self.stream), "wait")

    def time(self, work, repeats=5):
        """Seconds of the fastest of several calls of `work`, by events."""
        events = c.c_void_p(), c.c_void_p()
        for event in events:
            self.check(self.driver.cuEventCreate(c.byref(event), 0), "event")
        best = float("inf")
        for _ in range(repeats):
            self.driver.cuEventRecord(events[0], self.stream)
            work()
            self.driver.cuEventRecord(events[1], self.stream)
            self.check(self.driver.cuEventSynchronize(events[1]), "wait")
            ms = c.c_float()
            self.driver.cuEventElapsedTime(c.byref(ms), *events)
            best = min(best, ms.value / 1e3)
        for event in events:
            self.driver.cuEventDestroy_v2(event)
        return best

    def graph_of(self, work):
        """An executable graph of what `work` launches."""
        graph, executable = c.c_void_p(), c.c_void_p()
        self.check(self.driver.cuStreamBeginCapture_v2(self.stream, 1), "capture")
        work()
        self.check(self.driver.cuStreamEndCapture(self.stream, c.byref(graph)), "capture")
        self.check(self.driver.cuGraphInstantiateWithFlags(c.byref(executable), graph, c.c_ulonglong(0)), "graph")
        self.driver.cuGraphDestroy(graph)
        return executable

    def close(self):
        for library in self.libraries:
            self.driver.cuLibraryUnload(library)
        self.driver.cuStreamDestroy_v2(self.stream)
        self.driver.cuCtxPopCurrent_v2(c.byref(c.c_void_p()))
        self.driver.cuDevicePrimaryCtxRelease_v2(self.handle)


# cudaDataType, cublasComputeType_t, of the products measured: inputs, output, compute,
# scale type, bytes of an input.
PRODUCTS = {"f16": (2, 2, 68, 0, 2), "bf16": (14, 14, 68, 0, 2), "s8": (3, 10, 72, 10, 1), "e4m3": (28, 14, 68, 0, 1)}


def cublaslt():
    for name in ("libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"):
        for folder in ("", "/usr/local/cuda/lib64/"):
            try:
                return c.CDLL(folder + name)
            except OSError:
                continue
    try:  # of PyTorch's packages
        import importlib.util
        for package, name in (("nvidia.cu13", "libcublasLt.so.13"), ("nvidia.cublas", "libcublasLt.so.12")):
            spec = importlib.util.find_spec(package)
            for folder in spec.submodule_search_locations if spec else ():
                path = os.path.join(folder, "lib", name)
                if os.path.exists(path):
                    return c.CDLL(path)
    except (ImportError, OSError):
        pass
    return None


def product_rate(device, library, kind, size):
    """Operations per second of a size^3 product of cuBLASLt's first choice, weights
    K-major ("TN"), operands random bytes that are finite in every type."""
    inputs, output, compute, scale, width = PRODUCTS[kind]
    handle, operation, preference = c.c_void_p(), c.c_void_p(), c.c_void_p()
    check = lambda result, what: device.check(result, f"cuBLASLt {kind}: {what}")  # noqa: E731
    check(library.cublasLtCreate(c.byref(handle)), "create")
    check(library.cublasLtMatmulDescCreate(c.byref(operation), compute, scale), "operation")
    transposed = c.c_int(1)
    check(library.cublasLtMatmulDescSetAttribute(operation, 3, c.byref(transposed), c.c_size_t(4)), "transpose A")
    layouts = []
    for data in (inputs, inputs, output, output):
        layout = c.c_void_p()
        check(library.cublasLtMatrixLayoutCreate(c.byref(layout), data, c.c_uint64(size), c.c_uint64(size),
                                                 c.c_int64(size)), "layout")
        layouts.append(layout)
    workspace_bytes = 64 << 20
    a, b = (device.allocate(size * size * width) for _ in range(2))
    d, workspace = device.allocate(size * size * 4), device.allocate(workspace_bytes)
    for address in (a, b):  # 0x31 is small and positive in all of these types
        device.driver.cuMemsetD8Async(c.c_uint64(address), c.c_ubyte(0x31), c.c_size_t(size * size * width), device.stream)
    check(library.cublasLtMatmulPreferenceCreate(c.byref(preference)), "preference")
    limit = c.c_uint64(workspace_bytes)
    check(library.cublasLtMatmulPreferenceSetAttribute(preference, 1, c.byref(limit), c.c_size_t(8)), "preference")
    result, found = (c.c_byte * 512)(), c.c_int()
    check(library.cublasLtMatmulAlgoGetHeuristic(handle, operation, *layouts, preference, 1, result, c.byref(found)),
          "heuristic")
    if not found.value:
        raise RuntimeError(f"cuBLASLt {kind}: no kernel")
    one = c.c_int32(1) if scale == 10 else c.c_float(1)
    zero = c.c_int32(0) if scale == 10 else c.c_float(0)

    def work():
        for _ in range(10):
            check(library.cublasLtMatmul(handle, operation, c.byref(one), c.c_uint64(a), layouts[0], c.c_uint64(b),
                                         layouts[1], c.byref(zero), c.c_uint64(d), layouts[2], c.c_uint64(d), layouts[3],
                                         result, c.c_uint64(workspace), c.c_size_t(workspace_bytes), device.stream),
                  "product")
    work()
    device.wait()
    seconds = device.time(work, 3) / 10
    for address in (a, b, d, workspace):
        device.free(address)
    library.cublasLtDestroy(handle)
    return 2 * size ** 3 / seconds
