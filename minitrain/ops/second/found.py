"""All pairs of second order, by the name of the operation."""

from __future__ import annotations

from ..contract.op import Pair, registry
from . import activations as activations  # these register themselves
from . import attention as attention
from . import contrastive as contrastive
from . import linear as linear
from . import losses as losses
from . import norms as norms
from .pairs import FUNCTIONS


def second_order_registry() -> dict[str, Pair]:
    """Pairs of second order by the name of the operation: each has ``op_backward`` as its forward.

    Example:
        >>> second_order_registry()["softmax"].name
        'softmax_backward'
    """
    first = registry()
    return {name: Pair(f"{name}_backward", first[name].backward, f) for name, f in FUNCTIONS.items()}
