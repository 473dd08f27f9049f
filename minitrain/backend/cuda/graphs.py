"""Graph capture: a step of many small kernels becomes one launch.

Launching a kernel costs the host some microseconds. A step of a small model, or one token of decoding, has hundreds of
kernels that are done sooner than that. A graph notes them once and repeats them with one launch.

::

    step = GraphedStep(lambda tokens, targets, lr: ...)  # arrays in, arrays out
    for batch in batches:
        loss = step(batch.tokens, batch.targets, lr)  # runs twice, is captured, and is replayed from then on

What a graph repeats is exact: kernels, addresses, and numbers that Python passed to kernels. So inside a step

- shapes are the same each time;
- whatever changes from step to step is an input, and an array of the device, the learning rate too;
- nothing is copied to or from the host, and the host waits for nothing;
- random numbers come from a key on the device (`minitrain.training.steps.keys`): one of the host would be frozen;
- results are written into arrays that exist before the step, or returned.

The first three are checked during the capture, and so is that the step keeps no array that it made. A returned array is
overwritten by the next step.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

from ...errors import DeviceError, ShapeError
from .. import deferred
from ..arrays import Array, array_module, is_cupy
from .blocks import Arena
from .launch import address_of


class GraphedStep:
    """A function of device arrays that is captured after some runs, and then replayed.

    The runs before are real ones: they compile kernels, choose the algorithms of products, and show which memory the
    step needs. Their results are those of the function.

    Args:
        step: takes device arrays; returns an array, or tuples, lists and dictionaries of arrays.
        warmups: runs before the capture, at least 2. The last one is that whose allocations are recorded.
        fixed: returns arrays that the step uses besides its inputs, such as weights and gradients. Their addresses are
            compared in each call: a graph goes on using the old memory.

    Attributes:
        arena: the memory of the step, once recorded.
        replays: how often the graph was launched.
    """

    def __init__(
        self, step: Callable[..., Any], *, warmups: int = 2, fixed: Callable[[], Iterable[Array]] = lambda: ()
    ) -> None:
        if warmups < 2:
            raise ShapeError(
                f"GraphedStep: warmups = {warmups} must be at least 2: the first run makes lasting arrays too"
            )
        self._step, self._warmups, self._fixed = step, warmups, fixed
        self._calls = self.replays = 0
        self._inputs: tuple[Array, ...] = ()
        self._places: list[int] = []
        self._stream: Any = None
        self._graph: Any = None
        self._outputs: Any = None
        self.arena: Arena | None = None

    @property
    def captured(self) -> bool:
        """Whether the step is a graph by now."""
        return self._graph is not None

    @property
    def capture_is_next(self) -> bool:
        """Whether the next call captures; if that fails, the step has not run."""
        return self._graph is None and self._calls >= self._warmups

    def in_place(self) -> bool:
        """Whether the arrays that a captured step uses are where they were."""
        return self._graph is None or [address_of(x) for x in self._fixed()] == self._places

    def __call__(self, *inputs: Array) -> Any:
        """Run the step.

        Raises:
            ShapeError: if an input is no device array, or differs in shape or dtype from the first call.
            DeviceError: if the step does what a captured step must not do; the message says what and where.
        """
        xp = self._prepare(inputs)
        caller = xp.cuda.get_current_stream()
        self._stream.wait_event(caller.record())
        try:
            with self._stream:
                for kept, x in zip(self._inputs, inputs, strict=True):
                    if kept is not x:
                        kept[...] = x
                if self._graph is None:
                    self._advance(xp)
                if self._graph is not None:
                    self._check_fixed()
                    self._graph.launch(self._stream)
                    deferred.expect(xp)
                    self.replays += 1
        finally:  # what a step did before it failed comes before what the caller does next
            caller.wait_event(self._stream.record())
        return self._outputs

    def _prepare(self, inputs: tuple[Array, ...]) -> Any:
        """Check the inputs; the array library."""
        for number, x in enumerate(inputs, 1):
            if not is_cupy(x):
                raise ShapeError(
                    f"GraphedStep: input {number} is a {type(x).__name__}; a number of the host would be frozen in the "
                    "graph, so pass an array on the GPU"
                )
        if self._stream is None:
            if not inputs:
                raise ShapeError("GraphedStep: a step needs at least one input on the GPU")
            xp = array_module(inputs[0])
            self._stream = xp.cuda.Stream(non_blocking=True)
            self._inputs = tuple(xp.empty(x.shape, x.dtype) for x in inputs)
            return xp
        kinds = [(x.shape, x.dtype) for x in inputs]
        first = [(x.shape, x.dtype) for x in self._inputs]
        if kinds != first:
            raise ShapeError(
                f"GraphedStep: inputs have shapes {[shape for shape, _ in kinds]}, and {[shape for shape, _ in first]} "
                "in the first call; shapes and dtypes must stay, or make another GraphedStep"
            )
        return array_module(inputs[0])

    def _advance(self, xp: Any) -> None:
        """The next run on the way to the graph: plain, recorded, or captured."""
        self._calls += 1
        self._outputs = None  # its memory may be needed again
        if self._calls < self._warmups:
            self._outputs = self._step(*self._inputs)
        elif self._calls == self._warmups:
            self.arena = Arena(xp)
            with self.arena.step():
                self._outputs = self._step(*self._inputs)
        else:
            self._capture()

    def _capture(self) -> None:
        assert self.arena is not None
        self.arena.reserve()
        self._stream.begin_capture()
        try:
            with self.arena.step():
                outputs = self._step(*self._inputs)
        except BaseException:
            with contextlib.suppress(Exception):  # the capture may be broken already
                self._stream.end_capture()
            raise
        graph = self._stream.end_capture()
        self._check_kept(outputs)
        self._places = [address_of(x) for x in self._fixed()]
        self._graph, self._outputs = graph, outputs

    def _check_kept(self, outputs: Any) -> None:
        """Only outputs may live on: anything else is state that the graph would read where it was, not where it is."""
        assert self.arena is not None
        own = {x.data.mem.ptr for x in _arrays(outputs)}
        lives = self.arena.lives
        addresses = self.arena.addresses()
        kept = [lives[i].place for i in self.arena.held() if addresses[i] not in own]
        if kept:
            raise DeviceError(
                f"the step keeps an array that it made at {', '.join(kept)}, but a graph writes it to the same place "
                "each time: write into an array that exists before the step, or return it"
            )

    def _check_fixed(self) -> None:
        if not self.in_place():
            raise DeviceError(
                "an array that the graph uses has moved since the capture, so the graph would change its old memory: "
                "write into arrays instead of replacing them, or make a new GraphedStep"
            )


def _arrays(value: Any) -> list[Any]:
    """All arrays in an output."""
    if is_cupy(value):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [x for part in value for x in _arrays(part)] if isinstance(value, tuple | list) else []
