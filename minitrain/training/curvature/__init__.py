"""Second derivatives of a model's loss: products with its Hessian, and its largest eigenvalue."""

from .hessian import HessianProducts as HessianProducts
from .largest import sharpness as sharpness
