"""An ONNX graph as plain data: values have names, and each node makes new values out of others.

A layer's function calls `Graph.node` for each operation and passes names on, as its ``forward`` passes arrays::

    g = Graph("square", 23, model)
    x = g.input("x", np.float32, ("batch", 8))
    g.output("y", g.node("Mul", x, x), np.float32, ("batch", 8))

Nothing here needs the package ``onnx``; `minitrain.interop.onnx.files` turns the graph into a file.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...backend.arrays import Array
from ...errors import ConfigError
from ...nn.core.module import Module
from ...nn.core.parameter import Parameter
from .refusals import refuse

OPSETS = (23, 17)
"""The versions of the operator set that can be written: 23 has norms, rotations and attention as single operators."""

Name = str
"""The name of a value in a graph."""


class Node(NamedTuple):
    """One operation."""

    op: str
    inputs: tuple[Name, ...]
    outputs: tuple[Name, ...]
    attributes: dict[str, Any]


class Port(NamedTuple):
    """An input or an output of the graph; sizes that vary have names."""

    name: Name
    dtype: Any
    shape: tuple[int | str, ...]


class Graph:
    """A graph that grows node by node.

    Args:
        name: the name of the graph.
        opset: version of the operator set.
        model: the model whose layers are written; weights are called by their paths in it.

    Attributes:
        fused: whether the operator set has norms, rotations and attention as single operators.
        nodes: the operations, in an order in which they can be computed.
        constants: arrays by name: weights, and small constants.
        inputs: the arguments of a caller.
        outputs: the results for a caller.

    Raises:
        ConfigError: if there is no such operator set.
    """

    def __init__(self, name: str, opset: int, model: Module) -> None:
        if opset not in OPSETS:
            raise ConfigError(f"opset = {opset!r}: use 23, or 17 for older programs, which has basic operators only")
        self.name, self.opset, self.fused = name, opset, opset >= 23
        self.nodes: list[Node] = []
        self.constants: dict[Name, Array] = {}
        self.inputs: list[Port] = []
        self.outputs: list[Port] = []
        self._paths: dict[int, str] = {id(module): path for path, module in model.named_modules()}
        self._paths |= {id(parameter): path for path, parameter in model.named_parameters()}
        self._turned: dict[int, bool] = {}  # of each weight in the graph: whether it is stored transposed
        self._known: dict[tuple[str, tuple[int, ...], bytes], Name] = {}
        self._renamed: dict[Name, Name] = {}
        self._scope = ""

    @contextlib.contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Begin the names of the values that are made in the block with ``name``, so that a viewer shows the parts."""
        outer = self._scope
        self._scope = f"{outer}{name}."
        try:
            yield
        finally:
            self._scope = outer

    def input(self, name: Name, dtype: Any, shape: tuple[int | str, ...]) -> Name:
        """Declare an input; returns its name."""
        self.inputs.append(Port(name, dtype, shape))
        return name

    def output(self, name: Name, value: Name, dtype: Any, shape: tuple[int | str, ...]) -> None:
        """Declare that ``value``, which a node has made, is the output called ``name``."""
        self.outputs.append(Port(name, dtype, shape))
        self._renamed[value] = name

    def finished(self) -> list[Node]:
        """The nodes, with outputs under the names they were declared with."""

        def rename(names: tuple[Name, ...]) -> tuple[Name, ...]:
            return tuple(self._renamed.get(name, name) for name in names)

        return [node._replace(inputs=rename(node.inputs), outputs=rename(node.outputs)) for node in self.nodes]

    def node(self, op: str, *inputs: Name, **attributes: Any) -> Name:
        """Add an operation with one output; returns the output's name.

        Args:
            op: name of the operator.
            inputs: its inputs; an empty name leaves an optional one out.
            attributes: its attributes, as numbers, texts or lists of them.
        """
        return self.nodes_of(op, inputs, 1, **attributes)[0]

    def nodes_of(self, op: str, inputs: Sequence[Name], outputs: int, **attributes: Any) -> list[Name]:
        """Add an operation with several outputs; returns their names."""
        first = f"{self._scope}{op}_{len(self.nodes)}"
        names = [first, *(f"{first}.{i}" for i in range(1, outputs))]
        self.nodes.append(Node(op, tuple(inputs), tuple(names), attributes))
        return names

    def constant(self, value: Any, dtype: Any = np.float32) -> Name:
        """A small constant, stored once however often it is used: a number is a scalar, a list has one axis."""
        array = np.asarray(value, dtype)
        known = (array.dtype.str, array.shape, array.tobytes())
        if known not in self._known:
            self._known[known] = f"constant_{len(self._known)}"
            self.constants[self._known[known]] = array
        return self._known[known]

    def ints(self, *values: int) -> Name:
        """A constant of int64 with one axis: sizes, axes, bounds."""
        return self.constant(values, np.int64)

    def size(self, value: Name, axis: int) -> Name:
        """The size of an axis, as int64 of shape (1,)."""
        return self.node("Shape", value, start=axis, end=axis + 1)

    def weight(self, parameter: Parameter) -> Name:
        """A weight of the model, under its path."""
        return self._stored(parameter, turned=False)

    def transposed(self, parameter: Parameter) -> Name:
        """The transpose of a weight (N, K), which ``MatMul`` wants.

        It is stored as (K, N). A weight that is also used as it is, such as a table of tokens that is the head's
        matrix too, is stored once and transposed by a node.
        """
        return self._stored(parameter, turned=True)

    def require(self, layer: Any, *kinds: type) -> None:
        """Check that a layer is one of those that a function can write.

        Raises:
            ConfigError: naming the layer, and what would be needed.
        """
        if type(layer) not in kinds:  # a subclass may compute something else
            refuse(self._paths.get(id(layer), ""), layer, kinds)

    def _stored(self, parameter: Parameter, turned: bool) -> Name:
        path = self._paths[id(parameter)]
        if parameter.data.dtype != np.float32:
            raise ConfigError(
                f"{path} is {parameter.data.dtype}, and weights are exported as float32: build the model with "
                "dtype=np.float32 and load the weights into it, which converts them"
            )
        if path not in self.constants:
            self._turned[id(parameter)] = turned
            self.constants[path] = parameter.data.T if turned else parameter.data
        same = self._turned[id(parameter)] == turned
        return path if same else self.node("Transpose", path, perm=[1, 0])
