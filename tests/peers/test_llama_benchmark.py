"""The Llama that the benchmarks race against is the same model: logits, loss and gradients."""

import numpy as np
import torch

from minitrain.benchmark.sizes import SIZES
from minitrain.benchmark.tokens import Batch
from minitrain.benchmark.torch_llama import Llama as TorchLlama
from minitrain.benchmark.torch_llama import load_from_minitrain
from minitrain.models import Llama, LlamaConfig


def test_the_peer_is_the_same_model():
    settings = SIZES["llama"].model() | {"n_layer": 2, "n_embd": 48, "block_size": 20}
    ours = Llama(LlamaConfig(**settings), seed=1, dtype=np.float64)
    theirs = TorchLlama(**settings).double()
    load_from_minitrain(theirs, ours.state_dict())
    rng = np.random.default_rng(0)
    tokens, targets = rng.integers(0, 65, (2, 3, 20))
    loss, cache = ours.loss(Batch(tokens, targets))
    ours.loss_backward(cache)
    expected = theirs.loss(torch.from_numpy(tokens), torch.from_numpy(targets))
    expected.backward()
    assert abs(loss.mean - expected.item()) < 1e-6  # the peer's angles are in single precision
    for path, parameter in theirs.named_parameters():
        gradient = dict(ours.named_parameters())[path].grad / loss.count
        np.testing.assert_allclose(gradient, parameter.grad.numpy(), atol=1e-6 * abs(gradient).max(), err_msg=path)
