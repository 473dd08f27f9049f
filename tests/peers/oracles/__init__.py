"""PyTorch's version of each operation, taking minitrain's arguments, and the comparison of the two.

One file for each family of ``minitrain.testing.cases``; a function there is named like its operation.
"""

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from minitrain.ops import registry
from minitrain.testing.cases import CASES, Call

# PyTorch always computes in float64: what is left in float32 is rounding, most where scores are large.
TOLERANCE = {np.float64: 1e-11, np.float32: 1e-4}

_FAMILIES = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]


def find(op: str) -> Callable[..., Any] | None:
    """The oracle of an operation, if there is one."""
    return next((getattr(family, op) for family in _FAMILIES if hasattr(family, op)), None)


def assert_same(op: str, call: Call, seed: int = 0) -> None:
    """Compare outputs and gradients of ``minitrain.ops`` with PyTorch's.

    Args:
        op: name of the operation.
        call: its arguments, the floating ones all of one dtype.
        seed: of the random cotangents.
    """
    arguments = call.inputs
    dtype = next(a.dtype.type for a in arguments if a is not None and a.dtype.kind == "f")
    tensors = [None if a is None else _tensor(a) for a in arguments]
    oracle = find(op)
    assert oracle is not None, f"{op} has no oracle"
    expected = oracle(*tensors, **call.options)
    expected = list(expected) if isinstance(expected, tuple) else [expected]
    pair = registry()[op]
    result = pair.forward(*arguments, **call.options)
    outputs, cache = CASES[op].outputs(result), result[-1]
    rng = np.random.default_rng(seed)
    cotangents = [rng.standard_normal(out.shape).astype(dtype) for out in outputs]
    gradients = pair.backward(*(float(c) if c.ndim == 0 else c for c in cotangents), cache)
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    assert len(gradients) == len(arguments)
    for i, (out, tensor) in enumerate(zip(outputs, expected, strict=True)):
        assert_close(out, tensor, TOLERANCE[dtype], f"output {i}")
    inputs = [i for i, t in enumerate(tensors) if t is not None and t.requires_grad]
    wanted = torch.autograd.grad(
        expected,
        [tensors[i] for i in inputs],
        [torch.from_numpy(np.asarray(c, np.float64)) for c in cotangents],
        allow_unused=True,  # class weights are constants
    )
    for i, gradient in zip(inputs, wanted, strict=True):
        if gradient is None:
            assert gradients[i] is None
        else:
            assert_close(gradients[i], gradient, TOLERANCE[dtype], f"gradient of argument {i}")


def assert_close(ours: Any, theirs: Tensor, tolerance: float, name: str) -> None:
    """Equal up to ``tolerance`` times the largest element, or times 1 where all are small."""
    wanted = theirs.detach().numpy()
    assert np.shape(ours) == wanted.shape, name
    scale = max(1.0, float(np.abs(wanted).max(initial=0)))
    np.testing.assert_allclose(ours, wanted, rtol=0, atol=tolerance * scale, err_msg=name)


def _tensor(a: np.ndarray) -> Tensor:
    if a.dtype.kind in "iu":
        return torch.from_numpy(np.array(a))
    return torch.from_numpy(np.array(a, np.float64)).requires_grad_()
