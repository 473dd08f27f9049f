"""The same computation on the CPU and on an emulated GPU, and what must be equal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from minitrain.backend import is_array, to_device, to_numpy
from minitrain.data.loading.batches import map_arrays
from minitrain.testing.pairs import cotangent_count


def placed(batch: Any, device: str) -> Any:
    """A batch, or any nested arrays, on a device."""
    return map_arrays(batch, lambda x: to_device(x, device))


def single(x: Any) -> Any:
    """Floating-point arrays as float32, others as they are."""
    return x.astype(np.float32) if is_array(x) and x.dtype.kind == "f" else x


def leaves(tree: Any) -> Iterator[Any]:
    """The leaves of nested tuples and lists."""
    if isinstance(tree, tuple | list):
        for part in tree:
            yield from leaves(part)
    else:
        yield tree


def assert_same_bits(there: Any, here: Any) -> None:
    """Every array of ``there`` is on the GPU and has the bytes of the one ``here``; numbers are equal.

    A number of NumPy, such as the sum of an array, is an array () on a GPU.
    """
    found, expected = list(leaves(there)), list(leaves(here))
    assert len(found) == len(expected)
    for i, (a, b) in enumerate(zip(found, expected, strict=True)):
        if isinstance(b, np.ndarray | np.generic):
            assert not isinstance(a, np.ndarray | np.generic), f"result {i} is on the host"
            assert is_array(a), f"result {i} is a {type(a).__name__}"
            host = to_numpy(a)
            assert (host.dtype, host.shape) == (b.dtype, np.shape(b)), i
            np.testing.assert_array_equal(host, b, err_msg=f"result {i}")
        else:
            assert a is b or a == b, i


def run_layer(layer: Any, device: str, seed: int = 3) -> list[Any]:
    """Outputs and gradients of a layer of the shared cases, in float32."""
    module = layer.module(seed).to(device)
    inputs = [placed(single(x), device) if is_array(x) else x for x in layer.arguments(seed)]
    options = {name: placed(single(x), device) if is_array(x) else x for name, x in layer.options.items()}
    *outputs, cache = module.forward(*inputs, **options)
    if len(outputs) == 1 and isinstance(outputs[0], tuple):  # such as Loss(total, count)
        outputs = list(outputs[0])
    outputs = outputs[: cotangent_count(module.backward)]
    rng = np.random.default_rng(0)
    cotangents = [np.asarray(rng.standard_normal(np.shape(out)), np.float32) for out in outputs]
    given = [to_device(d, device) if is_array(out) else None for d, out in zip(cotangents, outputs, strict=True)]
    if device == "cpu":
        given = [None if isinstance(out, float) else d for d, out in zip(cotangents, outputs, strict=True)]
    module.zero_grad()
    gradients = module.backward(*given, cache)
    return [outputs, gradients, [parameter.grad for parameter in module.parameters()]]
