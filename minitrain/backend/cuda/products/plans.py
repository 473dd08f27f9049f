"""Plans: everything that cuBLASLt wants to know about a product, prepared once and used for all products like it.

cuBLASLt stores matrices by columns, arrays here are stored by rows. A matrix stored by rows is its transpose stored by
columns, so ``out = op(a) @ op(b)`` is asked for as ``out^T = op(b)^T @ op(a)^T``: cuBLASLt's A is our b, its B is our
a, its number of rows is our number of columns. Row order could be declared instead, but most epilogues refuse it.

The choice of an algorithm is made when a plan is made, and never while a stream is captured: the heuristic fails there
on CUDA 13.3, and a hidden choice could not be repeated. So a product must have run once before a capture.
"""

from __future__ import annotations

import ctypes
import threading
from contextlib import ExitStack
from typing import Any

from ....errors import DeviceError
from .cublaslt import (
    ALGO_BYTES,
    COMPUTE_TYPE_SUMS,
    RESULT_BYTES,
    WORKSPACE_ALIGNMENT,
    ComputeType,
    DataType,
    DescAttribute,
    Epilogue,
    LayoutAttribute,
    PreferenceAttribute,
)
from .problem import Problem, alignment, data_type

WORKSPACE_BYTES = 32 << 20
"""NVIDIA's advice for Hopper; less makes some algorithms impossible. One per device and stream."""


class ProductUnsupported(DeviceError):
    """cuBLASLt has no algorithm for a product."""


