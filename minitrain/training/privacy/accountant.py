"""The budget of a private training: epsilon for a delta, from the ``dp-accounting`` package of Google.

The accounting is that of Poisson sampling with Gaussian noise. Two data sets are neighbours if one of them has one
sample more. Nobody but the trainer may know which samples joined a batch, nor the noise.

- `epsilon_of` composes privacy loss distributions (Koskela et al., 2020, arXiv:1906.03049; Doroshenko et al., 2022,
  arXiv:2207.04380): nearly exact, and never too low. It takes a fraction of a
  second.
- `quick_epsilon_of` composes Rényi divergences of whole orders (Mironov et al., 2019, arXiv:1908.10530): a looser upper
  bound in milliseconds, for the records of a run.
"""

from __future__ import annotations

import math
from typing import Any

from ...errors import ConfigError

INTERVAL = 1e-3
"""Width of the steps in which privacy losses are kept; rounding is upwards, by less than a thousandth of epsilon."""
ORDERS = (*range(2, 64), 80, 96, 128, 192, 256, 512, 1024)
"""Orders of the Rényi divergences; whole ones have a finite sum, which always converges."""


def epsilon_of(rate: float, noise_multiplier: float, steps: int, delta: float) -> float:
    """The budget that a training spends, nearly exact.

    Args:
        rate: the probability with which a sample joins a batch, above 0 and at most 1.
        noise_multiplier: standard deviation of the noise over the largest norm of a sample's gradient.
        steps: number of updates.
        delta: the probability that epsilon does not hold.

    Returns:
        Epsilon; 0 without steps, infinity without noise.

    Raises:
        ConfigError: if an argument is out of range, or ``dp-accounting`` is not installed.
    """
    _check(rate, noise_multiplier, steps, delta)
    accountant = _package().pld.PLDAccountant(value_discretization_interval=INTERVAL)
    return _epsilon(accountant, rate, noise_multiplier, steps, delta)


def quick_epsilon_of(rate: float, noise_multiplier: float, steps: int, delta: float) -> float:
    """An upper bound of `epsilon_of` in a moment; same arguments and errors."""
    _check(rate, noise_multiplier, steps, delta)
    accountant = _package().rdp.RdpAccountant(list(ORDERS))
    return _epsilon(accountant, rate, noise_multiplier, steps, delta)


def _epsilon(accountant: Any, rate: float, noise_multiplier: float, steps: int, delta: float) -> float:
    if steps == 0:
        return 0.0
    package = _package()
    accountant.compose(package.PoissonSampledDpEvent(rate, package.GaussianDpEvent(noise_multiplier)), steps)
    return float(accountant.get_epsilon(delta))


def check_installed() -> None:
    """Raise a ``ConfigError`` if ``dp-accounting`` is not installed: nobody would know what a training spends."""
    _package()


def _package() -> Any:
    try:
        import dp_accounting
        import dp_accounting.pld
        import dp_accounting.rdp
    except ImportError as error:
        raise ConfigError(
            f"private training needs the package dp-accounting, which says what it spends ({error}): "
            "pip install 'minitrain[privacy]'"
        ) from error
    return dp_accounting


def _check(rate: float, noise_multiplier: float, steps: int, delta: float) -> None:
    good = {
        f"rate = {rate} must be above 0 and at most 1": 0 < rate <= 1,
        f"noise_multiplier = {noise_multiplier} must be 0 or more": 0 <= noise_multiplier < math.inf,
        f"steps = {steps} must be 0 or more": steps >= 0,
        f"delta = {delta} must be above 0 and below 1": 0 < delta < 1,
    }
    if wrong := [rule for rule, holds in good.items() if not holds]:
        raise ConfigError(f"the privacy budget: {wrong[0]}")
