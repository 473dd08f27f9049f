"""Optimizers, clipping and schedules against ``torch.optim`` and ``torch.nn.utils``, in float64."""

import inspect
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.nn import Module, Parameter, pack
from minitrain.optim import (
    SGD,
    Adagrad,
    Adam,
    AdamW,
    Constant,
    ExponentialAverage,
    NAdam,
    RMSprop,
    WarmupCosine,
    clip_by_global_norm,
    clip_by_value,
)
from minitrain.testing.strategies import seeds

TOLERANCE = 1e-12
SHAPES = {"matrix": (5, 3), "vector": (7,), "table": (2, 3, 4)}


@pytest.fixture(scope="module", autouse=True)
def double_precision():
    """NAdam keeps its product of momenta in PyTorch's default dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


class Weights(Module):
    """Parameters of one, two and three dimensions."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        for name, shape in SHAPES.items():
            setattr(self, name, Parameter(rng.standard_normal(shape)))


def set_gradients(model, rng, scale=1.0):
    """Random gradients on minitrain's side; returns them by name."""
    gradients = {name: scale * rng.standard_normal(shape) for name, shape in SHAPES.items()}
    for name, parameter in model.named_parameters():
        parameter.grad[...] = gradients[name]
    return gradients


def both(kind, seed, packed, *, lr, weight_decay, **options):
    """A model, the same weights for PyTorch, and an optimizer for either; the decay does not reach vectors."""
    model = Weights(seed)
    theirs = {name: torch.nn.Parameter(torch.tensor(p.data)) for name, p in model.named_parameters()}
    if packed:
        pack(model)
    ours = kind(model, lr=lr, weight_decay=weight_decay, **options)
    groups = [{"params": [p], "weight_decay": weight_decay if p.ndim >= 2 else 0.0} for p in theirs.values()]
    return model, theirs, ours, getattr(torch.optim, kind.__name__)(groups, lr=lr, **options)


def update_both(ours, model, rng, peer, theirs, *, rate, size, scale):
    """One update on either side, from the same gradients of about ``size``, times ``scale``, at the rate ``rate``."""
    ours.set_lr(rate)
    ours.zero_grad()
    gradients = set_gradients(model, rng, size)
    ours.step(scale)
    for group in peer.param_groups:
        group["lr"] = rate
    for name, parameter in theirs.items():
        parameter.grad = torch.tensor(scale * gradients[name])
    peer.step()


