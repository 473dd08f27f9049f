"""The documented rules of a product: types that go together, shapes, strides, alignment, epilogues.

Source: NVIDIA's documentation of ``cublasLtMatmul`` (tables of data types, parameters) and of the attributes in
``cublasLt.h``, CUDA 13.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .descriptors import Desc, Layout, Preference
from .errors import NOT_SUPPORTED, demand

R32, R64, R16, RB16, E4M3, E5M2 = 0, 1, 2, 14, 28, 29
TYPES: dict[int, np.dtype[Any]] = {R32: np.dtype(np.float32), R64: np.dtype(np.float64), R16: np.dtype(np.float16)}
BIAS_ALIGNMENT = 16
TOGETHER = {  # compute type -> (scale type, type of A and B, type of C and D)
    68: {(R32, RB16, RB16), (R32, R16, R16), (R32, RB16, R32), (R32, R16, R32), (R32, R32, R32)},
    77: {(R32, R32, R32)},
    70: {(R64, R64, R64)},
}
FLOAT8 = {(E4M3, E4M3), (E4M3, E5M2), (E5M2, E4M3)}
FLOAT8_RESULTS = {R32: RB16, RB16: RB16, R16: R16}
"""The types of a result of 8-bit operands that this stand-in knows, each with that of its bias."""
SCALES = {17: "A", 18: "B", 19: "C", 20: "D", 21: "the largest magnitude of D", 36: "D"}
RELU, BIAS, DRELU, BGRAD, GELU, DGELU, AUX, BGRADA, BGRADB = 2, 4, 8, 16, 32, 64, 128, 256, 512
EPILOGUES = {1, 2, 130, 4, 6, 134, 136, 152, 32, 160, 36, 164, 192, 208, 256, 512}


def dtype_of(number: int) -> np.dtype[Any]:
    """NumPy's type for a ``cudaDataType``."""
    if number in TYPES:
        return TYPES[number]
    import ml_dtypes

    types = {RB16: ml_dtypes.bfloat16, E4M3: ml_dtypes.float8_e4m3fn, E5M2: ml_dtypes.float8_e5m2}
    found: np.dtype[Any] = np.dtype(types[number])
    return found


class Matmul(NamedTuple):
    """A product with its four matrices."""

    desc: Desc
    a: Layout
    b: Layout
    c: Layout
    d: Layout

    def fingerprint(self) -> tuple[object, ...]:
        """All that an algorithm depends on: pointers count by whether they are set."""
        values = {k: bool(v) if k in (8, 11, *SCALES) else v for k, v in self.desc.values.items()}
        layouts = [tuple(sorted(x.values.items())) for x in (self.a, self.b, self.c, self.d)]
        return self.desc.compute, self.desc.scale, tuple(sorted(values.items())), *layouts

    def op(self, which: str) -> tuple[int, int]:
        """The shape of a matrix as it is multiplied, transposed or not."""
        layout, transposed = (
            (self.a, self.desc.values.get(3, 0)) if which == "a" else (self.b, self.desc.values.get(4, 0))
        )
        return (layout.columns, layout.rows) if transposed else layout.shape


def describe(p: Matmul, adds: bool) -> str:
    """A product in words, with sizes as of arrays stored by rows: ``[64, 16] @ [16, 48] float32 + bias``."""
    (m, k), (_, n) = p.op("a"), p.op("b")
    batch = f"{p.d.batch} x " if p.d.batch > 1 else ""
    names = {BIAS: "bias", RELU: "relu", GELU: "gelu", DGELU: "gelu backward", AUX: "aux", BGRADA: "bias gradient"}
    names |= {BGRADB: "bias gradient", BGRAD: "bias gradient", DRELU: "relu backward"}
    extra = "".join(f" + {name}" for bit, name in names.items() if p.desc.epilogue & bit)
    first, second, sums = (dtype_of(x.type).name for x in (p.b, p.a, p.d))
    given = first if first == second else f"{first} by {second}"
    types = given if given == sums else f"{given} to {sums}"
    return f"{batch}[{n}, {k}] @ [{k}, {m}] {types}{' += ' if adds else ''}{extra}".rstrip()


def check_problem(p: Matmul) -> None:
    """All rules that do not need the addresses of matrices."""
    demand(p.c.type == p.d.type, "C and D have different types")
    eight = {p.a.type, p.b.type} & {E4M3, E5M2}
    if not eight:
        demand(p.a.type == p.b.type, "A and B have different types", NOT_SUPPORTED)
        scale, operand, result = p.desc.scale, p.a.type, p.d.type
        known = TOGETHER.get(p.desc.compute, set())
        demand((scale, operand, result) in known, f"types {(p.desc.compute, scale, operand, result)}", NOT_SUPPORTED)
        for number, what in SCALES.items():
            demand(not p.desc.values.get(number), f"a scale of {what} without operands of 8 bits")
    demand(all(p.desc.values.get(n, 0) in (0, 1, 2) for n in (3, 4)), "a transpose is none of N, T, C")
    for name, layout in zip("ABCD", (p.a, p.b, p.c, p.d), strict=True):
        demand(
            layout.order == 0, f"{name} is not stored by columns, which is all that this stand-in knows", NOT_SUPPORTED
        )
        demand(layout.rows > 0 and layout.columns > 0, f"{name} has no rows or no columns")
        demand(layout.leading >= layout.rows, f"{name}: leading dimension {layout.leading} < {layout.rows} rows")
        demand(layout.batch == p.d.batch and layout.batch > 0, f"{name} has batch {layout.batch}, D {p.d.batch}")
        demand(layout.stride >= 0 and max(layout.shape) < 2**31, f"{name} is too large or has a negative stride")
    (m, k), (other, n) = p.op("a"), p.op("b")
    demand(k == other, f"op(A) is {m} x {k}, op(B) is {other} x {n}")
    demand(p.c.shape == p.d.shape == (m, n), f"op(A) op(B) is {m} x {n}, D is {p.d.shape}")
    apart = p.d.leading * (n - 1) + m
    demand(p.d.batch == 1 or p.d.stride >= apart, f"matrices of D overlap: stride {p.d.stride}, each {apart} numbers")
    check_epilogue(p)
    if eight:
        check_float8(p)


