"""The memory and traffic of each rank when ranks share moments and gradients (ZeRO), and what fits into a card.

Bytes of a weight of AdamW with float32 masters: weight 4, gradient 4, two moments 8.

=======  =====================  ====================  =================================================================
stage    shared                 bytes of a weight     sent by a rank in a step, in buffers of a gradient each
=======  =====================  ====================  =================================================================
0        nothing                16                    all-reduce of the gradients: 2 (P-1)/P
1        moments                8 + 8/P               reduce-scatter of gradients, all-gather of weights: 2 (P-1)/P
2        moments, gradients     4 + 12/P              the same; with accumulation a reduce-scatter for each micro-batch
=======  =====================  ====================  =================================================================

S. Rajbhandari and others, "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models" (2020), 5 and 7.
"""

from __future__ import annotations

from ..profiling.gpu import Shape

WEIGHT, GRADIENT, MOMENTS = 4.0, 4.0, 8.0
STAGES = (0, 1, 2)


def bytes_of_states(weights: float, ranks: int, stage: int) -> float:
    """Bytes of weights, gradients and moments of a rank."""
    gradient = GRADIENT / ranks if stage >= 2 else GRADIENT
    moments = MOMENTS / ranks if stage >= 1 else MOMENTS
    return weights * (WEIGHT + gradient + moments)


def bytes_of_activations(shape: Shape, batch: int, *, operand: int = 2) -> float:
    """Bytes that the forward of a GPT keeps for its backward, in minitrain's layout.

    For each token and block: the residual stream twice in float32, the two norms' outputs, queries, keys and values,
    attention's output and the feed-forward layer's input of the activation (``4 C``) as operands; the activation itself
    is computed again. Logits are made by chunks and not kept.
    """
    layers, width, _, length = shape
    each = width * (2 * 4 + operand * (2 + 3 + 1 + 4))
    return float(batch * length * (layers * each + 3 * 4 * width))


def traffic(nbytes: float, ranks: int, stage: int, micro_batches: int = 1) -> float:
    """Bytes that each rank sends in a step.

    Args:
        nbytes: of all gradients.
        ranks: P.
        stage: of ZeRO.
        micro_batches: of each rank in a step.
    """
    reductions = micro_batches if stage >= 2 else 1
    return (reductions + 1) * (ranks - 1) / ranks * nbytes


def smallest_stage(shape: Shape, batch: int, ranks: int, memory: float, *, reserve: float = 0.1) -> int | None:
    """The lowest stage with which a step fits into the memory of a card; ``None`` if none does.

    Args:
        shape: of the model.
        batch: sequences of a micro-batch on each rank.
        ranks: P.
        memory: bytes of a card.
        reserve: share of it for the libraries, buffers of messages, and holes.
    """
    room = (1 - reserve) * memory - bytes_of_activations(shape, batch)
    fitting = [stage for stage in STAGES if bytes_of_states(shape.parameters, ranks, stage) <= room]
    return min(fitting, default=None)
