"""The arithmetic of a product, on host memory: NumPy in float32 or float64, matrices by columns."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from .descriptors import Desc, Layout
from .rules import AUX, BGRAD, BGRADA, BGRADB, BIAS, DGELU, GELU, RELU, Matmul, dtype_of

Numbers = np.ndarray[Any, np.dtype[Any]]


def matrices(address: int, layout: Layout) -> Numbers:
    """(batch, rows, columns) view of a batch in memory."""
    dtype = dtype_of(layout.type)
    numbers = layout.stride * (layout.batch - 1) + layout.leading * (layout.columns - 1) + layout.rows
    strides = tuple(dtype.itemsize * s for s in (layout.stride, 1, layout.leading))
    return np.ndarray((layout.batch, *layout.shape), dtype, memory(address, numbers * dtype.itemsize), 0, strides)


def memory(address: int, nbytes: int) -> Any:
    """Bytes at an address."""
    return (ctypes.c_ubyte * nbytes).from_address(address)


def scalar(address: int, desc: Desc) -> float:
    """Alpha or beta: the pointer mode is HOST, and the number has the scale type."""
    kind = ctypes.c_double if desc.scale == 1 else ctypes.c_float
    return float(kind.from_address(address).value)


def scale_at(address: int) -> float:
    """The scale of an operand of 8 bits, 1 if there is none; it lies in the memory of the device."""
    return float(ctypes.c_float.from_address(address).value) if address else 1.0


def multiply(p: Matmul, alpha: float, a: int, b: int, beta: float, c: int, d: int, *, splits: bool = False) -> None:
    """``D = epilogue(alpha op(A) op(B) + beta C)``.

    Args:
        p: the product.
        alpha: factor of the product.
        a: address of A.
        b: address of B.
        beta: factor of C.
        c: address of C.
        d: address of D.
        splits: add the two halves of each sum in the type of D.
    """
    wide = np.float64 if p.desc.scale == 1 else np.float32
    left: Any
    right: Any
    left, right = matrices(a, p.a).astype(wide), matrices(b, p.b).astype(wide)
    if p.desc.compute == 77:
        left, right = _tf32(left), _tf32(right)
    if p.desc.values.get(3):
        left = left.swapaxes(1, 2)
    if p.desc.values.get(4):
        right = right.swapaxes(1, 2)
    with np.errstate(all="ignore"):
        half = left.shape[2] // 2 if splits else 0
        alpha *= scale_at(p.desc.values.get(17, 0)) * scale_at(p.desc.values.get(18, 0))
        sums = alpha * (left[:, :, half:] @ right[:, half:])
        if half:
            parts = [part.astype(dtype_of(p.d.type)) for part in (sums, alpha * (left[:, :, :half] @ right[:, :half]))]
            sums = parts[0].astype(wide) + parts[1].astype(wide)
        if beta != 0:  # C is not read if beta is 0
            old: Any = matrices(c, p.c).astype(wide)
            sums += beta * old
        result = _epilogue(p, sums, left, right)
        matrices(d, p.d)[...] = result.astype(dtype_of(p.d.type))


def _epilogue(p: Matmul, x: Numbers, left: Numbers, right: Numbers) -> Numbers:
    kind, values, dtype = p.desc.epilogue, p.desc.values, dtype_of(p.d.type)
    if kind & (BGRADA | BGRADB):
        sums = left.sum(axis=2)[0] if kind & BGRADA else right.sum(axis=1)[0]
        _vector(values[8], sums.size, dtype)[...] = sums
        return x
    if kind & BIAS:
        kind_of_bias = dtype_of(values[26]) if values.get(26, -1) >= 0 else dtype
        x = x + _vector(values[8], p.d.rows, kind_of_bias).astype(x.dtype)[:, None]
    if kind & (GELU | DGELU) and kind & AUX:
        shape = Layout({0: p.d.type, 2: p.d.rows, 3: p.d.columns, 4: values[12]})
        aux = matrices(values[11], shape)
        if kind & DGELU:
            x = x * _slope(aux.astype(x.dtype))
        else:
            aux[...] = x.astype(dtype)
    if kind & RELU:
        x = np.maximum(x, 0)
    if kind & GELU:
        x = _gelu(x)
    if kind & BGRAD:
        _vector(values[8], p.d.rows, dtype)[...] = x.sum(axis=2)[0]
    return x


def _vector(address: int, size: int, dtype: np.dtype[Any]) -> Numbers:
    return np.ndarray((size,), dtype, memory(address, size * dtype.itemsize))


def _gelu(x: Numbers) -> Numbers:
    """The tanh form, which is the library's."""
    result: Numbers = x / (1 + np.exp(-2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    return result.astype(x.dtype)


def _slope(x: Numbers) -> Numbers:
    inner = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
    sigmoid = 1 / (1 + np.exp(-2 * inner))
    slope = sigmoid + 2 * x * sigmoid * (1 - sigmoid) * np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * x * x)
    result: Numbers = slope.astype(x.dtype)
    return result


def _tf32(x: Numbers) -> Numbers:
    """Rounded to 11 significant bits, ties away from zero as the conversion of tensor cores is documented."""
    bits = x.astype(np.float32).view(np.uint32)
    return ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)
