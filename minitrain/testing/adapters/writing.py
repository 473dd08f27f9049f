"""Pairs of functions that write their results into arrays they are given, as kernels and C functions do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...backend.arrays import Array, array_module, is_array
from ..refusals import is_floating
from ..report import GradientCheckError
from .c_functions import c_function, is_c_function

Pair = tuple[Callable[..., Any], Callable[..., Any]]


def writing_pair(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    *,
    inputs: str,
    forward_takes: str,
    backward_takes: str,
    outputs: Callable[..., Mapping[str, tuple[int, ...]]],
    sizes: Callable[..., Mapping[str, int]] | None = None,
    scratch: str = "",
) -> Pair:
    """Make ``(forward, backward)`` for ``check_gradients`` out of two functions that write into arrays.

    Outputs are filled with NaN before the forward, so an element that it does not write is noticed. Gradients are
    filled with zeros before the backward, so it may write or add.

    Args:
        forward: a numba function, a C function through ctypes, a CUDA kernel by ``raw_kernel``, or any callable.
        backward: likewise.
        inputs: the names of the inputs, in the order in which ``check_gradients`` gets them, such as ``"x weight"``.
        forward_takes: the arguments of the forward in its own order: names of inputs, outputs and sizes.
        backward_takes: those of the backward. ``dNAME`` is the gradient of ``NAME``: read if it is an output, written
            if it is an input. An output without one in there is saved for the backward and not checked.
        outputs: given the inputs by name, the shapes of the outputs by name.
        sizes: given the inputs by name, the whole numbers that the functions take.
        scratch: names in ``backward_takes`` such as ``"dscores"``: memory of the shape of an output, zero at first,
            that the backward needs for itself. The output ``scores`` is then not checked.

    Returns:
        A pair for ``check_gradients``.

    Raises:
        GradientCheckError: if a name in ``backward_takes`` or ``forward_takes`` is unknown, when the pair is used.

    Example:
        ```python
        pair = writing_pair(
            library.gelu_forward, library.gelu_backward,
            inputs="x", forward_takes="out x n", backward_takes="dx x dout n",
            outputs=lambda x: {"out": x.shape}, sizes=lambda x: {"n": x.size},
        )
        check_gradients(pair, np.linspace(-3, 3, 12))
        ```
    """
    subject = _Writing(
        c_function(forward) if is_c_function(forward) else forward,
        c_function(backward) if is_c_function(backward) else backward,
        inputs.split(),
        forward_takes.split(),
        backward_takes.split(),
        outputs,
        sizes or (lambda **_: {}),
        scratch.split(),
    )
    return subject.pair()


class _Writing:
    def __init__(
        self,
        forward: Callable[..., Any],
        backward: Callable[..., Any],
        inputs: Sequence[str],
        forward_takes: Sequence[str],
        backward_takes: Sequence[str],
        outputs: Callable[..., Mapping[str, tuple[int, ...]]],
        sizes: Callable[..., Mapping[str, int]],
        scratch: Sequence[str],
    ) -> None:
        self._forward, self._backward, self._inputs = forward, backward, inputs
        self._forward_takes, self._backward_takes = forward_takes, backward_takes
        self._outputs, self._sizes, self._scratch = outputs, sizes, scratch

    def pair(self) -> Pair:
        """The two functions, with the names of the inputs in the signature of the forward."""
        # A signature is made of names, and inspect reads it from here.
        import inspect

        def forward(*values: Any) -> tuple[Any, ...]:
            known = self._known(values)
            first = next(x for x in values if is_array(x) and is_floating(x))
            xp = array_module(first)
            made = {name: xp.full(shape, xp.nan, first.dtype) for name, shape in self._shapes(known).items()}
            self._call(self._forward, "forward_takes", self._forward_takes, known | made)
            checked = [out for name, out in made.items() if self._is_checked(name)]
            if not checked:
                raise GradientCheckError(
                    "backward_takes names the gradient of no output: with an output named out, call it dout"
                )
            return (*checked, {"known": known | made, "outputs": list(made)})

        def backward(*douts_and_cache: Any) -> list[Any]:
            *douts, cache = douts_and_cache
            known: dict[str, Any] = dict(cache["known"])
            taken = [name for name in cache["outputs"] if self._is_checked(name)]
            known |= {f"d{name}": dout for name, dout in zip(taken, douts, strict=True)}
            for name in self._scratch:
                if name.removeprefix("d") in cache["outputs"]:
                    known[name] = array_module(douts[0]).zeros_like(known[name.removeprefix("d")])
            gradients: list[Array | None] = []
            for name in self._inputs:
                wanted = f"d{name}" in self._backward_takes
                gradients.append(array_module(known[name]).zeros_like(known[name]) if wanted else None)
                if wanted:
                    known[f"d{name}"] = gradients[-1]
            self._call(self._backward, "backward_takes", self._backward_takes, known)
            return gradients

        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        signature = inspect.Signature([inspect.Parameter(name, kind) for name in self._inputs])
        forward.__signature__ = signature  # type: ignore[attr-defined]
        return forward, backward

    def _is_checked(self, output: str) -> bool:
        return f"d{output}" in self._backward_takes and f"d{output}" not in self._scratch

    def _known(self, values: Sequence[Any]) -> dict[str, Any]:
        named = dict(zip(self._inputs, values, strict=True))
        return named | dict(self._sizes(**named))

    def _shapes(self, known: Mapping[str, Any]) -> Mapping[str, tuple[int, ...]]:
        return self._outputs(**{name: known[name] for name in self._inputs})

    def _call(self, function: Callable[..., Any], what: str, names: Sequence[str], known: Mapping[str, Any]) -> None:
        if unknown := [name for name in names if name not in known]:
            raise GradientCheckError(
                f"{what} names {unknown[0]}, which is no input, output, size or gradient of one: "
                f"there are {', '.join(known)}"
            )
        function(*(known[name] for name in names))
