"""A stand-in for the package ``cudnn`` (nvidia-cudnn-frontend) that enforces its documented rules for attention.

It has what ``minitrain.kernels.cuda.attention.cudnn_graphs`` calls. The order of calls, the sizes and strides of
tensors, types, the addresses of an execution, its workspace and stream are checked, and an error names the rule. It
computes in NumPy, in float32 from operands of 16 bits. Without the deterministic flag its backward gives other last
bits in each call, as cuDNN's may.

Sources: the documentation of "Attention" and the package's ``pygraph``, versions 1.13 to 1.32.
"""

from __future__ import annotations

import ctypes
import enum
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

ALIGNMENT = 16
ORDER = ("made", "validated", "lowered", "planned", "supported", "built")


class FakeCudnnError(RuntimeError):
    """A call broke a rule."""


class cudnnGraphNotSupportedError(RuntimeError):
    """cuDNN has no engine for a graph."""


class data_type(enum.Enum):
    """Types of tensors."""

    FLOAT = "float32"
    HALF = "float16"
    BFLOAT16 = "bfloat16"
    NOT_SET = ""


class heur_mode(enum.Enum):
    """Ways to find an engine."""

    A = "A"
    FALLBACK = "FALLBACK"


def demand(right: object, rule: str) -> None:
    """Raise an error that names ``rule`` unless it is kept."""
    if not right:
        raise FakeCudnnError(rule)


def dtype_of(kind: data_type) -> np.dtype[Any]:
    """NumPy's type."""
    if kind is data_type.BFLOAT16:
        import ml_dtypes

        found: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return found
    plain: np.dtype[Any] = np.dtype(kind.value)
    return plain


class Tensor:
    """An input or output of a graph."""

    def __init__(self, graph: Graph, name: str, dim: Any = (), stride: Any = (), kind: data_type | None = None) -> None:
        self.graph, self.name, self.dim, self.stride, self.kind = graph, name, tuple(dim), tuple(stride), kind
        self.output = False

    def set_output(self, output: bool) -> Tensor:
        """Whether the result is written to memory."""
        self.output = output
        return self

    def set_dim(self, dim: list[int]) -> Tensor:
        """Its sizes."""
        self.dim = tuple(dim)
        return self

    def set_stride(self, stride: list[int]) -> Tensor:
        """Its strides, in numbers."""
        self.stride = tuple(stride)
        return self

    def set_data_type(self, kind: data_type) -> Tensor:
        """Its type."""
        self.kind = kind
        return self

    def nbytes(self) -> int:
        """From its first number to behind its last one."""
        assert self.kind is not None
        numbers: int = 1 + sum((n - 1) * s for n, s in zip(self.dim, self.stride, strict=True))
        return numbers * dtype_of(self.kind).itemsize

    def at(self, address: int) -> np.ndarray[Any, Any]:
        """A view of memory."""
        assert self.kind is not None
        dtype = dtype_of(self.kind)
        memory: Any = (ctypes.c_ubyte * self.nbytes()).from_address(address)
        return np.ndarray(self.dim, dtype, memory, 0, tuple(dtype.itemsize * s for s in self.stride))


