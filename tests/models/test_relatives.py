"""Settings that make other families of GPT and Llama: positions, biases, wider heads, rotations of longer texts."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from minitrain.backend import use_kernels
from minitrain.errors import ConfigError
from minitrain.models import GPTConfig, LlamaConfig
from minitrain.nn import Rope
from minitrain.nn.core.init import blank_weights
from minitrain.tasks.text.need import parameter_count
from minitrain.testing import CheckSettings, check_module
from tests.helpers.model_checks import KEY, LossOf, assert_close, gradients_of, stir
from tests.helpers.model_zoo import KINDS, RELATIVES, rows

relatives = pytest.mark.parametrize("kind", RELATIVES.values(), ids=RELATIVES)
ALONG_DIRECTIONS = CheckSettings(elementwise=0)


@relatives
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradients_of_the_loss(kind, dropout):
    """Of every parameter, in float64, against finite differences."""
    model = stir(kind.build(dtype=np.float64, dropout=dropout))
    loss = LossOf(model, kind.batch(dtype=np.float64))
    options = {"key": KEY} if dropout else {}
    report = check_module(loss, settings=ALONG_DIRECTIONS, **options)
    assert {argument.name for argument in report.arguments} == {f"model.{path}" for path, _ in model.named_parameters()}


@relatives
def test_kernels_give_the_gradients_of_the_reference(kind):
    model, batch, results = stir(kind.build()), kind.batch(4), {}
    for mode in ("reference", "auto"):
        with use_kernels(mode):
            loss, _ = model.loss(batch)
            results[mode] = gradients_of(model, [batch]) | {"loss": np.asarray(loss.total)}
    assert_close(results["auto"], results["reference"], 1e-4)


@relatives
def test_any_split_of_a_batch_gives_its_gradient(kind):
    whole = kind.batch(6, dtype=np.float64)
    parts = [rows(whole, a, b) for a, b in pairwise([0, 1, 4, 6])]
    model = stir(kind.build(dtype=np.float64, dropout=0.3))
    assert_close(gradients_of(model, parts, key=KEY), gradients_of(model, [whole], key=KEY), 1e-10)


@relatives
def test_weights_are_counted_from_the_settings(kind):
    assert parameter_count(kind.configure()) == kind.build().parameter_count()


@relatives
def test_every_setting_changes_the_result(kind):
    """Weights that both have are equal; the rest starts at zero or one."""
    plain = KINDS["gpt" if kind.config is GPTConfig else "llama"]
    usual = plain.build(bias=False) if kind.config is GPTConfig and not kind.configure().bias else plain.build()
    model, batch = kind.build(), kind.batch()
    weights = stir(usual).state_dict()
    own = model.state_dict()
    model.load_state_dict({k: v for k, v in weights.items() if k in own and v.shape == own[k].shape}, strict=False)
    assert abs(model.forward(batch.inputs)[0] - usual.forward(batch.inputs)[0]).max() > 1e-3


@pytest.mark.parametrize("name", ["gpt", "llama", "seq2seq", "vit"])
def test_blank_weights_are_those_that_would_be_drawn(name):
    """They are zeros, in the same shapes; norms still start at one."""
    drawn = KINDS[name].build()
    with blank_weights():
        blank = KINDS[name].build()
    for path, weight in drawn.state_dict().items():
        found = blank.state_dict()[path]
        assert found.shape == weight.shape
        assert not found.any() or np.array_equal(found, weight)
    assert not blank.tok_emb.weight.data.any() if hasattr(blank, "tok_emb") else True
    after = KINDS[name].build()
    assert all(np.array_equal(after.state_dict()[path], weight) for path, weight in drawn.state_dict().items())


def test_llama_3_slows_down_the_slow_rotations_alone():
    """Fast pairs keep their frequency, slow ones are divided, and those between lie between."""
    rope = Rope(10000.0, 8.0, "llama3", original=1000)
    usual = 10000.0 ** (-np.arange(0, 64, 2) / 64)
    factor = np.array(rope.options(64)["frequencies"]) / usual
    turns = 1000 * usual / (2 * np.pi)
    np.testing.assert_allclose(factor[turns > 4], 1)
    np.testing.assert_allclose(factor[turns < 1], 1 / 8)
    between = factor[(turns > 1) & (turns < 4)]
    assert len(between) >= 3
    assert (np.diff(between) < 0).all()
    assert ((between > 1 / 8) & (between < 1)).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rope_kind": "lama3"}, "rope_kind = 'lama3': did you mean 'llama3'"),
        ({"rope_low": 5.0}, r"rope_low = 5.0 must be less than rope_high = 4.0"),
        ({"rope_original": 0}, "rope_original = 0 must be 1 or more"),
        ({"head_width": 7}, "head_width = 7 is odd"),
        ({"head_width": 0}, "head_width = 0 must be 1 or more"),
        ({"positions": "alibi", "head_width": 7, "n_kv_head": 3}, "n_kv_head = 3 does not divide n_head = 4"),
    ],
)
def test_settings_that_do_not_fit_are_explained(settings, message):
    with pytest.raises(ConfigError, match=message):
        LlamaConfig(5, **settings)


def test_a_head_width_frees_the_number_of_heads():
    assert LlamaConfig(5, n_embd=10, n_head=4, head_width=6).head_width == 6
    with pytest.raises(ConfigError, match="n_embd = 10 is not a multiple of n_head = 4"):
        LlamaConfig(5, n_embd=10, n_head=4)
