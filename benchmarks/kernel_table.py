"""The table of the kernel benchmark, one row an operation: to benchmark another one, add its row here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from minitrain.benchmark.sizes import SIZES, Size
from minitrain.ops.contract.op import find_twin
from minitrain.optim.rules.muon import COEFFICIENTS
from minitrain.random import Key

from . import torch_ops

Calls = dict[str, Callable[[], Any]]

ATTENTION_LENGTHS = (256, 512, 1024, 2048, 4096)
SHAPES = SIZES | {
    # Attention alone: B=2, H=8, D=64.
    f"T={T}": Size(1, 8, 512, T, 2, 65, steps=1, rounds=1)
    for T in (64, *ATTENTION_LENGTHS)
}
"""The shapes for which arguments are drawn: the models of the benchmarks, and shapes of their own."""


class Draw:
    """Seeded arguments of an operation, made for one size."""

    def __init__(self, size: Size) -> None:
        self.size = size
        self._rng = np.random.default_rng(0)

    def normal(self, *shape: int) -> np.ndarray[Any, Any]:
        """Standard normal float32 numbers."""
        return self._rng.standard_normal(shape, np.float32)

    def ids(self, *shape: int) -> np.ndarray[Any, Any]:
        """Token ids, int32."""
        return self._rng.integers(0, self.size.vocab_size, shape, np.int32)

    def stream(self, width: int = 1) -> np.ndarray[Any, Any]:
        """Activations ``(B, T, width * C)``."""
        return self.normal(self.size.batch_size, self.size.block_size, width * self.size.n_embd)

    def matrix(self, rows: int, columns: int) -> np.ndarray[Any, Any]:
        """A weight ``(rows * C, columns * C)``."""
        return self.normal(rows * self.size.n_embd, columns * self.size.n_embd) * np.float32(0.02)

    def vector(self) -> np.ndarray[Any, Any]:
        """A weight ``(C,)``."""
        return self.normal(self.size.n_embd)

    def heads(self) -> np.ndarray[Any, Any]:
        """Queries, keys or values ``(B, T, H, D)``."""
        s = self.size
        return self.normal(s.batch_size, s.block_size, s.n_head, s.n_embd // s.n_head)

    def packed_heads(self) -> np.ndarray[Any, Any]:
        """Queries ``(B, T, H, D)`` as a layer has them: a slice of packed queries, keys and values."""
        s = self.size
        return self.normal(s.batch_size, s.block_size, 3 * s.n_head, s.n_embd // s.n_head)[:, :, : s.n_head]

    def positions(self) -> np.ndarray[Any, Any]:
        """Places ``(T,)``."""
        return np.arange(self.size.block_size)

    def head(self) -> np.ndarray[Any, Any]:
        """The output layer's weight ``(V, C)``."""
        return self.normal(self.size.vocab_size, self.size.n_embd) * np.float32(0.02)

    def logits(self) -> np.ndarray[Any, Any]:
        """Scores ``(B, T, V)``."""
        return self.normal(self.size.batch_size, self.size.block_size, self.size.vocab_size)

    def parameters(self) -> np.ndarray[Any, Any]:
        """As many numbers as the model's blocks have weights, in one stretch."""
        return self.normal(12 * self.size.n_layer * self.size.n_embd**2)


class Row(NamedTuple):
    """One operation.

    Attributes:
        label: what the table calls it.
        op: its name in ``minitrain.ops.registry()``, or in ``minitrain.optim`` if it has no backward.
        arguments: draws the array arguments of its forward.
        torch: takes ``torch.nn.functional`` and the same arguments as tensors, gives the same outputs.
        options: keyword arguments of the forward.
    """

    label: str
    op: str
    arguments: Callable[[Draw], tuple[Any, ...]]
    torch: Callable[..., Any]
    options: dict[str, Any] = {}  # noqa: RUF012  # never changed
    differentiable: bool = True

    @property
    def directions(self) -> tuple[str, ...]:
        """The calls that are timed."""
        return ("forward", "backward") if self.differentiable else ("call",)


