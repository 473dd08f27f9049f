"""From the kernels of a step to its time on a card."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .cards import Card
from .kernels import Kernel


class Assumptions(NamedTuple):
    """Facts that the published limits leave out. None of these numbers was measured by minitrain.

    Attributes:
        product: share of the published rate that large products reach; llm.c and cuBLAS are known for 0.6 to 0.8.
        attention: the same for our own attention, which uses ``mma.sync`` and not the newest units.
        bandwidth: share of the published bandwidth that a streaming kernel reaches.
        kernel_seconds: the least time of a kernel on the device, and from one to the next.
        launch_seconds: the time of the host for one launch from Python.
        graph_seconds: the time between two kernels of a graph.
    """

    product: float = 0.65
    attention: float = 0.30
    bandwidth: float = 0.85
    kernel_seconds: float = 2.5e-6
    launch_seconds: float = 10e-6
    graph_seconds: float = 1.5e-6


DEFAULT = Assumptions()


class Prediction(NamedTuple):
    """The predicted time of a step.

    Attributes:
        seconds: of the step.
        device_seconds: of its kernels, one after the other.
        host_seconds: of launching them.
        launches: number of kernels.
        flops: operations of products and attention.
        nbytes: bytes moved.
    """

    seconds: float
    device_seconds: float
    host_seconds: float
    launches: int
    flops: float
    nbytes: float


def predict(
    kernels: Sequence[Kernel], card: Card, precision: str, *, graph: bool = False, assumed: Assumptions = DEFAULT
) -> Prediction:
    """The time of a step.

    A kernel takes the longer of its arithmetic and its traffic, and never less than a launch on the device. The host
    launches ahead of the device, so a step takes the longer of both. A graph has one launch.

    Args:
        kernels: of the step.
        card: where it runs.
        precision: of its products.
        graph: whether the step is captured.
        assumed: see `Assumptions`.
    """
    device = sum(kernel_seconds(kernel, card, precision, graph=graph, assumed=assumed) for kernel in kernels)
    launches = sum(kernel.launches for kernel in kernels)
    host = assumed.launch_seconds * (1 if graph else launches)
    flops, nbytes = sum(kernel.flops for kernel in kernels), sum(kernel.nbytes for kernel in kernels)
    return Prediction(max(device, host), device, host, launches, flops, nbytes)


def kernel_seconds(
    kernel: Kernel, card: Card, precision: str, *, graph: bool = False, assumed: Assumptions = DEFAULT
) -> float:
    """The time of all launches of a kernel on the device."""
    share = {"product": assumed.product, "float8": assumed.product, "attention": assumed.attention}.get(
        kernel.kind, 1.0
    )
    arithmetic = kernel.flops / (share * (card.float8 if kernel.kind == "float8" else card.rate(precision)))
    traffic = kernel.nbytes / (assumed.bandwidth * card.bandwidth)
    least = assumed.graph_seconds if graph else assumed.kernel_seconds
    return max(arithmetic, traffic, 0.5e-6 * kernel.launches) + least * kernel.launches
