"""Backwards of backwards, found by name, and derivatives of whole computations along a direction."""

from .along import Along as Along
from .along import NoSecondOrderError as NoSecondOrderError
from .found import second_order_registry as second_order_registry
from .pairs import second_order as second_order
