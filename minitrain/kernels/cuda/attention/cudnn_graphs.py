"""cuDNN's fused attention through the package ``nvidia-cudnn-frontend``, which takes addresses and needs no PyTorch.

A *graph* describes one kind of call: its sizes, strides and options. It is built once, which takes milliseconds and is
refused while a stream is captured, and then executed with the addresses of each call. What cuDNN does not take goes to
our own kernels: float32, dropout, windows, key lengths, widths that are no multiple of 8 or above 128, and causal
attention with more keys than queries. No device has run this yet.

cuDNN writes its results in 16 bits: the output, as ours is kept, and the gradients too, which ours are not.
"""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

from ....backend.arrays import Array, array_module
from ....backend.cuda.launch import address_of
from ....backend.precision import is_half
from ....errors import DeviceError
from .heads import aligned

WIDEST = 128
WORKSPACE_ALIGNMENT = 256
DTYPES = {"bfloat16": "BFLOAT16", "float16": "HALF"}
FORWARD, BACKWARD = ("q", "k", "v", "o", "stats"), ("q", "k", "v", "o", "dO", "stats", "dQ", "dK", "dV")


class Form(NamedTuple):
    """One kind of call; equal forms share a graph.

    Attributes:
        backward: whether it computes gradients.
        dtype: of the operands.
        layouts: sizes (B, H, T, D) and strides, counted in numbers, of all tensors, in the order of their names.
        causal: whether a query sees the keys up to its own place alone.
        scale: factor of the scores.
    """

    backward: bool
    dtype: str
    layouts: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    causal: bool
    scale: float


class Plan(NamedTuple):
    """A built graph.

    Attributes:
        graph: of cuDNN.
        tensors: its inputs and outputs, in the order of their names.
        workspace: bytes that it needs.
    """

    graph: Any
    tensors: tuple[Any, ...]
    workspace: int


def takes(q: Array, k: Array, *, causal: bool, window: int | None, key_lengths: Array | None, drops: bool) -> bool:
    """Whether cuDNN computes a call that our own kernels would take: q (B, T, H, D), k (B, S, G, D)."""
    (T, width), S = (q.shape[1], q.shape[3]), k.shape[1]
    plain = window is None and key_lengths is None and not drops
    return is_half(q) and plain and width % 8 == 0 and width <= WIDEST and T > 1 and (not causal or T == S)


def forward(library: Any, q: Array, k: Array, v: Array, *, causal: bool, scale: float) -> tuple[Array, Array] | None:
    """Attention.

    Args:
        library: the module ``cudnn``.
        q: (B, T, H, D) queries in 16 bits.
        k: (B, S, G, D) keys.
        v: (B, S, G, D) values.
        causal: whether a query sees the keys up to its own place alone.
        scale: factor of the scores.

    Returns:
        The output (B, T, H, D) in 16 bits, and the logarithm of each query's sum (B, H, T) in float32; ``None`` if
        cuDNN does not take the call.
    """
    xp, (B, T, H, _) = array_module(q), q.shape
    out, lse = xp.empty(q.shape, q.dtype), xp.empty((B, H, T), "float32")
    arrays = (aligned(q), aligned(k), aligned(v), out, lse)
    return (out, lse) if _engine(library, q).run(_form(False, arrays, causal, scale), arrays, xp) else None


def backward(library: Any, dout: Array, cache: Any) -> tuple[Array, Array, Array] | None:
    """Gradients of queries, keys and values, in 16 bits.

    Args:
        library: the module ``cudnn``.
        dout: (B, T, H, D) in the dtype of the operands.
        cache: an ``AttentionCache`` with operands and output of 16 bits.

    Returns:
        dq (B, T, H, D), dk and dv (B, S, G, D); ``None`` if cuDNN does not take the call.
    """
    xp, found = array_module(dout), [array_module(dout).empty(x.shape, x.dtype) for x in (cache.q, cache.k, cache.v)]
    operands = (aligned(x) for x in (cache.q, cache.k, cache.v, cache.out, dout))
    arrays = (*operands, xp.ascontiguousarray(cache.lse), *found)
    done = _engine(library, dout).run(_form(True, arrays, cache.causal, cache.scale), arrays, xp)
    return (found[0], found[1], found[2]) if done else None


