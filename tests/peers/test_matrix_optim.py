"""Adafactor, Muon, SWA and reduce-on-plateau against ``torch.optim``, in float64."""

import inspect

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.nn import Module, Parameter, pack
from minitrain.optim import SGD, Adafactor, Muon, ReduceOnPlateau, StochasticWeightAverage
from minitrain.testing.strategies import seeds

SHAPES = {"wide": (3, 5), "tall": (6, 2), "vector": (7,), "table": (2, 3, 4)}
MATRICES = ("wide", "tall")


class Weights(Module):
    def __init__(self, seed, names=tuple(SHAPES)):
        rng = np.random.default_rng(seed)
        for name in names:
            setattr(self, name, Parameter(rng.standard_normal(SHAPES[name])))


def compare(model, ours, theirs, peer, seed, scale):
    """Thirty updates on random gradients with a changing rate."""
    rng = np.random.default_rng(seed)
    rates = [group["lr"] for group in peer.param_groups]
    for step in range(30):
        ours.set_lr(rates[0] / (1 + 0.1 * step))
        for group, rate in zip(peer.param_groups, rates, strict=True):
            group["lr"] = rate / (1 + 0.1 * step)
        ours.zero_grad()
        for name, parameter in model.named_parameters():
            gradient = 10.0 ** rng.integers(-1, 2) * rng.standard_normal(parameter.data.shape)
            parameter.grad[...] = gradient
            if name in theirs:
                theirs[name].grad = torch.tensor(scale * gradient)
        ours.step(scale)
        peer.step()
        for name, parameter in theirs.items():
            np.testing.assert_allclose(model.state_dict()[name], parameter.detach(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    "options", [{}, {"beta2_decay": -0.5, "d": 1.3}, {"eps": (1e-3, 0.5)}, {"lr": 10.0, "eps": (None, 1e-4)}]
)
@settings(max_examples=8)
@given(seed=seeds(), packed=st.booleans(), weight_decay=st.sampled_from([0.0, 0.1]), scale=st.sampled_from([1.0, 0.25]))
def test_adafactor_trajectory(options, seed, packed, weight_decay, scale):
    model = Weights(seed)
    theirs = {name: torch.nn.Parameter(torch.tensor(p.data)) for name, p in model.named_parameters()}
    if packed:
        pack(model)
    ours = Adafactor(model, weight_decay=weight_decay, **options)
    groups = [{"params": [p], "weight_decay": weight_decay if p.ndim >= 2 else 0.0} for p in theirs.values()]
    peer = torch.optim.Adafactor(groups, **options)
    compare(model, ours, theirs, peer, seed + 1, scale)
    moments = ours.state_dict()["moments"]
    for name, parameter in theirs.items():
        for moment in ("row_var", "col_var") if parameter.ndim >= 2 else ("variance",):
            np.testing.assert_allclose(moments[f"{moment}.{name}"], peer.state[parameter][moment], rtol=1e-10)


@pytest.mark.parametrize(
    "options",
    [{}, {"momentum": 0.5, "ns_steps": 3}, {"nesterov": False}, {"adjust_lr_fn": "match_rms_adamw", "eps": 1e-3}],
)
@settings(max_examples=8)
@given(seed=seeds(), packed=st.booleans(), weight_decay=st.sampled_from([0.0, 0.1]), scale=st.sampled_from([1.0, 0.25]))
def test_muon_trajectory(options, seed, packed, weight_decay, scale):
    """PyTorch orthogonalises in bfloat16 whatever the weights are; here it is made to stay in float64."""
    model = Weights(seed)
    theirs = {name: torch.nn.Parameter(torch.tensor(getattr(model, name).data)) for name in MATRICES}
    if packed:
        pack(model)
    ours = Muon(model, lr=0.02, weight_decay=weight_decay, **options)
    peer = torch.optim.Muon(theirs.values(), lr=0.02, weight_decay=weight_decay, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)
        compare(model, ours, theirs, peer, seed + 1, scale)
    for name, parameter in theirs.items():
        buffer = peer.state[parameter]["momentum_buffer"]
        np.testing.assert_allclose(ours.state_dict()["moments"][f"momentum_buffer.{name}"], buffer, rtol=1e-10)


@pytest.mark.parametrize(("kind", "own"), [(Adafactor, {"relative_step"}), (Muon, {"adjust_lr_fn"})])
def test_settings_have_the_names_and_defaults_of_pytorch(kind, own):
    """Muon's ``adjust_lr_fn`` is written out: PyTorch's ``None`` means ``"original"``."""
    theirs = inspect.signature(getattr(torch.optim, kind.__name__)).parameters
    ours = {name: setting.default for name, setting in inspect.signature(kind).parameters.items() if name != "model"}
    shared = {name: default for name, default in ours.items() if name not in own and not name.startswith("adamw_")}
    assert shared == {name: theirs[name].default for name in shared}


@given(seed=seeds(), packed=st.booleans(), start=st.integers(1, 5), every=st.integers(1, 3))
@settings(max_examples=20)
def test_stochastic_weight_average(seed, packed, start, every):
    model, rng = Weights(seed), np.random.default_rng(seed)
    theirs = torch.nn.ParameterDict({name: torch.tensor(p.data) for name, p in model.named_parameters()})
    peer = torch.optim.swa_utils.AveragedModel(theirs)
    if packed:
        pack(model)
    average = StochasticWeightAverage(model, start=start, every=every)
    for step in range(1, 12):
        for name, parameter in model.named_parameters():
            parameter.data += rng.standard_normal(parameter.data.shape)
            theirs[name].data = torch.tensor(parameter.data)
        average.update()
        if step >= start and (step - start) % every == 0:
            peer.update_parameters(theirs)
    assert average.averaged == peer.n_averaged
    for name in SHAPES:
        np.testing.assert_allclose(average.state_dict()[name], peer.module[name].detach(), rtol=1e-12, atol=1e-12)


@given(
    seed=seeds(),
    mode=st.sampled_from(["min", "max"]),
    threshold_mode=st.sampled_from(["rel", "abs"]),
    threshold=st.sampled_from([0.0, 1e-4, 0.1]),
    patience=st.integers(0, 4),
    cooldown=st.integers(0, 4),
    min_lr=st.sampled_from([0.0, 0.01]),
)
@settings(max_examples=40)
def test_reduce_on_plateau(seed, mode, threshold_mode, threshold, patience, cooldown, min_lr):
    """Two hundred values of a metric that falls, stalls, repeats itself and is NaN at times.

    They are positive: PyTorch's relative threshold takes worse values for better ones where the metric is negative.
    """
    options = {
        "mode": mode,
        "threshold_mode": threshold_mode,
        "threshold": threshold,
        "patience": patience,
        "cooldown": cooldown,
        "min_lr": min_lr,
        "factor": 0.7,
    }
    ours = SGD(Weights(0), lr=1.0)
    theirs = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, peer = ReduceOnPlateau(ours, **options), torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, **options)
    rng = np.random.default_rng(seed)
    walk = 5 * np.exp(np.cumsum(rng.choice([-0.06, 0.0, 0.0, 0.04], 200)))
    walk[rng.integers(0, 200, 5)] = np.nan
    rates = []
    for metric in walk:
        scheduler.step(metric)
        peer.step(metric)
        rates.append(ours.get_lr())
        assert rates[-1] == theirs.param_groups[0]["lr"]
    assert len(set(rates)) > 1
    assert scheduler.best == peer.best
