"""Hypothesis strategies for the inputs of layers: distinct sizes, arrays in any layout, masks, padding, configurations.

Hypothesis draws a seed, and a NumPy generator with that seed draws the numbers. This is fast, and failures shrink to
small shapes and a small seed.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from hypothesis import reject
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from ..backend.arrays import Array
from ..errors import ConfigError
from .layouts import LAYOUTS, with_layout

VALUES = ("normal", "extreme", "special")

T = TypeVar("T")

__all__ = [
    "VALUES",
    "arrays",
    "configs",
    "distinct_sizes",
    "integer_arrays",
    "layouts",
    "lengths",
    "masks",
    "padded_tokens",
    "seeds",
    "shapes",
]


def seeds() -> SearchStrategy[int]:
    """Seeds for ``numpy.random.default_rng``."""
    return st.integers(0, 2**16 - 1)


def layouts() -> SearchStrategy[str]:
    """The names that ``with_layout`` takes, the plain one first."""
    return st.sampled_from(LAYOUTS)


def shapes(
    min_dims: int = 1, max_dims: int = 3, *, min_size: int = 1, max_size: int = 5
) -> SearchStrategy[tuple[int, ...]]:
    """Shapes with ``min_dims`` to ``max_dims`` axes of ``min_size`` to ``max_size`` elements."""
    return st.lists(st.integers(min_size, max_size), min_size=min_dims, max_size=max_dims).map(tuple)


@st.composite
def distinct_sizes(draw: DrawFn, *ranges: tuple[int, int]) -> tuple[int, ...]:
    """Sizes that are all different, so that no axis can be taken for another.

    Args:
        draw: given by Hypothesis.
        ranges: least and largest size of each axis.

    Example:
        ``B, T, C = data.draw(distinct_sizes((1, 4), (2, 6), (1, 8)))``
    """
    sizes: list[int] = []
    for low, high in ranges:
        free = [n for n in range(low, high + 1) if n not in sizes]
        if not free:
            raise ValueError(f"distinct_sizes{ranges}: the ranges are too narrow for different sizes")
        sizes.append(draw(st.sampled_from(free)))
    return tuple(sizes)


@st.composite
def arrays(
    draw: DrawFn,
    shape: tuple[int, ...] | SearchStrategy[tuple[int, ...]],
    dtype: Any = np.float64,
    *,
    layout: str | SearchStrategy[str] = "contiguous",
    values: str = "normal",
    scale: float = 1.0,
) -> Array:
    """Floating-point arrays.

    Args:
        draw: given by Hypothesis.
        shape: the shape, or a strategy for it.
        dtype: the dtype.
        layout: how it lies in memory, one of ``LAYOUTS`` or a strategy such as ``layouts()``.
        values: ``"normal"``; ``"extreme"`` for some 1e4, -1e4, zeros and subnormals among them; ``"special"``
            for some NaN and infinities.
        scale: standard deviation of the normal ones.
    """
    if values not in VALUES:
        raise ValueError(f"arrays: values={values!r}: use one of {', '.join(VALUES)}")
    shape = draw(shape) if isinstance(shape, SearchStrategy) else shape
    rng = np.random.default_rng(draw(seeds()))
    x = rng.standard_normal(shape) * scale
    if values != "normal":
        tiny = float(np.finfo(dtype).smallest_subnormal)
        odd = (1e4, -1e4, 0.0, -0.0, tiny, -tiny) if values == "extreme" else (np.nan, np.inf, -np.inf)
        x = np.where(rng.random(shape) < 0.3, rng.choice(odd, shape), x)
    return with_layout(x.astype(dtype), draw(layout) if isinstance(layout, SearchStrategy) else layout)


@st.composite
def integer_arrays(draw: DrawFn, shape: tuple[int, ...], size: int, dtype: Any = np.int64) -> Array:
    """Integers in [0, ``size``), such as token ids; with more elements than ``size`` some repeat."""
    return np.random.default_rng(draw(seeds())).integers(0, size, shape).astype(dtype)


@st.composite
def masks(draw: DrawFn, shape: Sequence[int], *, keep_one: bool = True) -> Array:
    """Boolean masks, True = may attend.

    Args:
        draw: given by Hypothesis.
        shape: the shape; the last axis counts keys.
        keep_one: whether each row may attend to something.
    """
    rng = np.random.default_rng(draw(seeds()))
    mask = rng.random(tuple(shape)) < draw(st.sampled_from([0.7, 0.3, 1.0]))
    if keep_one and mask.size:
        chosen = rng.integers(0, mask.shape[-1], mask.shape[:-1])  # one key for each row
        np.put_along_axis(mask, chosen[..., None], True, axis=-1)
    return mask


@st.composite
def lengths(draw: DrawFn, count: int, longest: int, *, shortest: int = 0, dtype: Any = np.int64) -> Array:
    """Lengths (``count``,) of sequences, such as ``key_lengths``, from ``shortest`` to ``longest``."""
    drawn = draw(st.lists(st.integers(shortest, longest), min_size=count, max_size=count))
    return np.array(drawn, dtype)


@st.composite
def padded_tokens(
    draw: DrawFn, shape: tuple[int, int], size: int, *, pad: int = 0, shortest: int = 1, dtype: Any = np.int64
) -> Array:
    """Token ids (B, T), each row followed by padding up to T.

    Args:
        draw: given by Hypothesis.
        shape: (B, T).
        size: tokens are in [0, ``size``), and none of them is ``pad``.
        pad: the id of padding.
        shortest: least number of tokens in a row.
        dtype: the dtype.
    """
    (B, T), rng = shape, np.random.default_rng(draw(seeds()))
    real = np.array([token for token in range(size) if token != pad])
    inside = np.arange(T) < draw(lengths(B, T, shortest=shortest))[:, None]  # (B, T)
    return np.where(inside, rng.choice(real, shape), pad).astype(dtype)


def configs(config: type[T], **fields: SearchStrategy[Any]) -> SearchStrategy[T]:
    """Configurations that their dataclass accepts.

    Fields without a strategy take one by their type: flags are both, whole numbers are 1 to 4, what may be ``None``
    sometimes is, and anything else keeps its default. What the constructor refuses with ``ConfigError`` is drawn again.

    Args:
        config: a dataclass, such as ``GPTConfig``, that checks its fields when it is made.
        fields: strategies by name of the field.

    Raises:
        ValueError: if a name is no field, or a field needs a strategy: it has no default, and a type that says little.

    Example:
        ``config = data.draw(configs(GPTConfig, n_embd=st.sampled_from([4, 8]), dropout=st.just(0.0)))``
    """
    known = {field.name: field for field in dataclasses.fields(config) if field.init}  # type: ignore[arg-type]
    if unknown := sorted(fields.keys() - known.keys()):
        raise ValueError(f"configs: {config.__name__} has no field {unknown[0]}; it has {', '.join(known)}")
    hints = typing.get_type_hints(config)
    chosen: dict[str, SearchStrategy[Any]] = {}
    for name, field in known.items():
        strategy = fields[name] if name in fields else _by_type(hints[name])
        has_default = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        if strategy is not None:
            chosen[name] = strategy
        elif not has_default:
            raise ValueError(f"configs: give a strategy for {name} of {config.__name__}, which has no default")
    return _accepted(config, st.fixed_dictionaries(chosen))


def _by_type(hint: Any) -> SearchStrategy[Any] | None:
    """Values of a type; ``None`` if the type says too little."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        arms = [_by_type(arm) for arm in typing.get_args(hint)]
        return None if any(arm is None for arm in arms) else st.one_of(*(arm for arm in arms if arm is not None))
    if typing.get_origin(hint) is typing.Literal:
        return st.sampled_from(typing.get_args(hint))
    simple: dict[Any, SearchStrategy[Any]] = {bool: st.booleans(), int: st.integers(1, 4), type(None): st.none()}
    return simple.get(hint)


@st.composite
def _accepted(draw: DrawFn, config: type[T], fields: SearchStrategy[dict[str, Any]]) -> T:
    try:
        return config(**draw(fields))
    except ConfigError:
        reject()