ROWS = [
    Row("linear, C to 4C", "linear", lambda d: (d.stream(), d.matrix(4, 1), None), torch_ops.linear),
    Row("linear, 4C to C", "linear", lambda d: (d.stream(4), d.matrix(1, 4), None), torch_ops.linear),
    Row(
        "GELU (erf) + linear",
        "gelu_linear",
        lambda d: (d.stream(4), d.matrix(1, 4), None),
        lambda F, x, *affine: torch_ops.linear(F, F.gelu(x), *affine),
        {"approximate": "none"},
    ),
    Row("GELU (erf)", "gelu", lambda d: (d.stream(4),), lambda F, x: F.gelu(x), {"approximate": "none"}),
    Row(
        "GELU (tanh)",
        "gelu",
        lambda d: (d.stream(4),),
        lambda F, x: F.gelu(x, approximate="tanh"),
        {"approximate": "tanh"},
    ),
    Row(
        "convolution, 3 x 3, 32 channels",
        "conv2d",
        lambda d: (d.normal(d.size.batch_size, 32, 14, 14), d.normal(32, 32, 3, 3), d.normal(32)),
        lambda F, x, weight, bias: F.conv2d(x, weight, bias, padding=1),
        {"padding": 1},
    ),
    Row("ReLU", "relu", lambda d: (d.stream(4),), lambda F, x: F.relu(x)),
    Row("SiLU", "silu", lambda d: (d.stream(4),), lambda F, x: F.silu(x)),
    Row("SwiGLU", "swiglu", lambda d: (d.stream(3), d.stream(3)), lambda F, gate, up: F.silu(gate) * up),
    Row(
        "GEGLU (erf)",
        "geglu",
        lambda d: (d.stream(3), d.stream(3)),
        lambda F, gate, up: F.gelu(gate) * up,
        {"approximate": "none"},
    ),
    Row("layer norm", "layer_norm", lambda d: (d.stream(), d.vector(), None), torch_ops.layer_norm),
    Row(
        "residual + layer norm",
        "residual_layer_norm",
        lambda d: (d.stream(), d.stream(), d.vector(), None),
        torch_ops.residual_layer_norm,
    ),
    Row("RMS norm", "rms_norm", lambda d: (d.stream(), d.vector()), torch_ops.rms_norm),
    Row(
        "residual + RMS norm",
        "residual_rms_norm",
        lambda d: (d.stream(), d.stream(), d.vector()),
        torch_ops.residual_rms_norm,
    ),
    Row("residual", "residual", lambda d: (d.stream(), d.stream()), lambda F, x, y: x + y),
    Row(
        "dropout 0.1",
        "dropout",
        lambda d: (d.stream(),),
        lambda F, x: F.dropout(x, 0.1, training=True),
        {"p": 0.1, "key": Key.from_seed(0)},
    ),
    Row(
        "embedding",
        "embedding",
        lambda d: (d.ids(d.size.batch_size, d.size.block_size), d.normal(d.size.vocab_size, d.size.n_embd)),
        lambda F, tokens, table: F.embedding(tokens, table),
    ),
    Row("rotary positions", "rope", lambda d: (d.packed_heads(), d.positions()), torch_ops.rope),
    Row(
        "attention, causal",
        "attention",
        lambda d: (d.heads(), d.heads(), d.heads(), None),
        torch_ops.attention,
        {"causal": True},
    ),
    Row(
        f"attention, window of {torch_ops.WINDOW}",
        "attention",
        lambda d: (d.heads(), d.heads(), d.heads(), None),
        torch_ops.attention_in_window,
        {"causal": True, "window": torch_ops.WINDOW},
    ),
    Row("softmax", "softmax", lambda d: (d.logits(),), lambda F, x: F.softmax(x, -1)),
    Row(
        "softmax + cross-entropy",
        "cross_entropy",
        lambda d: (d.logits(), d.ids(d.size.batch_size, d.size.block_size), None),
        torch_ops.cross_entropy,
    ),
    Row(
        "linear + cross-entropy, in chunks",
        "linear_cross_entropy",
        lambda d: (d.stream(), d.head(), d.ids(d.size.batch_size, d.size.block_size)),
        lambda F, x, weight, targets: torch_ops.cross_entropy(F, F.linear(x, weight), targets, None),
    ),
    Row(
        "AdamW",
        "adam_update",
        lambda d: (d.parameters(), d.parameters(), d.parameters(), d.parameters() ** 2),
        torch_ops.adamw,
        {**torch_ops.ADAMW, "step": 10, "grad_scale": 1.0, "decoupled": True},
        differentiable=False,
    ),
    Row(
        "Muon, C to 4C",
        "muon_update",
        lambda d: (d.matrix(4, 1), d.matrix(4, 1), d.matrix(4, 1)),
        torch_ops.muon,
        {**torch_ops.MUON, "coefficients": COEFFICIENTS, "scale": 2.0, "grad_scale": 1.0},
        differentiable=False,
    ),
    Row(
        "rounding to bfloat16",
        "as_operand",
        lambda d: (d.stream(4),),
        lambda F, x: x.bfloat16(),
        {"name": "bfloat16"},
        differentiable=False,
    ),
    Row(
        "gradient norm",
        "sum_of_squares",
        lambda d: (d.parameters(),),
        lambda F, x: float(x.norm()) ** 2,
        differentiable=False,
    ),
]


