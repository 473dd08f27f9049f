"""Private training as a configuration names it."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping
from typing import Any

from ...backend.arrays import is_array
from ...data.loading.poisson import PoissonLoader
from ...data.samples.datasets import ArrayDataset, SampleDataset
from ...distributed.group import Group
from ...errors import ConfigError, did_you_mean
from ...random import Key, checked_seed
from ...settings.declared import arguments, read_config, settings_of
from ...states import Kind, Whole, checked
from .accountant import check_installed, epsilon_of, quick_epsilon_of
from .gradients import PrivateStep

SECRET_BITS = 63


class DPSGD:
    """Differentially private training, DP-SGD (Abadi et al., 2016, arXiv:1607.00133).

    Each sample's gradient, that of the mean loss over its targets, is cut to a norm of ``clip``. Noise of standard
    deviation ``noise_multiplier * clip`` is added to their sum, and the result is divided by the mean size of a batch.
    Any optimizer goes on from there. Batches are drawn by `PoissonLoader`.

    Who joins a batch and the noise come from one secret number, which checkpoints keep, so that a resumed run ends with
    the same bytes. Whoever knows it can remove the noise: publish weights, not the run folder.

    Args:
        clip: C, the largest norm of a sample's gradient.
        noise_multiplier: standard deviation of the noise over ``clip``; 0 clips only and protects nobody.
        delta: the probability that epsilon does not hold; well below one over the number of samples.
        seed: the secret number; ``None`` draws one that nobody knows. Give one to repeat an experiment, never to
            protect data.

    Attributes:
        loader: the training data once it is known.

    Raises:
        ConfigError: if a setting is out of range.
    """

    def __init__(
        self, clip: float = 1.0, noise_multiplier: float = 1.0, *, delta: float = 1e-5, seed: int | None = None
    ) -> None:
        good = 0 < clip < math.inf and 0 <= noise_multiplier < math.inf and 0 < delta < 1
        if not good:
            raise ConfigError(
                f"privacy dp: clip={clip} must be above 0, noise_multiplier={noise_multiplier} 0 or more, and "
                f"delta={delta} above 0 and below 1"
            )
        self.clip, self.noise_multiplier, self.delta = clip, noise_multiplier, delta
        self.secret = secrets.randbits(SECRET_BITS) if seed is None else checked_seed(seed)
        self.loader: PoissonLoader | None = None

    def load(self, data: Any, batch_size: int) -> PoissonLoader:
        """The batches of private training.

        Args:
            data: a data set of samples, or a pair of arrays ``(inputs, targets)``.
            batch_size: the mean number of samples in a batch.

        Raises:
            ConfigError: if it is neither (batches that are there already were not drawn as the accounting asks), or if
                ``dp-accounting`` is not installed.
        """
        check_installed()
        if isinstance(data, PoissonLoader):
            self.loader = data
            self.loader.key = self._sampling_key()
        else:
            if isinstance(data, tuple) and len(data) == 2 and all(map(is_array, data)):
                data = ArrayDataset(inputs=data[0], targets=data[1])
            if not isinstance(data, SampleDataset):
                raise ConfigError(
                    f"private training draws its batches itself, and the training data is a {type(data).__name__}: "
                    "give a data set of samples, or a pair of arrays (inputs, targets)"
                )
            self.loader = PoissonLoader(data, batch_size, self._sampling_key())
        return self.loader

    def share(self, group: Group) -> None:
        """Take the secret number of rank 0, so that all ranks draw the same samples and the same noise.

        Args:
            group: the ranks. Each learns the number, and the sums of gradients before there is noise in them.
        """
        self.load_state_dict(group.from_main(self.state_dict()))

    def step(self, number: int) -> PrivateStep:
        """The parameters of private update ``number``, counted from 0."""
        assert self.loader is not None  # a trainer has called `load`
        return PrivateStep(self.clip, self.noise_multiplier, self.loader.batch_size, self._noise_key().fold(number))

    def epsilon(self, steps: int, *, quick: bool = False) -> float:
        """The budget that so many updates spend on the training data; ``quick`` is an upper bound of it in a moment."""
        assert self.loader is not None  # a trainer has called `load`
        spent = quick_epsilon_of if quick else epsilon_of
        return spent(self.loader.rate, self.noise_multiplier, steps, self.delta)

    def describe(self, steps: int) -> str:
        """The budget of so many updates in a sentence."""
        assert self.loader is not None
        return (
            f"differentially private: epsilon {self.epsilon(steps):.3g} at delta {self.delta:g} for one of "
            f"{len(self.loader.dataset):,} training samples (clip {self.clip:g}, noise multiplier "
            f"{self.noise_multiplier:g}, Poisson sampling at rate {self.loader.rate:.3g}, {steps} steps)"
        )

    def state_dict(self) -> dict[str, Any]:
        """The secret number."""
        return {"secret": self.secret}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with the secret number of a checkpoint.

        Raises:
            CheckpointError: if it is none.
        """
        declared: dict[str, Kind] = {"secret": Whole(high=2**64 - 1)}
        self.secret = checked("privacy", state, declared)["secret"]
        if self.loader is not None:
            self.loader.key = self._sampling_key()

    def _noise_key(self) -> Key:
        return Key.from_seed(self.secret).fold("noise")

    def _sampling_key(self) -> Key:
        return Key.from_seed(self.secret).fold("sampling")


PRIVACY: dict[str, type[DPSGD]] = {"dp": DPSGD}
"""The ways to train privately by name."""


def create_privacy(config: Mapping[str, Any] | str | None) -> DPSGD | None:
    """The private training that a configuration names; ``None`` trains without privacy.

    Args:
        config: a name, or a mapping of ``name`` and the settings.

    Raises:
        ConfigError: for an unknown name or setting (names the nearest one), or a wrong value.
    """
    if config is None:
        return None
    values = read_config({"name": config} if isinstance(config, str) else config, "privacy")
    name = values.pop("name")
    if name not in PRIVACY:
        raise ConfigError(
            f"privacy = {name!r:.100}: {did_you_mean(name, PRIVACY)}use one of {', '.join(PRIVACY)}, or null for none"
        )
    return PRIVACY[name](**arguments(f"privacy {name}", settings_of(PRIVACY[name]), values))
