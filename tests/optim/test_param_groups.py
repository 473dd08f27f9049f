"""Groups of parameters: decay and rate of their own, packed or not, and freezing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.errors import ConfigError, MinitrainError
from minitrain.models.gpt import GPT, GPTConfig
from minitrain.nn import Module, Parameter, ParamGroup, assign_groups, freeze, pack
from minitrain.optim import SGD, Adafactor, AdamW, Lion, Muon, RMSprop

GROUPS = (
    ParamGroup("blocks.*.matrix", weight_decay=0.5, lr_scale=2.0),
    ParamGroup(lambda path, parameter: parameter.data.ndim == 1, weight_decay=0.3),
    ParamGroup("head.*", lr_scale=0.1),
)


class Layer(Module):
    def __init__(self, rng, shape=(4, 3)):
        self.matrix = Parameter(rng.standard_normal(shape))
        self.vector = Parameter(rng.standard_normal(3))


class Model(Module):
    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        self.emb = Layer(rng, (7, 3))
        self.blocks = [Layer(rng), Layer(rng)]
        self.head = Layer(rng)


def small_gpt():
    return GPT(GPTConfig(vocab_size=7, block_size=4, n_layer=2, n_head=2, n_embd=8, bias=True), seed=0)


def advance(model, optimizer, steps=4):
    rng = np.random.default_rng(1)
    for _ in range(steps):
        optimizer.zero_grad()
        for _, parameter in model.named_parameters():
            gradient = rng.standard_normal(parameter.data.shape)
            if parameter.trainable:
                parameter.grad[...] = gradient
        optimizer.step(0.5)


@pytest.mark.parametrize("kind", [SGD, AdamW, RMSprop, Lion, Adafactor, Muon])
def test_packed_is_unpacked_with_groups(kind):
    one, two = Model(), Model()
    for model in (one, two):
        assign_groups(model, *GROUPS)
        freeze(model, "blocks.1.vector")
    flat = pack(two)
    assert [group.group for group in flat] == [ParamGroup("*"), GROUPS[1], GROUPS[0], GROUPS[2]]
    first, second = (kind(model, lr=0.01, weight_decay=0.1) for model in (one, two))
    advance(one, first)
    advance(two, second)
    for path, array in one.state_dict().items():
        assert np.array_equal(array, two.state_dict()[path]), path
    assert first.state_dict()["moments"].keys() == second.state_dict()["moments"].keys()
    frozen = dict(Model().named_parameters())["blocks.1.vector"].data
    assert np.array_equal(one.blocks[1].vector.data, frozen)


@pytest.mark.parametrize("packed", [False, True])
def test_every_group_has_its_own_decay_and_rate(packed):
    """At a gradient of zero, AdamW only decays: by lr * lr_scale * weight_decay."""
    model = Model()
    before = {path: array.copy() for path, array in model.state_dict().items()}
    assign_groups(model, *GROUPS)
    if packed:
        pack(model)
    for parameter in model.parameters():
        parameter.grad[...] = 0
    AdamW(model, lr=0.1, weight_decay=0.2).step()
    shares = {
        "emb.matrix": 0.1 * 0.2,
        "blocks.0.matrix": 0.2 * 0.5,
        "head.matrix": 0.01 * 0.2,
        "head.vector": 0.1 * 0.3,  # the second group matches it first
    }
    for path, share in shares.items():
        np.testing.assert_allclose(model.state_dict()[path], before[path] * (1 - share), rtol=1e-12)


@given(lr_scale=st.floats(0.1, 10), weight_decay=st.floats(0, 1), packed=st.booleans())
@settings(max_examples=10)
def test_one_group_of_everything_is_another_rate(lr_scale, weight_decay, packed):
    one, two = Model(), Model()
    assign_groups(one, ParamGroup(lambda path, parameter: parameter.data.ndim == 2, weight_decay, lr_scale))
    if packed:
        pack(one)
    advance(one, AdamW(one, lr=0.01))
    advance(two, AdamW(two, lr=0.01 * lr_scale, weight_decay=weight_decay))
    assert np.array_equal(one.head.matrix.data, two.head.matrix.data)


def test_without_groups_the_bytes_are_as_they_were():
    """A packed model has one stretch of matrices and tables and one of vectors, each in reverse order."""
    model = small_gpt()
    groups = pack(model)
    assert [group.decay for group in groups] == [True, False]
    for group, ndim in zip(groups, (2, 1), strict=True):
        paths = [path for path, p in reversed(list(model.named_parameters())) if min(p.data.ndim, 2) == ndim]
        assert list(group.spans) == paths


def test_groups_assigned_anew_replace_the_old_ones():
    model = Model()
    assign_groups(model, ParamGroup("head.*", lr_scale=0.5))
    assign_groups(model, ParamGroup("emb.*", lr_scale=0.25))
    assert {p.group.lr_scale for path, p in model.named_parameters() if path.startswith("head")} == {1.0}
    assert model.emb.matrix.group.lr_scale == 0.25
    assign_groups(model)
    assert {parameter.group for parameter in model.parameters()} == {ParamGroup("*")}


def test_freezing_skips_gradients_and_updates():
    model = small_gpt()
    assert freeze(model, "tok_emb.*") == ["tok_emb.weight"]
    assert not model.tok_emb.weight.trainable
    assert len(freeze(model)) == len(model.parameters())
    model = small_gpt()
    freeze(model, lambda path, parameter: parameter.data.ndim == 1)
    assert [group.decay for group in pack(model)] == [True]


MISTAKES = {
    "matches nothing": (
        lambda: assign_groups(Model(), ParamGroup("blocks.*.weights")),
        r"'blocks.\*.weights' matches no parameter; the nearest path is ",
    ),
    "matches nothing, a function": (
        lambda: assign_groups(Model(), ParamGroup(lambda path, parameter: False)),
        r"matches no parameter; dict\(model.named_parameters\(\)\) has all paths",
    ),
    "left without": (
        lambda: assign_groups(Model(), ParamGroup("head.*"), ParamGroup("head.matrix")),
        r"ParamGroup\('head.matrix'\) has no parameters left: .* put the more specific group first",
    ),
    "freeze nothing": (
        lambda: freeze(Model(), "heads.*"),
        r"'heads.\*' matches no parameter; the nearest path is head",
    ),
    "negative decay": (lambda: ParamGroup("*", weight_decay=-1), r"ParamGroup\('\*'\): weight_decay = -1 must be 0 or"),
    "rate not a number": (lambda: ParamGroup("*", lr_scale=float("nan")), "lr_scale = nan must be 0 or more"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_explained(name):
    call, message = MISTAKES[name]
    with pytest.raises(ConfigError, match=message):
        call()


@pytest.mark.parametrize("call", [lambda m: assign_groups(m, ParamGroup("*")), freeze], ids=["assign", "freeze"])
def test_a_packed_model_is_refused(call):
    model = Model()
    pack(model)
    with pytest.raises(MinitrainError, match=r"packed already: (assign groups|freeze) before pack\(model\)"):
        call(model)
