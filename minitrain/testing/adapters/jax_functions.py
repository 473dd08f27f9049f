"""Check what JAX's ``vjp`` computes, of a function with a ``custom_vjp`` or without."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...backend.arrays import Array
from ..differences import largest
from ..pairs import Parameters, check
from ..report import GradientCheckError, GradientReport
from ..settings import DEFAULT, CheckSettings

SAME = 1e-12  # how far the values of a function and of its fwd rule may be apart, relative to the largest


def check_jax(
    function: Callable[..., Any], *inputs: Any, settings: CheckSettings = DEFAULT, **options: Any
) -> GradientReport:
    """Check the reverse-mode gradients of a JAX function.

    The check runs in float64, with ``jax_enable_x64`` for its own time. The function is differentiated as ``jax.vjp``
    does it, by the rules of a ``custom_vjp`` where there is one. The function's own value and that of its ``fwd`` rule
    are compared, too.

    Args:
        function: takes arrays and pytrees of arrays, and returns such.
        inputs: the positional arguments. Floating-point arrays in them, at any depth, are checked. Anything that is no
            array, such as a Python number, is passed on unchanged.
        settings: how closely to check.
        options: keyword arguments of the function, not differentiated.

    Returns:
        The worst relative error of each array, by its argument and path, such as ``params['w']``.

    Raises:
        GradientMismatch: if a gradient is wrong.
        GradientCheckError: if it cannot be checked: see ``check_gradients``; also if ``fwd`` gives another value.

    Example:
        ```python
        @jax.custom_vjp
        def cube(x):
            return x**3

        cube.defvjp(lambda x: (x**3, x), lambda x, dout: (3 * x**2 * dout,))
        print(check_jax(cube, np.linspace(-1, 1, 5)))
        ```
    """
    __tracebackhide__ = True  # of pytest: the message says it all
    jax = _jax()
    with _double_precision(jax):
        tree = _Tree(jax, function, inputs)
        subject = _Subject(jax, function, tree, settings)
        return check(subject.forward, subject.backward, tree.arrays, options, Parameters(), settings, names=tree.names)


def _jax() -> Any:
    try:
        import jax
    except ImportError:
        raise GradientCheckError("check_jax needs JAX: pip install jax") from None
    return jax


def _double_precision(jax: Any) -> Any:
    """A context in which JAX has float64; its name has changed."""
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    from jax.experimental import enable_x64

    return enable_x64()


class _Tree:
    """The arrays within positional arguments, by name, and how to put them back."""

    def __init__(self, jax: Any, function: Callable[..., Any], inputs: Sequence[Any]) -> None:
        names = _parameter_names(function, len(inputs))
        self._leaves: list[Any] = []
        self._structures: list[tuple[Any, int]] = []
        self._jax, self._places = jax, []
        self.names: list[str] = []
        self.arrays: list[Array] = []
        for name, x in zip(names, inputs, strict=True):
            found, structure = jax.tree_util.tree_flatten_with_path(x)
            self._structures.append((structure, len(found)))
            for path, leaf in found:
                if isinstance(leaf, np.ndarray | jax.Array):
                    self._places.append(len(self._leaves))
                    self.names.append(name + jax.tree_util.keystr(path))
                    array = np.asarray(leaf)
                    # bfloat16 is no floating-point type to NumPy.
                    floating = jax.numpy.issubdtype(leaf.dtype, np.floating)
                    self.arrays.append(array.astype(np.float64) if floating else array)
                self._leaves.append(leaf)

    def arguments(self, arrays: Sequence[Any]) -> list[Any]:
        """The positional arguments with other arrays in them."""
        leaves = list(self._leaves)
        for place, array in zip(self._places, arrays, strict=True):
            leaves[place] = array
        arguments, start = [], 0
        for structure, count in self._structures:
            arguments.append(self._jax.tree_util.tree_unflatten(structure, leaves[start : start + count]))
            start += count
        return arguments


def _parameter_names(function: Callable[..., Any], count: int) -> list[str]:
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        names = []
    return [names[i] if i < len(names) else f"inputs[{i}]" for i in range(count)]


class _Run(NamedTuple):
    """The values that a forward leaves for its backward."""

    arrays: list[Any]
    options: Mapping[str, Any]
    values: list[Array]


class _Subject:
    """A JAX function as a pair over arrays."""

    def __init__(self, jax: Any, function: Callable[..., Any], tree: _Tree, settings: CheckSettings) -> None:
        self._jax, self._function, self._tree = jax, function, tree
        self._moving = [
            i for i, (name, x) in enumerate(zip(tree.names, tree.arrays, strict=True))
            if x.dtype.kind == "f" and name not in settings.no_gradient
        ]  # fmt: skip

    def forward(self, *arrays: Any, **options: Any) -> tuple[Any, ...]:
        """The leaves of what the function returns, without any rule for derivatives."""
        given = [self._jax.numpy.array(x) for x in arrays]  # copies: the checker moves the arrays
        leaves = self._jax.tree_util.tree_leaves(self._function(*self._tree.arguments(given), **options))
        values = [np.asarray(leaf) for leaf in leaves]
        return (*values, _Run(given, options, values))

    def backward(self, *douts_and_run: Any) -> list[Any]:
        """One gradient for each array, ``None`` for one that has none."""
        jax, (*douts, run) = self._jax, douts_and_run

        def moving(*changed: Any) -> Any:
            arrays = list(run.arrays)
            for place, array in zip(self._moving, changed, strict=True):
                arrays[place] = array
            return jax.tree_util.tree_leaves(self._function(*self._tree.arguments(arrays), **run.options))

        outputs, pull = jax.vjp(moving, *(run.arrays[i] for i in self._moving))
        self._compare(run.values, [np.asarray(out) for out in outputs])
        cotangents = [
            np.zeros(out.shape, jax.dtypes.float0) if dout is None else jax.numpy.asarray(dout)
            for out, dout in zip(outputs, douts, strict=True)
        ]
        found = pull(cotangents)
        gradients: list[Any] = [None] * len(run.arrays)
        for place, gradient in zip(self._moving, found, strict=True):
            gradients[place] = np.asarray(gradient)
        return gradients

    def _compare(self, values: Sequence[Array], others: Sequence[Array]) -> None:
        """Refuse a ``fwd`` rule that computes something else than the function."""
        for i, (value, other) in enumerate(zip(values, others, strict=True)):
            gap = float(abs(value - other).max()) if value.size and value.dtype.kind == "f" else 0.0
            if gap > SAME * largest(value):
                raise GradientCheckError(
                    f"output {i} differs by up to {gap:.3g} when the function is differentiated: the fwd rule of its "
                    "custom_vjp computes another value than the function itself"
                )
