"""Schedules against ``torch.optim.lr_scheduler`` over 200 updates."""

import pytest
from torch.optim import lr_scheduler

from minitrain.optim import schedules

from .test_optim import torch_rates

LR, STEPS = 0.3, 200
PAIRS = {
    "step": (schedules.StepDecay(LR, 30, gamma=0.5), lambda o: lr_scheduler.StepLR(o, 30, gamma=0.5)),
    "multi-step": (schedules.MultiStep(LR, (10, 11, 150)), lambda o: lr_scheduler.MultiStepLR(o, [10, 11, 150])),
    "exponential": (schedules.Exponential(LR, 0.97), lambda o: lr_scheduler.ExponentialLR(o, 0.97)),
    "linear": (schedules.Linear(LR, 0.1 * LR, 130), lambda o: lr_scheduler.LinearLR(o, 1.0, 0.1, total_iters=130)),
    "linear-up": (schedules.Linear(0.2 * LR, LR, 50), lambda o: lr_scheduler.LinearLR(o, 0.2, 1.0, total_iters=50)),
    "polynomial": (schedules.Polynomial(LR, 150, power=2.5), lambda o: lr_scheduler.PolynomialLR(o, 150, power=2.5)),
    "restarts": (
        schedules.CosineRestarts(LR, 0.01, 30),
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 30, 1, 0.01),
    ),
    "longer-restarts": (
        schedules.CosineRestarts(LR, 0.0, 12, 3),
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 12, 3),
    ),
    "one-cycle": (schedules.OneCycle(LR, STEPS), lambda o: lr_scheduler.OneCycleLR(o, LR, STEPS, cycle_momentum=False)),
    "one-cycle-of-lines": (
        schedules.OneCycle(LR, STEPS, rise=0.413, start_factor=5.0, end_factor=50.0, shape="linear"),
        lambda o: lr_scheduler.OneCycleLR(
            o,
            LR,
            STEPS,
            pct_start=0.413,
            anneal_strategy="linear",
            cycle_momentum=False,
            div_factor=5.0,
            final_div_factor=50.0,
        ),
    ),
    "inverse-sqrt": (
        schedules.InverseSqrt(LR, 40),
        lambda o: lr_scheduler.LambdaLR(o, lambda step: min((step + 1) / 40, (40 / (step + 1)) ** 0.5)),
    ),
    "warm-up": (
        schedules.Warmup(schedules.StepDecay(LR, 30, gamma=0.5), 20),
        lambda o: lr_scheduler.SequentialLR(
            o,
            [lr_scheduler.LinearLR(o, 1 / 21, total_iters=20), lr_scheduler.StepLR(o, 30, gamma=0.5)],
            milestones=[20],
        ),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_rates(name):
    schedule, peer = PAIRS[name]
    steps = STEPS - 1 if isinstance(schedule, schedules.OneCycle) else STEPS  # PyTorch's has no step after its last
    expected = torch_rates(peer, LR, steps)
    assert len(set(expected)) > 2
    assert [schedule(step) for step in range(steps)] == pytest.approx(expected, rel=1e-9, abs=1e-13)