@given(
    seed=seeds(),
    packed=st.booleans(),
    lr=st.sampled_from([1e-3, 0.3]),
    betas=st.sampled_from([(0.9, 0.999), (0.5, 0.9), (0.0, 0.99)]),
    eps=st.sampled_from([1e-8, 1e-2]),
    weight_decay=st.sampled_from([0.0, 0.1]),
    scale=st.sampled_from([1.0, 0.25]),
)
def test_adamw_trajectory(seed, packed, lr, betas, eps, weight_decay, scale):
    """Weights and moments over ten updates with a changing rate; a factor on the gradients joins the update."""
    rng = np.random.default_rng(seed + 1)
    model, theirs, ours, peer = both(AdamW, seed, packed, lr=lr, weight_decay=weight_decay, betas=betas, eps=eps)
    for step in range(10):
        rate = lr / (1 + step)
        update_both(ours, model, rng, peer, theirs, rate=rate, size=10.0 ** rng.integers(-3, 3), scale=scale)
        for name, parameter in model.named_parameters():
            np.testing.assert_allclose(parameter.data, theirs[name].detach(), rtol=TOLERANCE, atol=TOLERANCE)
    moments = ours.state_dict()["moments"]
    for name, parameter in theirs.items():
        for moment in ("exp_avg", "exp_avg_sq"):
            wanted = peer.state[parameter][moment]
            np.testing.assert_allclose(moments[f"{moment}.{name}"], wanted, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("kind", [SGD, Adam, AdamW, RMSprop, Adagrad, NAdam])
def test_settings_have_the_names_and_defaults_of_pytorch(kind):
    theirs = inspect.signature(getattr(torch.optim, kind.__name__)).parameters
    ours = {name: setting.default for name, setting in inspect.signature(kind).parameters.items() if name != "model"}
    assert ours == {name: theirs[name].default for name in ours}


# Settings as PyTorch names them.
TRAJECTORIES = [
    (SGD, {}),
    (SGD, {"momentum": 0.9}),
    (SGD, {"momentum": 0.9, "dampening": 0.3}),
    (SGD, {"momentum": 0.8, "nesterov": True}),
    (Adam, {}),
    (Adam, {"betas": (0.5, 0.9), "eps": 1e-2}),
    (RMSprop, {}),
    (RMSprop, {"alpha": 0.9, "momentum": 0.9, "eps": 1e-3}),
    (RMSprop, {"centered": True}),
    (RMSprop, {"centered": True, "momentum": 0.5}),
    (Adagrad, {}),
    (Adagrad, {"lr_decay": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-3}),
    (NAdam, {}),
    (NAdam, {"betas": (0.5, 0.9), "eps": 1e-2, "momentum_decay": 0.5}),
]


@pytest.mark.parametrize(("kind", "options"), TRAJECTORIES)
@settings(max_examples=10)
@given(
    seed=seeds(),
    packed=st.booleans(),
    lr=st.sampled_from([1e-3, 0.1]),
    weight_decay=st.sampled_from([0.0, 0.1]),
    scale=st.sampled_from([1.0, 0.25]),
)
def test_trajectory(kind, options, seed, packed, lr, weight_decay, scale):
    """Weights and moments over thirty updates with a changing rate; the decay does not reach vectors."""
    rng = np.random.default_rng(seed + 1)
    model, theirs, ours, peer = both(kind, seed, packed, lr=lr, weight_decay=weight_decay, **options)
    for step in range(30):
        rate = lr / (1 + 0.1 * step)
        update_both(ours, model, rng, peer, theirs, rate=rate, size=10.0 ** rng.integers(-1, 2), scale=scale)
        for name, parameter in model.named_parameters():
            np.testing.assert_allclose(parameter.data, theirs[name].detach(), rtol=1e-10, atol=1e-10)
    expected = {
        f"{moment}.{name}": array
        for name, parameter in theirs.items()
        for moment, array in peer.state[parameter].items()
        if torch.is_tensor(array) and array.ndim
    }
    moments = ours.state_dict()["moments"]
    assert moments.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(moments[name], array, rtol=1e-10, atol=1e-10)


@given(
    seed=seeds(),
    packed=st.booleans(),
    max_norm=st.sampled_from([0.1, 1.0, 5.0, 1e6, None]),
    scale=st.sampled_from([0.0, 1e-6, 0.2, 1.0, 1e6]),
    count=st.sampled_from([1.0, 12.0]),
)
def test_clip_by_global_norm(seed, packed, max_norm, scale, count):
    """The norm, and the gradient that the optimizer sees, are those of PyTorch's ``clip_grad_norm_``."""
    model = Weights(seed)
    if packed:
        pack(model)
    gradients = set_gradients(model, np.random.default_rng(seed), scale)
    theirs = {name: torch.nn.Parameter(torch.zeros(shape, dtype=torch.float64)) for name, shape in SHAPES.items()}
    for name, parameter in theirs.items():
        parameter.grad = torch.tensor(gradients[name] / count)
    norm = torch.nn.utils.clip_grad_norm_(theirs.values(), math.inf if max_norm is None else max_norm)
    clip = clip_by_global_norm(model, max_norm, count=count)
    assert clip.norm == pytest.approx(norm.item(), rel=TOLERANCE)
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(clip.scale * parameter.grad, theirs[name].grad, rtol=1e-9, atol=0)


@given(seed=seeds(), packed=st.booleans(), limit=st.sampled_from([0.01, 0.5, 1e6]), count=st.sampled_from([1.0, 12.0]))
def test_clip_by_value(seed, packed, limit, count):
    """The gradient that the optimizer sees is that of PyTorch's ``clip_grad_value_``."""
    model = Weights(seed)
    if packed:
        pack(model)
    gradients = set_gradients(model, np.random.default_rng(seed))
    theirs = {name: torch.nn.Parameter(torch.zeros(shape)) for name, shape in SHAPES.items()}
    for name, parameter in theirs.items():
        parameter.grad = torch.tensor(gradients[name] / count)
    torch.nn.utils.clip_grad_value_(theirs.values(), limit)
    scale = clip_by_value(model, limit, count=count)
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(scale * parameter.grad, theirs[name].grad, rtol=TOLERANCE)


@given(seed=seeds(), packed=st.booleans(), decay=st.sampled_from([0.0, 0.5, 0.99]))
def test_exponential_average(seed, packed, decay):
    """The averages are those of ``AveragedModel``, which starts from the weights of its first update."""
    model, rng = Weights(seed), np.random.default_rng(seed)
    if packed:
        pack(model)
    theirs = torch.nn.ParameterDict({name: torch.tensor(p.data) for name, p in model.named_parameters()})
    peer = torch.optim.swa_utils.AveragedModel(theirs, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(decay))
    average = ExponentialAverage(model, decay=decay)
    peer.update_parameters(theirs)
    for _ in range(10):
        for name, parameter in model.named_parameters():
            parameter.data += rng.standard_normal(parameter.data.shape)
            theirs[name].data = torch.tensor(parameter.data)
        average.update()
        peer.update_parameters(theirs)
    for name, array in average.state_dict().items():
        np.testing.assert_allclose(array, peer.module[name].detach(), rtol=TOLERANCE, atol=TOLERANCE)


def torch_rates(scheduler_of, lr, steps):
    """The learning rates that govern the first ``steps`` updates of a PyTorch scheduler."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = scheduler_of(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        with warnings.catch_warnings():
            # SequentialLR itself calls step() in a way that PyTorch deprecates.
            warnings.simplefilter("ignore", UserWarning)
            scheduler.step()
    return rates


@given(
    warmup=st.integers(0, 12),
    decay=st.integers(1, 40),
    min_lr=st.sampled_from([0.0, 1e-4]),
)
def test_warmup_cosine(warmup, decay, min_lr):
    """Linear warm-up, then cosine: ``LinearLR`` followed by ``CosineAnnealingLR``."""
    lr = 1e-3
    schedule = WarmupCosine(max_lr=lr, min_lr=min_lr, warmup_steps=warmup, total_steps=warmup + decay)
    steps = warmup + decay + 1  # PyTorch's cosine rises again after its end, ours stays

    def scheduler(optimizer):
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=decay, eta_min=min_lr)
        if warmup == 0:
            return cosine
        linear = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / (warmup + 1), total_iters=warmup)
        return torch.optim.lr_scheduler.SequentialLR(optimizer, [linear, cosine], milestones=[warmup])

    expected = torch_rates(scheduler, lr, steps)
    assert [schedule(step) for step in range(steps)] == pytest.approx(expected, rel=1e-9, abs=1e-15)
    assert schedule(steps + 5) == min_lr


@given(warmup=st.integers(1, 20))
def test_constant_with_warmup(warmup):
    schedule = Constant(lr=0.5, warmup_steps=warmup)
    steps = warmup + 5
    expected = torch_rates(
        lambda optimizer: torch.optim.lr_scheduler.LinearLR(optimizer, 1 / (warmup + 1), total_iters=warmup),
        0.5,
        steps,
    )
    assert [schedule(step) for step in range(steps)] == pytest.approx(expected, rel=1e-9)