class Engine:
    """The graphs of one device, its handle of cuDNN, and workspaces.

    Args:
        library: the module ``cudnn``.
    """

    def __init__(self, library: Any) -> None:
        self.library = library
        self._handle = library.create_handle()
        self._plans: dict[Form, Plan | None] = {}  # None: cuDNN does not take it
        self._workspaces: dict[int, list[tuple[Any, int, int]]] = {}  # by stream: memory, aligned address, bytes
        self._lock = threading.Lock()  # the handle has one stream at a time

    def run(self, form: Form, arrays: tuple[Array, ...], xp: Any) -> bool:
        """Execute on the current stream of ``xp``; ``False`` if cuDNN does not take this form.

        Raises:
            DeviceError: if the stream is captured and this form, or a workspace as large, is new on it.
        """
        stream = xp.cuda.get_current_stream()
        with self._lock:
            if form not in self._plans:
                _refuse_in_capture(stream, "its graph must be built")
                self._plans[form] = self._built(form)
            plan = self._plans[form]
            if plan is None:
                return False
            workspace = self._workspace(plan.workspace, stream, xp)
            self.library.set_stream(handle=self._handle, stream=stream.ptr)
            pack = {tensor: address_of(x) for tensor, x in zip(plan.tensors, arrays, strict=True)}
            plan.graph.execute(pack, workspace, handle=self._handle)
        return True

    def close(self) -> None:
        """Release everything; wait first for what still runs."""
        self._plans.clear()
        self._workspaces.clear()
        self.library.destroy_handle(self._handle)

    def _built(self, form: Form) -> Plan | None:
        """The graph of a form, ready to execute; ``None`` if cuDNN does not take it."""
        library = self.library
        graph, tensors = described(library, form, self._handle)
        try:
            graph.validate()
            graph.build_operation_graph()
            graph.create_execution_plans([library.heur_mode.A, library.heur_mode.FALLBACK])
            graph.check_support()
            graph.build_plans()
        except library.cudnnGraphNotSupportedError:
            return None
        return Plan(graph, tensors, int(graph.get_workspace_size()))

    def _workspace(self, nbytes: int, stream: Any, xp: Any) -> int:
        """An aligned address. Calls of one stream follow each other and share the largest; graphs keep older ones."""
        if nbytes == 0:
            return 0
        kept = self._workspaces.setdefault(stream.ptr, [])
        if not kept or kept[-1][2] < nbytes:
            _refuse_in_capture(stream, "the stream needs a workspace")
            memory = xp.empty(nbytes + WORKSPACE_ALIGNMENT, xp.uint8)
            kept.append((memory, -(-memory.data.ptr // WORKSPACE_ALIGNMENT) * WORKSPACE_ALIGNMENT, nbytes))
        return kept[-1][1]


def described(library: Any, form: Form, handle: Any) -> tuple[Any, tuple[Any, ...]]:
    """The graph of a form, not yet validated, and its tensors in the order of their names."""
    kinds = library.data_type
    half = getattr(kinds, DTYPES[form.dtype])
    graph = library.pygraph(
        io_data_type=half, intermediate_data_type=kinds.FLOAT, compute_data_type=kinds.FLOAT, handle=handle
    )
    names = BACKWARD if form.backward else FORWARD
    inputs = names[:6] if form.backward else names[:3]
    tensors = {
        name: graph.tensor(
            name=name, dim=list(sizes), stride=list(steps), data_type=kinds.FLOAT if name == "stats" else half
        )
        for name, (sizes, steps) in zip(names, form.layouts, strict=True)
        if name in inputs
    }
    options = {"attn_scale": form.scale, "use_causal_mask": form.causal}
    if form.backward:  # without the flag, two runs would differ in their last bits
        made = graph.sdpa_backward(name="sdpa_backward", **tensors, **options, use_deterministic_algorithm=True)
    else:
        made = graph.sdpa(name="sdpa", **tensors, **options, generate_stats=True)
    outputs = names[len(inputs) :]
    for name, tensor, (sizes, steps) in zip(outputs, made, form.layouts[len(inputs) :], strict=True):
        tensor.set_output(True).set_dim(list(sizes)).set_stride(list(steps))
        tensor.set_data_type(kinds.FLOAT if name == "stats" else half)
        tensors[name] = tensor
    return graph, tuple(tensors[name] for name in names)


def _form(is_backward: bool, arrays: tuple[Array, ...], causal: bool, scale: float) -> Form:
    layouts = tuple(_layout(x) for x in arrays)
    return Form(is_backward, arrays[0].dtype.name, layouts, bool(causal), float(scale))


def _layout(x: Array) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Sizes and strides as cuDNN names them: (B, T, H, D) arrays become (B, H, T, D), sums (B, H, T) get a 1 behind."""
    steps = tuple(step // x.itemsize for step in x.strides)
    if x.ndim == 3:
        return (*x.shape, 1), (*steps, 1)
    return tuple(x.shape[i] for i in (0, 2, 1, 3)), tuple(steps[i] for i in (0, 2, 1, 3))


_engines: dict[tuple[int, Any], Engine] = {}
_making = threading.Lock()


def _engine(library: Any, x: Any) -> Engine:
    key = (x.device.id, library)
    with _making:
        if key not in _engines:
            _engines[key] = Engine(library)
        return _engines[key]


def close_engines() -> None:
    """Forget all graphs, handles and workspaces."""
    with _making:
        for engine in _engines.values():
            engine.close()
        _engines.clear()


def _refuse_in_capture(stream: Any, why: str) -> None:
    if stream.is_capturing():
        raise DeviceError(
            f"this attention is new for cuDNN while a graph is captured, and {why} first: run the step once on the "
            "same stream and with the same shapes before capturing it"
        )