class Plan:
    """Descriptors and an algorithm for one kind of product.

    Args:
        library: the binding of cuBLASLt.
        handle: its handle.
        problem: the kind of product.
        vector: address of a bias or of the vector for sums; 0 for none. The algorithm may depend on its alignment.
        aux: address of the auxiliary matrix; 0 for none.
        scales: addresses of the scales of a and b, for operands of 8 bits; 0 for none.

    Raises:
        ProductUnsupported: if cuBLASLt knows no algorithm.
    """

    def __init__(
        self, library: Any, handle: int, problem: Problem, vector: int, aux: int, scales: tuple[int, int]
    ) -> None:
        self.problem, self._library, self._handle = problem, library, handle
        self._scalar = ctypes.c_double if problem.compute == ComputeType.FLOAT64 else ctypes.c_float
        self._one, self._zero = self._scalar(1), self._scalar(0)
        self._pointer = ctypes.c_void_p()
        with ExitStack() as made:  # if a step fails, what was made before it is released
            self._describe(made)
            self._point(vector, aux, scales)
            self._choose()
            self._made = made.pop_all()

    def run(
        self, a: int, b: int, out: int, beta: float, vector: int, aux: int, workspace: int, stream: int,
        scales: tuple[int, int],
    ) -> None:  # fmt: skip
        """Multiply: all arguments but ``beta`` are addresses; ``stream`` is a handle."""
        self._point(vector, aux, scales)
        scale = self._zero if beta == 0 else self._one if beta == 1 else self._scalar(beta)
        self._library.matmul(
            self._handle, self._product, ctypes.addressof(self._one), b, self._b, a, self._a, ctypes.addressof(scale),
            out, self._out, out, self._out, ctypes.addressof(self._algo), workspace if self.workspace_bytes else 0,
            self.workspace_bytes, stream,
        )  # fmt: skip

    def close(self) -> None:
        """Release the descriptors."""
        self._made.close()

    def _describe(self, made: ExitStack) -> None:
        library, p = self._library, self.problem
        scale = DataType.FLOAT64 if p.compute == ComputeType.FLOAT64 else DataType.FLOAT32
        self._product = library.matmul_desc_create(int(p.compute), int(scale))
        made.callback(library.matmul_desc_destroy, self._product)
        settings: list[tuple[DescAttribute, Any]] = [
            (DescAttribute.TRANSPOSE_A, ctypes.c_int32(p.transpose_b)),
            (DescAttribute.TRANSPOSE_B, ctypes.c_int32(p.transpose_a)),
            (DescAttribute.EPILOGUE, ctypes.c_uint32(p.epilogue)),
        ]
        if p.ld_aux:
            settings.append((DescAttribute.AUX_LD, ctypes.c_int64(p.ld_aux)))
        if p.bias:
            settings.append((DescAttribute.BIAS_TYPE, ctypes.c_int32(data_type(p.bias))))
        if p.fast:
            settings.append((DescAttribute.FAST_SUMS, ctypes.c_int8(1)))
        for attribute, value in settings:
            _set(library.matmul_desc_set_attribute, self._product, attribute, value)
        of_a = (p.inner, p.rows) if p.transpose_a else (p.rows, p.inner)
        of_b = (p.columns, p.inner) if p.transpose_b else (p.inner, p.columns)
        self._a = self._layout(made, p.operand, of_a, p.ld_a, p.stride_a)
        self._b = self._layout(made, p.operand_b or p.operand, of_b, p.ld_b, p.stride_b)
        self._out = self._layout(made, p.result, (p.rows, p.columns), p.ld_out, p.stride_out)

    def _layout(self, made: ExitStack, dtype: str, shape: tuple[int, int], leading: int, stride: int) -> int:
        """The layout of a matrix of ``shape`` stored by rows: as many columns as it has rows, and the other way."""
        library = self._library
        layout: int = library.matrix_layout_create(int(data_type(dtype)), shape[1], shape[0], leading)
        made.callback(library.matrix_layout_destroy, layout)
        if self.problem.batch > 1:
            count, step = ctypes.c_int32(self.problem.batch), ctypes.c_int64(stride)
            _set(library.matrix_layout_set_attribute, layout, LayoutAttribute.BATCH_COUNT, count)
            _set(library.matrix_layout_set_attribute, layout, LayoutAttribute.BATCH_STRIDE, step)
        return layout

    def _point(self, vector: int, aux: int, scales: tuple[int, int]) -> None:
        """Tell the descriptor where the vector, the auxiliary matrix and scales are; it is read during each call."""
        for attribute, address in (
            (DescAttribute.BIAS_POINTER, vector),
            (DescAttribute.AUX_POINTER, aux),
            (DescAttribute.SCALE_POINTER_A, scales[1]),
            (DescAttribute.SCALE_POINTER_B, scales[0]),
        ):
            if address:
                self._pointer.value = address
                _set(self._library.matmul_desc_set_attribute, self._product, attribute, self._pointer)

    def _choose(self) -> None:
        library, p = self._library, self.problem
        preference = library.matmul_preference_create()
        try:
            wishes: list[tuple[PreferenceAttribute, Any]] = [
                (PreferenceAttribute.MAX_WORKSPACE_BYTES, ctypes.c_uint64(WORKSPACE_BYTES)),
                (PreferenceAttribute.REDUCTION_SCHEMES, ctypes.c_uint32(COMPUTE_TYPE_SUMS)),
                (PreferenceAttribute.ALIGNMENT_A, ctypes.c_uint32(p.align_b)),
                (PreferenceAttribute.ALIGNMENT_B, ctypes.c_uint32(p.align_a)),
                (PreferenceAttribute.ALIGNMENT_C, ctypes.c_uint32(p.align_out)),
                (PreferenceAttribute.ALIGNMENT_D, ctypes.c_uint32(p.align_out)),
            ]
            for attribute, value in wishes:
                _set(library.matmul_preference_set_attribute, preference, attribute, value)
            found, returned = ctypes.create_string_buffer(RESULT_BYTES), ctypes.c_int(0)
            try:
                library.matmul_algo_get_heuristic(
                    self._handle, self._product, self._b, self._a, self._out, self._out, preference, 1,
                    ctypes.addressof(found), ctypes.addressof(returned),
                )  # fmt: skip
            except Exception as error:
                if getattr(error, "status", 15) != 15:
                    raise
                returned.value = 0
            if returned.value == 0 or ctypes.c_int.from_buffer(found, ALGO_BYTES + 8).value != 0:
                raise ProductUnsupported(f"cuBLASLt has no algorithm for {p}")
        finally:
            library.matmul_preference_destroy(preference)
        self._algo = ctypes.create_string_buffer(found.raw[:ALGO_BYTES], ALGO_BYTES)
        self.workspace_bytes = ctypes.c_size_t.from_buffer(found, ALGO_BYTES).value


