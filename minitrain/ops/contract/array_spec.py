"""The string given to ``@op``: the arrays that an operation takes, their dimensions, and the check of a call.

``"x: *N C; weight: C; tokens: int *N"`` names each array argument and its dimensions, see ``op.py``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ...backend.arrays import check_array, device_of
from ...backend.precision import is_half
from ...errors import DeviceError, ShapeError


class ArraySpec(NamedTuple):
    """One entry of the string given to ``@op``."""

    path: str  # the argument's name, or "cache.x" for a field of the cache
    integer: bool
    half: bool  # may have 16 bits beside float32 arrays: it is the operand of a product
    lead: str | None  # name of the leading dimensions, for "*N"
    dims: tuple[str, ...]


def parse_spec(spec: str) -> tuple[ArraySpec, ...]:
    """Parse ``"x: *N C; tokens: int *N"`` into its entries."""
    entries = []
    for entry in filter(None, (part.strip() for part in spec.split(";"))):
        path, _, right = entry.partition(":")
        words = right.split()
        kind = words[0] if words and words[0] in ("int", "half") else ""
        words = words[bool(kind) :]
        lead = words[0][1:] if words and words[0].startswith("*") else None
        entries.append(ArraySpec(path.strip(), kind == "int", kind == "half", lead, tuple(words[lead is not None :])))
    return tuple(entries)


def check_arrays(name: str, spec: tuple[ArraySpec, ...], arrays: list[Any]) -> None:
    """Raise an error for the first rule of the contract that the arrays break."""
    first: tuple[str, Any] | None = None  # the first floating array: it sets device and dtype
    known: dict[str, tuple[tuple[int, ...], str]] = {}  # dimension name -> sizes, and the array that set them
    device: tuple[str, str] | None = None
    halves: list[tuple[str, Any]] = []
    for entry, x in zip(spec, arrays, strict=True):
        label = entry.path
        if x is None:
            continue
        check_array(f"{name}: {label}", x)
        if device is None:
            device = (label, device_of(x))
        elif device_of(x) != device[1]:
            raise DeviceError(
                f"{name}: {label} is on {device_of(x)} but {device[0]} is on {device[1]}; "
                f"move it with minitrain.backend.to_device({label}, {device[1].partition(':')[0]!r})"
            )
        if entry.integer:
            if x.dtype.kind not in "iu":
                raise ShapeError(f"{name}: {label} must hold integers, got {x.dtype}; convert it with .astype('int32')")
        elif entry.half and is_half(x):
            halves.append((label, x))
        elif x.dtype.kind != "f":
            raise ShapeError(
                f"{name}: {label} must be floating point, got {x.dtype}; convert it with .astype('float32')"
            )
        elif first is None:
            first = (label, x)
        elif x.dtype != first[1].dtype:
            wider, narrower = sorted([(label, x), first], key=lambda named: named[1].dtype.itemsize, reverse=True)
            raise ShapeError(
                f"{name}: {label} is {x.dtype} but {first[0]} is {first[1].dtype}; "
                f"convert one of them, e.g. {wider[0]}.astype({narrower[1].dtype.name!r})"
            )
        _check_shape(name, entry, x.shape, known)
    if halves and first is not None and first[1].dtype.itemsize > 4:
        (label, x), (other, y) = halves[0], first
        raise ShapeError(
            f"{name}: {label} is {x.dtype} but {other} is {y.dtype}, and 16 bits go with float32 only; "
            f"convert one of them, e.g. {label}.astype({y.dtype.name!r})"
        )


def _check_shape(
    name: str, entry: ArraySpec, shape: tuple[int, ...], known: dict[str, tuple[tuple[int, ...], str]]
) -> None:
    wanted = " ".join([f"*{entry.lead}"] * (entry.lead is not None) + list(entry.dims))
    trailing = len(entry.dims)
    if len(shape) < trailing or (entry.lead is None and len(shape) != trailing):
        raise ShapeError(f"{name}: {entry.path} has shape {shape}, expected {trailing} dimensions ({wanted})")
    split = len(shape) - trailing
    named = [(f"*{entry.lead}", shape[:split])] if entry.lead is not None else []
    named += [(dim, (size,)) for dim, size in zip(entry.dims, shape[split:], strict=True)]
    for dim, sizes in named:
        expected, source = known.setdefault(dim, ((int(dim),) if dim.isdecimal() else sizes, entry.path))
        if sizes != expected:
            what = f"{dim} = {expected}" if dim.startswith("*") else f"{dim} = {expected[0]}"
            raise ShapeError(f"{name}: {entry.path} has shape {shape}, expected ({wanted}) with {what} as in {source}")
