"""What can compute here besides the processor: the graphics devices of the loaded backends.

The trusted side decides what to do with them; a driver that hangs or crashes in here costs this process only.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

from govdesk.domain.frames import MAX_DEVICES, Device, DeviceKind
from govdesk.worker.backends import ggml

_KINDS = {1: DeviceKind.GPU, 2: DeviceKind.INTEGRATED}
"""`ggml_backend_dev_type`: processors, accelerators beside them and compound devices are none of ours."""
_SIDE = 64
_F32 = 0
_TENSORS_BYTES = 1024 * 1024
"""For what describes three tensors and a graph; their contents lie on the device."""


class _Parameters(ctypes.Structure):
    _fields_ = (("mem_size", ctypes.c_size_t), ("mem_buffer", ctypes.c_void_p), ("no_alloc", ctypes.c_bool))


def found() -> tuple[Device, ...]:
    """The graphics devices, in the library's order; at most `MAX_DEVICES`."""
    return tuple(device for device, _ in _devices())


def handles(names: tuple[str, ...]) -> tuple[int, ...] | None:
    """The library's handles of these devices, or None when one of them is not there."""
    by_name = {device.name: handle for device, handle in _devices()}
    return tuple(by_name[name] for name in names) if all(name in by_name for name in names) else None


def computing() -> tuple[Device, ...]:
    """Those of them that multiply two matrices right."""
    return tuple(device for device, handle in _devices() if _multiplies(handle))


def _devices() -> Iterator[tuple[Device, int]]:
    library, listed = ggml(), 0
    for index in range(library.ggml_backend_dev_count()):
        handle = library.ggml_backend_dev_get(index)
        kind = _KINDS.get(library.ggml_backend_dev_type(handle))
        if kind is None or listed == MAX_DEVICES:
            continue
        listed += 1
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        library.ggml_backend_dev_memory(handle, ctypes.byref(free), ctypes.byref(total))
        yield (
            Device(
                name=_text(library.ggml_backend_dev_name(handle)),
                title=_text(library.ggml_backend_dev_description(handle)),
                kind=kind,
                backend=_text(library.ggml_backend_reg_name(library.ggml_backend_dev_backend_reg(handle))),
                memory_bytes=total.value,
                free_bytes=min(free.value, total.value),
            ),
            handle,
        )


def _text(untrusted_bytes: bytes | None) -> str:
    return (untrusted_bytes or b"").decode("utf-8", "replace")[:64]


def _multiplies(device: int) -> bool:
    """Multiply two small matrices on a device and compare with what Python makes of them."""
    library = _computing_calls()
    backend = library.ggml_backend_dev_init(device, None)
    if not backend:
        return False
    context = library.ggml_init(_Parameters(_TENSORS_BYTES, None, True))
    buffer = None
    try:
        left, right = (library.ggml_new_tensor_2d(context, _F32, _SIDE, _SIDE) for _ in range(2))
        product = library.ggml_mul_mat(context, left, right)
        graph = library.ggml_new_graph(context)
        library.ggml_build_forward_expand(graph, product)
        buffer = library.ggml_backend_alloc_ctx_tensors(context, backend)
        if not buffer:
            return False
        rows = [[float((7 * row + column) % 5) for column in range(_SIDE)] for row in range(_SIDE)]
        columns = [[float((3 * row + 2 * column) % 4) for column in range(_SIDE)] for row in range(_SIDE)]
        values = ctypes.c_float * (_SIDE * _SIDE)
        for tensor, matrix in ((left, rows), (right, columns)):
            flat = values(*(value for line in matrix for value in line))
            library.ggml_backend_tensor_set(tensor, ctypes.byref(flat), 0, ctypes.sizeof(flat))
        if library.ggml_backend_graph_compute(backend, graph) != 0:
            return False
        result = values()
        library.ggml_backend_tensor_get(product, ctypes.byref(result), 0, ctypes.sizeof(result))
        wanted = [sum(a * b for a, b in zip(row, column, strict=True)) for column in columns for row in rows]
        return all(
            abs(got - right_one) <= 0.01 * max(1.0, right_one)
            for got, right_one in zip(result, wanted, strict=True)
        )
    finally:
        if buffer:
            library.ggml_backend_buffer_free(buffer)
        library.ggml_free(context)
        library.ggml_backend_free(backend)


def _computing_calls() -> ctypes.CDLL:
    library, pointer = ggml(), ctypes.c_void_p
    declared: dict[str, tuple[type | None, tuple[type, ...]]] = {
        "ggml_init": (pointer, (_Parameters,)),
        "ggml_free": (None, (pointer,)),
        "ggml_new_tensor_2d": (pointer, (pointer, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)),
        "ggml_mul_mat": (pointer, (pointer, pointer, pointer)),
        "ggml_new_graph": (pointer, (pointer,)),
        "ggml_build_forward_expand": (None, (pointer, pointer)),
        "ggml_backend_alloc_ctx_tensors": (pointer, (pointer, pointer)),
        "ggml_backend_tensor_set": (None, (pointer, pointer, ctypes.c_size_t, ctypes.c_size_t)),
        "ggml_backend_tensor_get": (None, (pointer, pointer, ctypes.c_size_t, ctypes.c_size_t)),
        "ggml_backend_graph_compute": (ctypes.c_int, (pointer, pointer)),
        "ggml_backend_buffer_free": (None, (pointer,)),
        "ggml_backend_free": (None, (pointer,)),
    }
    for name, (result, arguments) in declared.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
