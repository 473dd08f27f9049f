"""The products that a training used, in its checkpoints: written, checked, and used again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..backend.product import LONGEST, NAMES, Product, Products
from ..backend.product_choice import in_use, keep_using
from ..states import Group, Line, OneOf, checked

PRODUCTS = "products"
"""The name of the record in a checkpoint's state."""

DECLARED = Group(
    {
        dtype: Group({"name": OneOf(names), "version": Line(LONGEST), "instructions": Line(LONGEST)})
        for dtype, names in NAMES.items()
    },
    optional=NAMES,
)
"""The values that the record may hold; see `minitrain.states`."""


def saved_products(device: str, precision: str = "float32") -> dict[str, dict[str, str]]:
    """The record of what multiplies in this process, for a model on ``device`` that is trained in ``precision``."""
    return {dtype: product._asdict() for dtype, product in in_use(device, precision).items()}


def read_products(state: Mapping[str, Any]) -> Products:
    """The products in a checkpoint's state; nothing, if it is of a version that did not record them.

    Raises:
        CheckpointError: if a name is unknown, or a text is too long or cannot be printed.
    """
    if PRODUCTS not in state:
        return {}
    entries = checked(PRODUCTS, {PRODUCTS: state[PRODUCTS]}, {PRODUCTS: DECLARED})[PRODUCTS]
    return {dtype: Product(**entry) for dtype, entry in entries.items()}


def go_on_with(state: Mapping[str, Any], device: str, warn: Callable[[str], object]) -> str:
    """Multiply with what a checkpoint was made with, see `keep_using`.

    Raises:
        CheckpointError: if its record is damaged.
    """
    return keep_using(read_products(state), device, warn)