class Planner:
    """The plans of one device, its handle of cuBLASLt, and a workspace for each stream.

    Args:
        library: the binding of cuBLASLt.
    """

    def __init__(self, library: Any) -> None:
        self.library = library
        self._handle: int = library.create()
        self._plans: dict[tuple[Any, ...], Plan | None] = {}  # None: cuBLASLt has no algorithm
        self._workspaces: dict[int, tuple[Any, int]] = {}  # by stream: memory and its aligned address
        self._lock = threading.Lock()  # a plan's descriptor is changed for each call

    def run(
        self, problem: Problem, a: int, b: int, out: int, beta: float, vector: int, aux: int, xp: Any,
        scales: tuple[int, int] = (0, 0),
    ) -> None:  # fmt: skip
        """Multiply on the current stream of the array library ``xp``.

        Raises:
            ProductUnsupported: if cuBLASLt knows no algorithm.
            DeviceError: if the stream is captured and this kind of product has not run before.
        """
        stream = xp.cuda.get_current_stream()
        key = (problem, vector and alignment(vector), aux and alignment(aux))
        with self._lock:
            if (plan := self._plans.get(key)) is None:
                plan = self._plan(key, problem, vector, aux, scales, stream)
            workspace = self._workspace(problem, stream, xp) if plan.workspace_bytes else 0
            plan.run(a, b, out, beta, vector, aux, workspace, stream.ptr, scales)

    def close(self) -> None:
        """Release everything; products that are still running need the workspaces, so wait for them first."""
        for plan in self._plans.values():
            if plan is not None:
                plan.close()
        self._plans.clear()
        self._workspaces.clear()
        self.library.destroy(self._handle)

    def _plan(
        self, key: tuple[Any, ...], problem: Problem, vector: int, aux: int, scales: tuple[int, int], stream: Any
    ) -> Plan:
        if key in self._plans:
            raise ProductUnsupported(f"cuBLASLt has no algorithm for {problem}")
        _refuse_in_capture(stream, problem, "its algorithm must be chosen")
        try:
            plan = Plan(self.library, self._handle, problem, vector, aux, scales)
        except ProductUnsupported:
            self._plans[key] = None
            raise
        self._plans[key] = plan
        return plan

    def _workspace(self, problem: Problem, stream: Any, xp: Any) -> int:
        """The workspace of a stream. Products of one stream follow each other and share it."""
        if stream.ptr not in self._workspaces:
            _refuse_in_capture(stream, problem, "the stream needs a workspace")
            memory = xp.empty(WORKSPACE_BYTES + WORKSPACE_ALIGNMENT, xp.uint8)
            address = -(-memory.data.ptr // WORKSPACE_ALIGNMENT) * WORKSPACE_ALIGNMENT
            self._workspaces[stream.ptr] = memory, address
        return self._workspaces[stream.ptr][1]


def _refuse_in_capture(stream: Any, problem: Problem, why: str) -> None:
    if stream.is_capturing():
        raise DeviceError(
            f"the product {problem} is new while a graph is captured, and {why} first: run the step once on the same "
            "stream and with the same shapes before capturing it"
        )


def _set(function: Any, descriptor: int, attribute: int, value: Any) -> None:
    function(descriptor, int(attribute), ctypes.addressof(value), ctypes.sizeof(value))


def with_bias(number: Epilogue) -> int:
    """The number of an epilogue that also adds a bias."""
    return int(Epilogue.BIAS if number == Epilogue.DEFAULT else number | Epilogue.BIAS)