def function_of(row: Row) -> Any:
    """The function in minitrain: the forward of an operation, or a plain function."""
    import minitrain.ops
    import minitrain.optim
    from minitrain.ops.linear.operands import as_operand

    if row.op == "as_operand":
        return as_operand
    if not row.differentiable:
        return getattr(minitrain.optim, row.op)
    return minitrain.ops.registry()[row.op].forward


def twins_of(row: Row) -> list[str]:
    """The directions of ``row`` that have a kernel."""
    return [what for what, function in functions_of(row).items() if kernel_of(function) is not None]


def functions_of(row: Row) -> dict[str, Any]:
    """The calls that are timed, by direction."""
    import minitrain.ops

    functions = [function_of(row)]
    if row.differentiable:
        functions.append(minitrain.ops.registry()[row.op].backward)
    return dict(zip(row.directions, functions, strict=True))


def kernel_of(function: Any) -> Any:
    """The twin of a function of minitrain, or ``None``."""
    return find_twin(function.reference)


def minitrain_calls(row: Row, size: Size) -> Calls:
    """The calls of minitrain that are timed, ready to be repeated."""
    import minitrain.ops

    draw, forward = Draw(size), function_of(row)
    arguments = row.arguments(draw)
    if not row.differentiable:
        return {"call": lambda: forward(*arguments, **row.options)}
    *outputs, cache = forward(*arguments, **row.options)
    backward = minitrain.ops.registry()[row.op].backward
    # A loss is differentiated by its total; any other output gets a random cotangent.
    cotangents = [1.0 if isinstance(out, tuple) else draw.normal(*out.shape) for out in outputs]
    return {
        "forward": lambda: forward(*arguments, **row.options),
        "backward": lambda: backward(*cotangents, cache),
    }


def torch_calls(row: Row, size: Size) -> Calls:
    """The same of PyTorch; a forward records what its backward needs, as in training."""
    import torch

    draw = Draw(size)
    arguments = [None if a is None else torch.from_numpy(a) for a in row.arguments(draw)]

    def call() -> Any:
        return row.torch(torch.nn.functional, *arguments)

    if not row.differentiable:
        return {"call": call}
    inputs = [a.requires_grad_() for a in arguments if a is not None and a.is_floating_point()]
    out = call()
    outputs = list(out) if isinstance(out, tuple) else [out]
    cotangents = [torch.from_numpy(draw.normal(*o.shape)) if o.ndim else torch.ones_like(o) for o in outputs]
    return {
        "forward": call,
        "backward": lambda: torch.autograd.grad(outputs, inputs, cotangents, retain_graph=True),
    }