def check_float8(p: Matmul) -> None:
    """Rules for operands of 8 bits: the "TN" layout, sizes of 16 bytes, and scalar scales.

    The table of types and the list of requirements are in the documentation of ``cublasLtMatmul``.
    """
    values = p.desc.values
    demand((p.a.type, p.b.type) in FLOAT8, "8 bits go together as e4m3 with e4m3 or with e5m2", NOT_SUPPORTED)
    demand((p.desc.compute, p.desc.scale) == (68, R32), "8 bits are computed and scaled in float32", NOT_SUPPORTED)
    demand(p.d.type in FLOAT8_RESULTS, f"this stand-in knows no result of type {p.d.type} from 8 bits", NOT_SUPPORTED)
    demand(values.get(3, 0) == 1, "A of 8 bits must be transposed", NOT_SUPPORTED)
    demand(values.get(4, 0) == 0, "B of 8 bits must not be transposed", NOT_SUPPORTED)
    inner = p.op("a")[1]
    demand(inner % 16 == 0, f"8 bits are summed over a multiple of 16, not {inner}", NOT_SUPPORTED)
    width = p.d.rows * dtype_of(p.d.type).itemsize
    demand(width % 16 == 0, f"a column of D has {width} bytes, no multiple of 16", NOT_SUPPORTED)
    for name, layout in zip("ABCD", (p.a, p.b, p.c, p.d), strict=True):
        step = layout.leading * dtype_of(layout.type).itemsize
        demand(step % 16 == 0, f"{name}: a leading dimension of {step} bytes is no multiple of 16", NOT_SUPPORTED)
    for number in (31, 32, 33, 34, 37):
        demand(values.get(number, 0) == 0, "this stand-in knows one scale for a whole matrix alone", NOT_SUPPORTED)
    for number in (19, 20, 21, 36):
        demand(not values.get(number), f"a scale of {SCALES[number]}, which does not have 8 bits")
    for number in (17, 18):
        demand(values.get(number, 0) % 4 == 0, f"the scale of {SCALES[number]} is not aligned to its 4 bytes")
    demand(p.desc.epilogue in (1, BIAS), "this stand-in knows no epilogue of 8 bits but a bias", NOT_SUPPORTED)


def check_epilogue(p: Matmul) -> None:
    """Rules for an epilogue."""
    epilogue, values = p.desc.epilogue, p.desc.values
    demand(epilogue in EPILOGUES, f"there is no epilogue {epilogue}", NOT_SUPPORTED)
    uses_vector = epilogue & (BIAS | BGRAD | BGRADA | BGRADB)
    demand(not uses_vector or values.get(8), f"epilogue {epilogue} needs CUBLASLT_MATMUL_DESC_BIAS_POINTER")
    demand(uses_vector == 0 or values[8] % BIAS_ALIGNMENT == 0, "the bias is not aligned to 16 bytes", NOT_SUPPORTED)
    eight = p.a.type in (E4M3, E5M2)
    wanted = FLOAT8_RESULTS.get(p.d.type) if eight else p.d.type
    # With 8 bits the default is not documented for a float32 result, so the type must be said.
    given = values.get(26, -1)
    default = -1 if wanted == p.d.type or not uses_vector else wanted
    demand(given in (default, wanted), "the bias has another type than this product takes", NOT_SUPPORTED)
    if epilogue & AUX:
        leading = values.get(12, 0)
        bits = 128 if epilogue & (RELU | DRELU) else 8
        demand(values.get(11), f"epilogue {epilogue} needs CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER")
        demand(leading >= p.d.rows, f"the auxiliary matrix has leading dimension {leading} < {p.d.rows} rows of D")
        demand(leading % bits == 0, f"the auxiliary leading dimension {leading} is not divisible by {bits}")
        demand(values[11] % BIAS_ALIGNMENT == 0, "the auxiliary matrix is not aligned to 16 bytes", NOT_SUPPORTED)
        demand(p.d.batch == 1 or values.get(13, 0) > 0, "the auxiliary matrix has no batch stride")
    if uses_vector & (BGRAD | BGRADA | BGRADB):
        demand(p.d.batch == 1 or values.get(10, 0) > 0, "the vector of sums has no batch stride")


def check_preference(preference: Preference) -> None:
    """Wishes that the library would refuse."""
    for matrix in "abcd":
        wanted = preference.alignment(matrix)
        demand(wanted > 0 and wanted & (wanted - 1) == 0, f"alignment {wanted} of {matrix} is no power of two")


def extent(layout: Layout) -> int:
    """Bytes from the first number of a batch to behind its last one."""
    numbers = layout.stride * (layout.batch - 1) + layout.leading * (layout.columns - 1) + layout.rows
    return numbers * dtype_of(layout.type).itemsize


def overlap(first: tuple[int, int], second: tuple[int, int]) -> bool:
    """Whether two stretches of memory, each (address, bytes), share a byte."""
    return first[0] < second[0] + second[1] and second[0] < first[0] + first[1]
