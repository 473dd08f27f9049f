"""The contract of an operation: what ``@op`` does for the forward/backward pairs in this package.

The file of an operation holds its formula and nothing else::

    @op("x: *N C; weight: C; bias: C")
    def layer_norm_forward(x, weight, bias, *, eps=1e-5): ...      # -> out, cache

    @op("cache.x: *N C; dout: *N C")
    def layer_norm_backward(dout, cache): ...                      # -> dx, dweight, dbias

The decorator does the rest:

1. **It checks.** The string names each array argument and its dimensions. Equal letters must be equal sizes, ``*N``
   stands for any number of leading dimensions, ``1`` for itself; ``int`` before the dimensions asks for integers. All
   floating arrays of a call share one dtype and one device. ``half`` before the dimensions marks an operand of a
   product, which may have 16 bits beside float32 arrays (``backend/precision.py``). A call that breaks a rule is told
   which argument, and why.
2. **It dispatches.** If ``minitrain.kernels.cpu`` has a function of the same name in a file of the same name, and
   the arrays are float32 NumPy arrays, that *twin* gets the call; ``minitrain.kernels.cuda`` serves CuPy arrays in the
   same way. A twin may decline by returning ``NotImplemented``. A forward twin returns the cache as a plain tuple
   of its fields; the decorator makes the named tuple.
3. **It serves ``into``.** Each backward takes ``into=`` with one entry per gradient, which says where the gradient
   goes. The reference computes fresh gradients, which are copied or added. A twin writes them in place, so the buffers
   must not overlap what it reads (see ``Into``). Calls with one array for two gradients go to the reference.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import typing
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar, cast

import numpy as np

from ...backend.arrays import is_array, is_cupy
from ...backend.kernels_mode import kernels_enabled
from ...backend.precision import is_half
from ...backend.targets import SKIP, Into, Skip, Target, TargetError, deliver
from ...errors import ShapeError
from ...random import Key
from .array_spec import ArraySpec, check_arrays, parse_spec

__all__ = [
    "SKIP",
    "Into",
    "Observer",
    "Operation",
    "Pair",
    "Skip",
    "Target",
    "find_twin",
    "observe",
    "op",
    "registry",
    "with_twin",
]


class Pair(NamedTuple):
    """An operation: a forward and its backward."""

    name: str
    forward: Callable[..., Any]
    backward: Callable[..., Any]


_FUNCTIONS: dict[str, Callable[..., Any]] = {}


def registry() -> dict[str, Pair]:
    """All operations by name, each a forward with its backward. Import ``minitrain.ops`` first."""
    names = [name.removesuffix("_forward") for name in _FUNCTIONS if name.endswith("_forward")]
    return {name: Pair(name, _FUNCTIONS[f"{name}_forward"], _FUNCTIONS[f"{name}_backward"]) for name in names}


Observer: TypeAlias = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]
"""Receives a function, its arguments and its options instead of the call, and returns what the call returns."""

_observer: Observer | None = None


def observe(observer: Observer | None) -> Observer | None:
    """Pass each call of an operation or update to ``observer`` from now on; ``None`` stops that.

    The observer makes the call itself, after ``observe(None)``, so that operations called inside count as part of it.
    Without an observer, a call costs one more check of a variable. ``minitrain.profiling`` uses this.

    Returns:
        The previous observer.
    """
    global _observer
    before, _observer = _observer, observer
    return before


R = TypeVar("R")


class Operation(Protocol[R]):
    """The result of ``@op``: a function that is called as before; a backward takes ``into=`` too."""

    spec: tuple[ArraySpec, ...]
    """The array arguments and their dimensions."""
    reference: Callable[..., R]
    """The undecorated array code."""
    twin: Callable[..., Callable[..., Any] | None]
    """``twin("cpu")``: the kernel of the same name for NumPy arrays, ``twin("cuda")`` for CuPy arrays; or ``None``."""

    def __call__(self, *args: Any, **options: Any) -> R:
        """Check, dispatch and serve ``into``."""


def op(spec: str, *, check: Callable[..., None] | None = None) -> Callable[[Callable[..., R]], Operation[R]]:
    """Turn a reference function into an operation; see the module's docstring.

    Args:
        spec: the array arguments and their dimensions.
        check: a further check, called with the function's arguments; it raises ``ShapeError``. It may use only shapes,
            dtypes and plain options: a call that equals an earlier one in these is not checked again.
    """
    return lambda reference: _wrap(reference, parse_spec(spec), check)


def _wrap(reference: Callable[..., R], spec: tuple[ArraySpec, ...], check: Callable[..., None] | None) -> Operation[R]:
    name = reference.__name__
    signature = inspect.signature(reference)
    parameters = signature.parameters
    positions = {parameter: i for i, parameter in enumerate(parameters)}
    accessors = [(entry, positions[entry.path.partition(".")[0]], entry.path.partition(".")[2]) for entry in spec]
    twin_of = functools.cache(lambda device="cpu": find_twin(reference, device))
    defaults = tuple(p.default for p in parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD)
    array_names = {entry.path for entry in spec}
    cache_at = positions.get("cache")
    cache_kind = functools.cache(lambda: typing.get_type_hints(reference)["cache"])
    checked: dict[tuple[Any, ...], str] = {}  # by the arguments' metadata: each kind of call is checked once

    def check_call(args: tuple[Any, ...], options: dict[str, Any]) -> str:
        """Check the arguments; return whose twins may take them, ``"cpu"``, ``"cuda"`` or nobody's (``""``)."""
        if cache_at is not None and not isinstance(args[cache_at], cache_kind()):
            raise ShapeError(
                f"{name}: cache must be the {cache_kind().__name__} that {name.removesuffix('_backward')}_forward "
                f"returned last, got {type(args[cache_at]).__name__}"
            )
        arrays = [getattr(args[i], field) if field else args[i] for _, i, field in accessors]
        known = (*map(_metadata, arrays), *map(_metadata, options.values()), *options)
        fits = checked.get(known)
        if fits is None:
            check_arrays(name, spec, arrays)
            key = options.get("key")
            if not isinstance(key, Key | None):
                raise ShapeError(f"{name}: key must be a Key or None, got {type(key).__name__}; use Key.from_seed(0)")
            if check is not None:
                try:
                    check(*args, **options)
                except TypeError as error:
                    raise explain(error, args, options) from error
            fits = _twins_for(spec, arrays)
            if len(checked) > 1000:  # bound the cache if shapes keep changing
                checked.clear()
            checked[known] = fits
        return fits

    def explain(error: TypeError, args: tuple[Any, ...], options: dict[str, Any]) -> Exception:
        """The error to raise if ``check`` failed: an argument is missing or unknown, or has a wrong type."""
        try:
            signature.bind(*args, **options)
        except TypeError as wrong:
            return TypeError(f"{name}: {wrong}")
        given = ", ".join(f"{option} = {value!r}" for option, value in options.items() if not is_array(value))
        return ShapeError(f"{name}: an option is of the wrong kind among {given} ({error})")

    def to_positional(args: tuple[Any, ...], options: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Move array arguments given by keyword, or left at their defaults, to their positions."""
        if array_names.isdisjoint(options) and inspect.Parameter.empty not in defaults[len(args) :]:
            return args + defaults[len(args) :], options
        try:
            bound = signature.bind(*args, **options)
        except TypeError as error:
            raise TypeError(f"{name}: {error}") from None
        bound.apply_defaults()
        return bound.args, bound.kwargs

    @functools.wraps(reference)
    def forward(*args: Any, **options: Any) -> Any:
        if _observer is not None:
            return _observer(forward, args, options)
        if len(args) != len(defaults):
            args, options = to_positional(args, options)
        device = check_call(args, options)
        if device and kernels_enabled() and (twin := twin_of(device)) is not None:
            result = twin(*args, **options)
            if result is not NotImplemented:
                return tuple(value if kind is None else kind(*value) for kind, value in zip(kinds, result, strict=True))
        return reference(*args, **options)

    @functools.wraps(reference)
    def backward(*args: Any, into: Sequence[Target] | None = None) -> Any:
        if _observer is not None:
            return _observer(backward, args, {"into": into})
        targets = (None,) * gradients if into is None else tuple(into)
        if len(targets) != gradients:
            raise ShapeError(f"{name}: into has {len(targets)} entries; give {gradients}, one for each gradient")
        if len(args) != len(parameters):
            raise TypeError(f"{name} takes ({', '.join(parameters)}), got {len(args)} arguments")
        try:
            device = check_call(args, {})
            fits = device and kernels_enabled() and not _share_buffer(targets)
            if fits and (twin := twin_of(device)) is not None:
                result = twin(*args, into=targets)
                if result is not NotImplemented:
                    return result
            result = reference(*args)
            if gradients == 1:
                return deliver(cast("Any", result), targets[0])
            return tuple(
                None if g is None else deliver(g, t) for g, t in zip(cast("Any", result), targets, strict=True)
            )
        except TargetError as error:
            raise ShapeError(f"{name}: {error}") from None

    if name.endswith("_forward"):
        returned = typing.get_type_hints(reference)["return"].__args__
        kinds = [kind if hasattr(kind, "_fields") else None for kind in returned]  # the named tuples among the results
        wrapper: Callable[..., Any] = forward
    elif name.endswith("_backward"):
        returned = typing.get_type_hints(reference)["return"]
        gradients = len(returned.__args__) if typing.get_origin(returned) is tuple else 1
        wrapper = backward
    else:
        raise TypeError(f"@op: {name} must end in _forward or _backward")
    wrapper.spec = spec  # type: ignore[attr-defined]
    wrapper.reference = reference  # type: ignore[attr-defined]
    wrapper.twin = twin_of  # type: ignore[attr-defined]
    _FUNCTIONS[name] = wrapper
    return cast("Operation[R]", wrapper)


def _metadata(x: Any) -> Any:
    """The part of an argument that checks may read: an array's type, dtype and shape; a plain value; else the type."""
    if is_array(x):
        return type(x), x.dtype, x.shape
    return x if x is None or isinstance(x, bool | int | float | str) else type(x)


def _twins_for(spec: tuple[ArraySpec, ...], arrays: Sequence[Any]) -> str:
    """The device whose twins may take these arrays, all of float32 or integers; ``""`` if there is none."""
    given = [(entry, x) for entry, x in zip(spec, arrays, strict=True) if x is not None]
    if not all(x.dtype == np.float32 or x.dtype.kind in "iu" or (entry.half and is_half(x)) for entry, x in given):
        return ""
    if all(type(x) is np.ndarray for _, x in given):
        return "cpu"
    return "cuda" if all(is_cupy(x) for _, x in given) else ""


def _share_buffer(targets: tuple[Target, ...]) -> bool:
    """Whether two gradients go to the same buffer: a twin might read it before the other gradient is written."""
    buffers = [id(target.buffer) for target in targets if isinstance(target, Into)]
    return len(buffers) > 1 and len(set(buffers)) < len(buffers)


def find_twin(reference: Callable[..., Any], device: str = "cpu") -> Callable[..., Any] | None:
    """The kernel of a reference function for arrays of a device (``"cpu"`` or ``"cuda"``), or ``None`` if it has none.

    ``minitrain/ops/norms/layer_norm.py`` has its kernels in ``minitrain/kernels/cpu/norms/layer_norm.py`` and
    ``minitrain/kernels/cuda/norms/layer_norm.py``, under the same names.
    """
    place = reference.__module__.split(".", 2)[2]  # minitrain.ops.norms.layer_norm -> norms.layer_norm
    module = f"minitrain.kernels.{device}.{place}"
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # no operation of this family has kernels
        found = None
    return None if found is None else getattr(importlib.import_module(module), reference.__name__, None)


def with_twin(reference: Callable[..., R], dtype: Any = np.float32) -> Callable[..., R]:
    """Dispatch for a function that is no forward/backward pair, such as an optimizer's update.

    A function of the same name and file in ``minitrain.kernels.cpu`` gets the call if every array is a C-contiguous
    NumPy array of ``dtype``, and one in ``minitrain.kernels.cuda`` if every array is such an array of CuPy. Arrays
    that are passed by name are not looked at.
    """
    twin_of = functools.cache(lambda device="cpu": find_twin(reference, device))

    @functools.wraps(reference)
    def call(*args: Any, **options: Any) -> R:
        if _observer is not None:
            return cast("R", _observer(call, args, options))
        arrays = [a for a in args if is_array(a)]
        if kernels_enabled() and all(a.dtype == dtype and a.flags.c_contiguous for a in arrays):
            on_gpu = any(map(is_cupy, arrays))
            fits = all(is_cupy(a) is on_gpu for a in arrays)
            if fits and (twin := twin_of("cuda" if on_gpu else "cpu")) is not None:
                result = twin(*args, **options)
                if result is not NotImplemented:
                    return result  # type: ignore[no-any-return]
        return reference(*args, **options)

    call.reference = reference  # type: ignore[attr-defined]
    call.twin = twin_of  # type: ignore[attr-defined]
    return call
