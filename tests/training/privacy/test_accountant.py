"""The budget against formulas that were written down independently of the package."""

from __future__ import annotations

import math
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special, stats

from minitrain.errors import ConfigError
from minitrain.training import epsilon_of, quick_epsilon_of
from minitrain.training.privacy.accountant import check_installed

package = pytest.importorskip("dp_accounting")


def gaussian_epsilon(noise: float, steps: int, delta: float) -> float:
    """Gaussian noise without sampling, exact: Balle and Wang (2018, arXiv:1805.06530), theorem 8."""
    mu = math.sqrt(steps) / noise

    def excess(epsilon: float) -> float:
        lost = math.exp(epsilon) * stats.norm.cdf(-mu / 2 - epsilon / mu)
        return float(stats.norm.cdf(mu / 2 - epsilon / mu) - lost - delta)

    return float(optimize.brentq(excess, 0, 200))


def renyi_epsilon(rate: float, noise: float, steps: int, delta: float) -> float:
    """Poisson sampling: Mironov et al. (2019, arXiv:1908.10530), section 3.3, with the plain conversion to epsilon."""
    best = math.inf
    for order in range(2, 400):
        terms = [
            special.gammaln(order + 1)
            - special.gammaln(k + 1)
            - special.gammaln(order - k + 1)
            + (order - k) * math.log1p(-rate)
            + k * math.log(rate)
            + k * (k - 1) / (2 * noise**2)
            for k in range(order + 1)
        ]
        divergence = steps * float(special.logsumexp(terms)) / (order - 1)
        best = min(best, divergence + math.log(1 / delta) / (order - 1))
    return best


@pytest.mark.parametrize(("noise", "steps", "delta"), [(1.0, 1, 1e-5), (4.0, 10, 1e-5), (10.0, 500, 1e-6)])
def test_without_sampling_it_is_the_exact_budget_of_gaussian_noise(noise, steps, delta):
    exact = gaussian_epsilon(noise, steps, delta)
    found = epsilon_of(1.0, noise, steps, delta)
    assert exact - 1e-6 <= found <= exact * 1.002 + 1e-3
    assert found <= quick_epsilon_of(1.0, noise, steps, delta) <= renyi_epsilon(1 - 1e-12, noise, steps, delta) + 1e-6


@pytest.mark.parametrize(("rate", "noise", "steps", "delta"), [(0.01, 1.0, 200, 1e-5), (0.1, 1.5, 50, 1e-6)])
def test_with_sampling_it_is_at_most_the_bound_by_renyi_divergences_and_near_it(rate, noise, steps, delta):
    bound = renyi_epsilon(rate, noise, steps, delta)
    close, quick = epsilon_of(rate, noise, steps, delta), quick_epsilon_of(rate, noise, steps, delta)
    assert 0.5 * bound < close <= quick <= bound + 1e-6


def test_published_budgets_of_a_known_setting():
    # q = 0.01, sigma = 4, 10,000 steps, delta = 1e-5: Abadi et al., section 5.2, state 1.26 by moments of whole orders.
    assert quick_epsilon_of(0.01, 4.0, 10_000, 1e-5) == pytest.approx(1.26, rel=0.2)
    assert quick_epsilon_of(0.01, 4.0, 10_000, 1e-5) <= 1.26


@settings(max_examples=15)
@given(st.floats(0.01, 0.5), st.floats(0.5, 5), st.integers(1, 200))
def test_more_steps_larger_batches_and_less_noise_spend_more(rate, noise, steps):
    spent = quick_epsilon_of(rate, noise, steps, 1e-5)
    assert spent <= quick_epsilon_of(rate, noise, steps + 10, 1e-5)
    assert spent <= quick_epsilon_of(rate * 1.5, noise, steps, 1e-5)
    assert spent >= quick_epsilon_of(rate, noise * 1.2, steps, 1e-5)


def test_nothing_is_spent_without_a_step_and_everything_without_noise():
    for spent in (epsilon_of, quick_epsilon_of):
        assert spent(0.1, 1.0, 0, 1e-5) == 0
        assert spent(0.1, 0.0, 1, 1e-5) == math.inf


@pytest.mark.parametrize("wrong", [(0.0, 1.0, 1, 1e-5), (1.5, 1.0, 1, 1e-5), (0.1, -1.0, 1, 1e-5), (0.1, 1.0, 1, 1.0)])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ConfigError, match="privacy budget"):
        epsilon_of(*wrong)


@pytest.mark.parametrize("spent", [epsilon_of, quick_epsilon_of])
@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *(("rate", x) for x in (0.0, -0.1, 1.1, math.nan)),
        *(("noise_multiplier", x) for x in (-0.1, math.inf, math.nan)),
        ("steps", -1),
        *(("delta", x) for x in (0.0, 1.0, -0.1, math.nan)),
    ],
)
def test_the_setting_that_is_impossible_is_named(spent, name, wrong):
    right = {"rate": 0.1, "noise_multiplier": 1.0, "steps": 0, "delta": 1e-5}
    assert spent(**right) == 0
    assert spent(**(right | {"rate": 1.0, "noise_multiplier": 0.0})) == 0
    with pytest.raises(ConfigError, match=f"^the privacy budget: {name} = {wrong} must be"):
        spent(**(right | {name: wrong}))
    if name != "delta":
        with pytest.raises(ConfigError, match=f"^the privacy budget: {name} = {wrong} must be"):
            spent(**(right | {"delta": 7, name: wrong}))  # the first of two


def test_without_the_package_the_message_says_what_to_install(monkeypatch):
    for name in list(sys.modules):
        if name.split(".")[0] == "dp_accounting":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    with pytest.raises(ConfigError, match=r"pip install 'minitrain\[privacy\]'"):
        epsilon_of(0.1, 1.0, 1, 1e-5)
    with pytest.raises(ConfigError, match=r"pip install 'minitrain\[privacy\]'"):
        check_installed()
