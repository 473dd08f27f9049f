"""The names of the emulated library: functions of CuPy that minitrain calls, and those around them."""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


UFUNCS = _words("""
    abs absolute add arctan arctan2 bitwise_and bitwise_or bitwise_xor ceil copysign cos cosh divide equal exp
    exp2 expm1 fabs floor floor_divide fmax fmin greater greater_equal hypot invert isfinite isinf isnan ldexp
    left_shift less less_equal log log10 log1p log2 logaddexp logical_and logical_not logical_or logical_xor
    maximum minimum mod multiply negative nextafter not_equal positive power reciprocal remainder right_shift
    rint sign signbit sin sinh sqrt square subtract tan tanh true_divide trunc
""")
"""Functions of each element."""
PLAIN = _words("""
    all allclose any argmax argmin argpartition argsort around array_equal average broadcast_to clip
    column_stack concatenate copy count_nonzero cumprod cumsum diag diff dot einsum expand_dims flip hstack
    inner isneginf isposinf matrix_transpose max mean median min moveaxis nan_to_num ndim outer pad partition
    percentile permute_dims prod ptp ravel repeat reshape roll round searchsorted shape size sort split squeeze
    stack std sum swapaxes take tensordot tile trace transpose tri tril triu var vstack
""")
"""Functions that NumPy computes as they are."""
SELECTIONS = _words("""
    argwhere flatnonzero nonzero unique compress extract
""")
"""Functions whose result has a size that only the device knows: the host waits for it."""
CONSTANTS = _words("""
    bool_ complex64 complex128 dtype e finfo float16 float32 float64 iinfo inf int8 int16 int32 int64 isscalar
    issubdtype nan newaxis pi promote_types result_type uint8 uint16 uint32 uint64
""")
"""Numbers, types, and functions of types."""
METHODS = _words("""
    all any argmax argmin argpartition argsort clip copy cumprod cumsum dot flatten max mean min prod ptp ravel
    repeat round searchsorted squeeze std sum swapaxes take trace var
""")
"""Methods of arrays that NumPy computes as they are."""
