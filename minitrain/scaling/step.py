"""The time of a training step on many GPUs: compute, messages behind the backward, the optimizer, the slowest rank.

``seconds = slowest(forward + backward) + what of the messages sticks out + optimizer + gathering of weights``. The
backward computes the gradients of the last layers first, and each block's are sent while the next is computed.

Assumptions, beside those of `minitrain.profiling.gpu.predict` and `minitrain.scaling.links`. **None was measured on a
GPU, and minitrain has met no cluster:**

- Messages and computation do not slow each other down.
- A backward takes two thirds of the time without the optimizer, and equal parts of it for each block. The head and
  the embedding share their gradient, which is complete at the very end.
- Every rank's time varies by `VARIATION` from step to step, independently of the others, and all wait for the slowest.
- Nothing fails. Reading data, logging, evaluation and checkpoints take no time.
- Weights are gathered (ZeRO) after the update, and nothing hides that.
"""

from __future__ import annotations

from typing import NamedTuple

from ..profiling.gpu import Shape, predict, training_step
from .cluster import Cluster
from .collectives import pipelined
from .sharding import traffic
from .stragglers import slowest

VARIATION = 0.01
"""Standard deviation of a rank's compute time from step to step, as a share; assumed."""
_UPDATE = ("AdamW", "norm of the gradient")


class Plan(NamedTuple):
    """How a training is spread.

    Attributes:
        ranks: P, one GPU each.
        batch: sequences of a micro-batch.
        micro_batches: of each rank in a step.
        stage: of ZeRO: 0, 1 or 2.
        wire: bytes of a number that is sent: 4, or 2 for bfloat16.
        overlap: whether gradients are sent during the backward.
        algorithm: of the sums; see `Cluster.seconds`.
        variation: see `VARIATION`.
    """

    ranks: int
    batch: int
    micro_batches: int = 1
    stage: int = 0
    wire: int = 4
    overlap: bool = True
    algorithm: str = "nccl"
    variation: float = VARIATION


class Step(NamedTuple):
    """Where the seconds of a step go.

    Attributes:
        compute: forward and backward of all micro-batches of a rank, on average.
        waiting: for the slowest rank.
        exposed: messages that the backward does not hide.
        update: clipping, optimizer, and gathering weights.
        sent: bytes that each rank sends.
        tokens: of all ranks.
    """

    compute: float
    waiting: float
    exposed: float
    update: float
    sent: float
    tokens: int

    @property
    def seconds(self) -> float:
        """Of the step."""
        return self.compute + self.waiting + self.exposed + self.update

    @property
    def tokens_per_second(self) -> float:
        """Of all ranks together."""
        return self.tokens / self.seconds


def step_on(cluster: Cluster, shape: Shape, plan: Plan) -> Step:
    """Predict a training step."""
    kernels = training_step(shape, plan.batch)
    update = predict([one for one in kernels if one.name in _UPDATE], cluster.card, "bfloat16").seconds
    one = predict([kernel for kernel in kernels if kernel.name not in _UPDATE], cluster.card, "bfloat16").seconds
    pieces = gradient_bytes(shape, plan.wire)
    sums = [cluster.seconds(nbytes, plan.ranks, plan.algorithm) for nbytes in pieces]
    if plan.stage:  # a reduce-scatter is half of an all-reduce; the other half are the weights, after the update
        gathered = sum(cluster.seconds(4 / plan.wire * nbytes, plan.ranks, plan.algorithm) for nbytes in pieces) / 2
        sums = [seconds / 2 for seconds in sums]
        update = update / plan.ranks + gathered
    backward = 2 / 3 * one
    ready = [(place + 1) / len(pieces) * backward for place in range(len(pieces))]
    sent_behind = pipelined(ready, sums) - backward if plan.overlap else sum(sums)
    reductions = plan.micro_batches if plan.stage >= 2 else 1
    compute = plan.micro_batches * one
    weights = sum(pieces) / plan.wire
    sent = traffic(weights * plan.wire, plan.ranks, plan.stage, plan.micro_batches)
    if plan.stage:
        sent += (4 - plan.wire) * weights * (plan.ranks - 1) / plan.ranks
    return Step(
        compute=compute,
        waiting=slowest(compute, plan.variation, plan.ranks) - compute,
        exposed=reductions * sent_behind,
        update=update,
        sent=sent,
        tokens=plan.ranks * plan.micro_batches * plan.batch * shape.length,
    )


def efficiency(cluster: Cluster, shape: Shape, plan: Plan) -> float:
    """Tokens per second of each GPU, as a share of those of a single one with the same work."""
    alone = step_on(cluster, shape, plan._replace(ranks=1, stage=0))
    return step_on(cluster, shape, plan).tokens_per_second / plan.ranks / alone.tokens_per_second


def gradient_bytes(shape: Shape, wire: int = 4) -> list[float]:
    """Bytes of the gradients in the order in which a backward completes them: blocks from the last, then the table."""
    layers, width, vocabulary, length = shape
    block = 12 * width * width + 13 * width
    rest = vocabulary * width + length * width + 2 * width
    return [float(wire * block)] * layers + [float(wire * rest)]
