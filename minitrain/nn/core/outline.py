"""The parts of a module, their parameters, shapes and sizes, as text and as a tree that folds."""

from __future__ import annotations

from typing import Any, NamedTuple

from ...display.markup import Html, block, code, element, joined, quiet, shown
from ...formats import size as in_bytes
from .parameter import Parameter

INDENT = "margin-left:1.3em"


class OutlineWeight(NamedTuple):
    """A parameter of a part."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    size: int  # 0 if it is tied
    nbytes: int
    trainable: bool
    tied: str  # the path where it was counted; empty for the first one

    def __str__(self) -> str:
        marks = [f"tied to {self.tied}"] * bool(self.tied) + ["frozen"] * (not self.trainable)
        return f"{self.name} {self.shape}" + "".join(f", {mark}" for mark in marks)


class Outline(NamedTuple):
    """A module and all that is in it; printed, it is a tree.

    Neighbours in a list that are alike in everything but their weights' values are one part with ``copies``.

    Attributes:
        name: its attribute in the module above; empty for the module itself.
        kind: its class.
        weights: its own parameters.
        parts: the modules in it.
        copies: how many such parts there are.
    """

    name: str
    kind: str
    weights: tuple[OutlineWeight, ...]
    parts: tuple[Outline, ...]
    copies: int = 1

    @property
    def size(self) -> int:
        """Number of weights; shared ones count once."""
        return self.copies * (sum(w.size for w in self.weights) + sum(part.size for part in self.parts))

    @property
    def nbytes(self) -> int:
        """Memory of the weights."""
        return self.copies * (sum(w.nbytes for w in self.weights) + sum(part.nbytes for part in self.parts))

    def __str__(self) -> str:
        return "\n".join(self._lines(""))

    @shown
    def _repr_html_(self) -> str:
        return block(folded(self))

    def _lines(self, indent: str) -> list[str]:
        name = f"{self.name}: {_kind(self)}" if self.name else self.kind
        own = f": {'; '.join(map(str, self.weights))}" if self.weights else ""
        line = f"{indent}{name}{own}  {_size(self)}".rstrip()
        return [line, *(line for part in self.parts for line in part._lines(indent + "  "))]


def folded(tree: Outline, whole: int | None = None) -> Html:
    """A tree whose parts open on a click.

    Args:
        tree: the module.
        whole: the number of weights of the module that it is a part of; ``None`` for the module itself.
    """
    whole, indent = (tree.size, "") if whole is None else (whole, INDENT)
    name = [code(tree.name), Html("&ensp;")] if tree.name else []
    share = f" ({tree.size / whole:.1%})" if tree.name and tree.size else ""
    line = joined([*name, element("b", _kind(tree)), Html("&ensp;"), quiet(_size(tree) + share)])
    if not tree.parts:
        own = [Html("&ensp;"), code("; ".join(map(str, tree.weights)))] if tree.weights else []
        return element("div", line, *own, style=indent)
    inside = [element("div", code(str(weight)), style=INDENT) for weight in tree.weights]
    inside += [folded(part, whole) for part in tree.parts]
    opened = {} if tree.name else {"open": "open"}
    summary = element("summary", line, style="cursor:pointer")
    return element("details", summary, *inside, class_="minitrain", style=indent, **opened)


def _kind(tree: Outline) -> str:
    return f"{tree.copies} × {tree.kind}" if tree.copies > 1 else tree.kind


def _size(tree: Outline) -> str:
    """The number of weights; of the module itself, also their memory and types."""
    if not tree.name:
        dtypes = "".join(f", {dtype}" for dtype in sorted(_dtypes(tree)))
        return f"{tree.size:,} weights, {in_bytes(tree.nbytes)}{dtypes}"
    if tree.copies > 1 and tree.size:
        return f"{tree.copies} × {tree.size // tree.copies:,} = {tree.size:,}"
    return f"{tree.size:,}" if tree.size else ""


def _dtypes(tree: Outline) -> set[str]:
    return {weight.dtype for weight in tree.weights}.union(*map(_dtypes, tree.parts))


def outline(module: Any) -> Outline:
    """The parts of a module, with the shapes and sizes of their parameters.

    A notebook shows it as a tree that folds, as it shows the module itself.

    Args:
        module: a `Module`.

    Returns:
        The tree; its ``size`` is that of ``module.parameter_count()``.

    Raises:
        ConfigError: if parameters are where a module does not find them.

    Example:
        >>> import numpy as np
        >>> from minitrain.nn import FeedForward
        >>> print(outline(FeedForward(4, 16, np.random.default_rng(0))))
        FeedForward  148 weights, 592 bytes, float32
          up: Linear: weight (16, 4); bias (16,)  80
          down: Linear: weight (4, 16); bias (4,)  68
    """
    return _outline(module, "", "", {})


def _outline(module: Any, name: str, path: str, seen: dict[int, str]) -> Outline:
    weights, parts = [], list[Outline]()
    for member_name, member in module._members():
        place = f"{path}{member_name}"
        if isinstance(member, Parameter):
            weights.append(_weight(member, member_name, seen.get(id(member), "")))
            seen.setdefault(id(member), place)
        else:
            _add(parts, _outline(member, member_name, f"{place}.", seen))
    return Outline(name, type(module).__name__, tuple(weights), tuple(parts))


def _weight(parameter: Parameter, name: str, tied: str) -> OutlineWeight:
    data = parameter.data
    size, nbytes = (0, 0) if tied else (data.size, data.nbytes)
    return OutlineWeight(name, tuple(data.shape), str(data.dtype), size, nbytes, parameter.trainable, tied)


def _add(parts: list[Outline], new: Outline) -> None:
    """Append a part, or count it as a copy of the last one: ``blocks.0`` and ``blocks.1`` become ``blocks.0–1``."""
    listed, _, number = new.name.rpartition(".")
    last = parts[-1] if parts else None
    alike = last is not None and new._replace(name="") == last._replace(name="", copies=1)
    if last is not None and alike and listed and last.name.rpartition(".")[0] == listed:
        first = last.name.rpartition(".")[2].partition("–")[0]
        parts[-1] = last._replace(name=f"{listed}.{first}–{number}", copies=last.copies + 1)
    else:
        parts.append(new)