class Graph:
    """One operation: ``sdpa`` or ``sdpa_backward``."""

    def __init__(self, library: FakeCudnn, io: data_type, intermediate: data_type, compute: data_type) -> None:
        demand(intermediate is data_type.FLOAT and compute is data_type.FLOAT, "attention computes in FLOAT")
        self._library, self._io, self._state = library, io, "made"
        self._operation = ""
        self._operands: dict[str, Tensor] = {}
        self._results: dict[str, Tensor] = {}
        self._options: dict[str, Any] = {}

    def tensor(self, *, name: str, dim: list[int], stride: list[int], data_type: data_type) -> Tensor:
        """An input."""
        self._in("made")
        return Tensor(self, name, dim, stride, data_type)

    def sdpa(
        self, *, name: str, q: Tensor, k: Tensor, v: Tensor, attn_scale: float, use_causal_mask: bool,
        generate_stats: bool,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        """Attention: its output and, on request, the logarithm of each query's sum."""
        options = {"scale": attn_scale, "causal": use_causal_mask}
        self._add("sdpa", {"q": q, "k": k, "v": v}, options, ("o", "stats") if generate_stats else ("o",))
        return self._results["o"], self._results.get("stats")

    def sdpa_backward(
        self, *, name: str, q: Tensor, k: Tensor, v: Tensor, o: Tensor, dO: Tensor, stats: Tensor, attn_scale: float,
        use_causal_mask: bool, use_deterministic_algorithm: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        """Gradients of queries, keys and values."""
        options = {"scale": attn_scale, "causal": use_causal_mask, "deterministic": use_deterministic_algorithm}
        given = {"q": q, "k": k, "v": v, "o": o, "dO": dO, "stats": stats}
        self._add("sdpa_backward", given, options, ("dQ", "dK", "dV"))
        return self._results["dQ"], self._results["dK"], self._results["dV"]

    def validate(self) -> None:
        """Check types and sizes."""
        self._in("made")
        demand(self._operation, "a graph without an operation")
        for name, x in (self._operands | self._results).items():
            demand(len(x.dim) == len(x.stride) == 4, f"{name} needs four sizes and strides")
            kind = data_type.FLOAT if name == "stats" else self._io
            demand(x.kind is kind, f"{name} has the type {x.kind}, and must have {kind}")
            demand(x.stride[3] == 1 or x.dim[3] == 1, f"the last stride of {name} is not 1")
            demand(x.name in self._operands or x.output, f"{name} is written nowhere: set_output(True)")
        (B, H, T, D), (_, G, S, _) = self._operands["q"].dim, self._operands["k"].dim
        demand(H % G == 0, "query heads are no multiple of the key heads")
        heads, keys = (B, H, T, D), (B, G, S, D)
        wanted = {"q": heads, "k": keys, "v": keys, "o": heads, "dO": heads, "stats": (B, H, T, 1)}
        wanted |= {"dQ": heads, "dK": keys, "dV": keys}
        for name, x in (self._operands | self._results).items():
            demand(x.dim == wanted[name], f"{name} has sizes {x.dim}, and must have {wanted[name]}")
        self._state = "validated"

    def build_operation_graph(self) -> None:
        """Lower it."""
        self._step("validated", "lowered")

    def create_execution_plans(self, modes: list[heur_mode]) -> None:
        """Ask for engines."""
        demand(modes and all(isinstance(mode, heur_mode) for mode in modes), "no heuristic mode")
        self._step("lowered", "planned")

    def check_support(self) -> None:
        """Whether there is an engine."""
        self._step("planned", "supported")
        width = self._operands["q"].dim[3]
        if width % 8 or width > 128 or self._io is data_type.FLOAT or self._library.unsupported(self._operation):
            raise cudnnGraphNotSupportedError(f"no engine for {self._operation} of width {width} in {self._io}")

    def build_plans(self) -> None:
        """Compile."""
        self._step("supported", "built")
        self._library.built.append(self._operation)

    def get_workspace_size(self) -> int:
        """Bytes that an execution needs."""
        self._in("built")
        return self._library.workspace

    def execute(self, pack: dict[Tensor, int], workspace: int, handle: Handle) -> None:
        """Run it on the stream of the handle."""
        self._in("built")
        demand(handle.alive, "the handle was destroyed")
        demand(handle.stream == self._library.current_stream(), "the handle's stream is not the current one")
        wanted = {*self._operands.values(), *(x for x in self._results.values() if x.output)}
        demand(pack.keys() == wanted, "an execution names all inputs and outputs of its own graph, and no others")
        for tensor, address in pack.items():
            demand(type(address) is int and address, f"the address of {tensor.name} is no integer")
            demand(address % ALIGNMENT == 0, f"{tensor.name} is not aligned to {ALIGNMENT} bytes")
        if self._library.workspace:
            demand(workspace and workspace % ALIGNMENT == 0, "the workspace is missing or not aligned")
        at = {tensor.name: address for tensor, address in pack.items()}
        reads = [(pack[x], x.nbytes()) for x in self._operands.values()]
        writes = [(pack[x], x.nbytes()) for x in self._results.values()]
        size = self._library.workspace

        def work() -> None:
            if size:
                ctypes.memset(workspace, 0xFF, size)
            self._compute({name: tensor.at(at[name]) for name, tensor in (self._operands | self._results).items()})

        self._library.executed.append(self._operation)
        self._library.submit(handle.stream, work, reads, writes + ([(workspace, size)] if size else []))

    def _compute(self, x: dict[str, Any]) -> None:
        wide = {name: array.astype(np.float32) for name, array in x.items()}
        groups = x["q"].shape[1] // x["k"].shape[1]
        k, v = (np.repeat(wide[name], groups, axis=1) for name in "kv")  # (B, G, S, D) -> (B, H, S, D)
        scores = np.float32(self._options["scale"]) * (wide["q"] @ k.swapaxes(2, 3))
        if self._options["causal"]:  # aligned to the first query and the first key
            scores = np.where(np.tri(*scores.shape[2:], dtype=np.bool_), scores, -np.inf)
        if self._operation == "sdpa":
            largest = scores.max(axis=3, keepdims=True)
            stats = largest + np.log(np.exp(scores - largest).sum(axis=3, keepdims=True))
            x["o"][...] = np.exp(scores - stats) @ v
            if "stats" in x:
                x["stats"][...] = stats
            return
        weights = np.exp(scores - wide["stats"])
        dweights = wide["dO"] @ v.swapaxes(2, 3)
        dscores = weights * (dweights - (wide["dO"] * wide["o"]).sum(axis=3, keepdims=True)) * self._options["scale"]
        noise = 1.0 if self._options["deterministic"] else 1 + 0.01 * next(self._library.noise)
        x["dQ"][...] = dscores @ k * noise
        for name, full in (("dK", dscores.swapaxes(2, 3) @ wide["q"]), ("dV", weights.swapaxes(2, 3) @ wide["dO"])):
            B, H, S, D = full.shape
            x[name][...] = full.reshape(B, H // groups, groups, S, D).sum(axis=2)  # (B, H, S, D) -> (B, G, S, D)

    def _add(self, name: str, operands: dict[str, Tensor], options: dict[str, Any], results: tuple[str, ...]) -> None:
        self._in("made")
        demand(not self._operation, "this stand-in knows graphs of one operation")
        demand(all(x.graph is self for x in operands.values()), "a tensor of another graph")
        demand(all(x.name == port for port, x in operands.items()), "this stand-in wants the names of ports")
        self._operation, self._operands, self._options = name, operands, options
        self._results = {result: Tensor(self, result) for result in results}

    def _in(self, state: str) -> None:
        demand(self._state == state, f"this call comes when a graph is {state}; it is {self._state}")

    def _step(self, before: str, after: str) -> None:
        demand(not self._library.capturing(), "a graph of cuDNN is built while a stream is captured")
        self._in(before)
        self._state = after


class Handle:
    """cuDNN's context."""

    def __init__(self) -> None:
        self.stream, self.alive = 0, True


class FakeCudnn:
    """A stand-in for the module ``cudnn``; see the text of this file.

    Args:
        capturing: whether any stream is captured.
        current_stream: the handle of the current stream.
        submit: puts work on a stream, with the memory that it reads and writes; runs it at once by default.
        unsupported: operations for which there is no engine.
        workspace: bytes that an execution needs.

    Attributes:
        built: the operations of all graphs that were built.
        executed: the operations of all executions.
    """

    __name__ = "FakeCudnn"
    data_type, heur_mode, cudnnGraphNotSupportedError = data_type, heur_mode, cudnnGraphNotSupportedError

    def __init__(
        self,
        *,
        capturing: Callable[[], bool] = lambda: False,
        current_stream: Callable[[], int] = lambda: 0,
        submit: Callable[[int, Any, Any, Any], None] = lambda stream, work, reads, writes: work(),
        unsupported: Callable[[str], bool] = lambda operation: False,
        workspace: int = 4096,
    ) -> None:
        self.capturing, self.current_stream, self.submit, self.unsupported = (
            capturing, current_stream, submit, unsupported,
        )  # fmt: skip
        self.workspace, self.noise = workspace, itertools.count(1)
        self.built, self.executed, self.handles = list[str](), list[str](), list[Handle]()

    def create_handle(self) -> Handle:
        """A context on the current device."""
        self.handles.append(Handle())
        return self.handles[-1]

    def destroy_handle(self, handle: Handle) -> None:
        """Release it, once."""
        demand(handle.alive, "a handle is destroyed twice")
        handle.alive = False

    def set_stream(self, *, handle: Handle, stream: int) -> None:
        """The stream of the executions that follow."""
        demand(handle.alive, "the handle was destroyed")
        demand(type(stream) is int, "a stream is given by its handle, an integer")
        handle.stream = stream

    def pygraph(
        self,
        *,
        io_data_type: Any,
        intermediate_data_type: Any,
        compute_data_type: Any,
        handle: Handle,
    ) -> Graph:
        """An empty graph."""
        demand(handle.alive, "the handle was destroyed")
        return Graph(self, io_data_type, intermediate_data_type, compute_data_type)
