"""What the benchmark of products times: the products of a training step, each of them right."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import products
from minitrain.backend import use_kernels
from minitrain.benchmark.sizes import SIZES, step_flops
from minitrain.kernels.cpu.common.gemm import available


@pytest.mark.skipif(not available, reason="no BLAS for the kernels")
@pytest.mark.parametrize("form", products.FORMS)
@pytest.mark.parametrize("threads", [1, 2])
def test_the_timed_product_is_the_product(form: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    product = products.Product("none", "none", form, 33, 50, 20)
    a, b, c = products.operands(product)
    monkeypatch.setattr(products, "operands", lambda product: (a, b, c))
    c[...] = np.nan
    with use_kernels("auto"):
        call = products.minitrain_product(product, threads)
        call()
        call()
    left, right = (a.T if form == "tn" else a), (b.T if form == "nt" else b)
    assert left.shape == (33, 20) and right.shape == (20, 50)
    np.testing.assert_allclose(c, left @ right, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", SIZES)
def test_the_products_are_those_of_a_step(name: str) -> None:
    """Those of a block as often as there are blocks, the head once; a Llama has two layers up."""
    size = SIZES[name]
    times = {"head": 1, "up": size.n_layer * (2 if size.family == "llama" else 1)}
    found = sum(p.flops * times.get(p.layer, size.n_layer) for p in products.products() if p.size == name)
    assert found == step_flops(size).products
