"""Names that a configuration can choose: registered in one line, or offered by an installed package."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitrain.errors import ConfigError, did_you_mean, nearest
from minitrain.nn import Module, Parameter
from minitrain.optim import (
    AdamW,
    Optimizer,
    Scheduler,
    Warmup,
    create_optimizer,
    create_scheduler,
    register_optimizer,
    register_schedule,
)
from minitrain.optim.registry import OPTIMIZERS, SCHEDULERS
from minitrain.settings.registry import Registry
from tests.helpers.places import ROOT

Install = Callable[[str, str, str], None]


class Point(Module):
    def __init__(self) -> None:
        self.place = Parameter(np.ones((2, 1)))


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a package that offers something: the group, the line of the entry point, and the module's source."""
    before = set(sys.modules)

    def installed(group: str, line: str, source: str) -> None:
        (tmp_path / "mine.py").write_text(source)
        info = tmp_path / "mine-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{line}\n")
        monkeypatch.syspath_prepend(str(tmp_path))

    yield installed
    for name in set(sys.modules) - before:
        if name == "mine":
            del sys.modules[name]


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it."""
    for registry in (OPTIMIZERS, SCHEDULERS):
        monkeypatch.setattr(registry, "_registered", dict(registry._registered))
        monkeypatch.setattr(registry, "_installed", None)


def test_an_optimizer_of_ones_own_is_one_line(clean: None) -> None:
    @register_optimizer("sign")
    class Sign(Optimizer):
        def __init__(self, model: Module, lr: float = 0.25, *, power: int = 1) -> None:
            self.power = power
            super().__init__(model, (), lr=lr, weight_decay=0.0)

        def update(self, weight: Any, grad: Any, moments: Any, *, lr: float, **options: float) -> None:
            weight -= lr * np.sign(grad) ** self.power

    model = Point()
    optimizer = create_optimizer({"name": "sign", "power": 3}, model)
    model.place.grad[...] = -7
    optimizer.step()
    assert model.place.data.tolist() == [[1.25], [1.25]]
    with pytest.raises(ConfigError, match=r"optimizer sign has no setting powr; did you mean power\?"):
        create_optimizer({"name": "sign", "powr": 3}, model)
    with pytest.raises(ConfigError, match=r"optimizer.name='sigh' is unknown; did you mean 'sign'\? known: adafactor"):
        create_optimizer({"name": "sigh"}, model)


def test_a_schedule_of_ones_own_is_one_line(clean: None) -> None:
    @register_schedule("halves")
    @dataclass(frozen=True)
    class Halves:
        max_lr: float
        total_steps: int
        times: int = 2

        def __call__(self, step: int) -> float:
            return self.max_lr * 0.5 ** (step * self.times // self.total_steps)

    assert create_scheduler({"name": "halves"}, 1.0, 10) == Halves(1.0, 10)
    scheduler = create_scheduler({"name": "halves", "times": 4, "warmup_steps": 2}, AdamW(Point(), lr=0.5), 10)
    assert isinstance(scheduler, Scheduler)
    assert scheduler.schedule == Warmup(Halves(0.5, 8, 4), 2)


def test_an_installed_package_offers_an_optimizer(install: Install, clean: None) -> None:
    source = "from minitrain.optim import AdamW\nclass Mine(AdamW):\n    pass\n"
    install("minitrain.optimizers", "mine = mine:Mine", source)
    assert "mine" in OPTIMIZERS and "mine" in list(OPTIMIZERS)
    assert "mine" not in sys.modules  # its code has not run yet
    made = create_optimizer({"name": "mine", "lr": 0.5, "beta1": 0.5}, Point())
    assert (type(made).__name__, made.get_lr(), made.betas) == ("Mine", 0.5, (0.5, 0.999))  # type: ignore[attr-defined]


def test_a_configuration_of_a_run_can_name_it(install: Install, clean: None) -> None:
    from minitrain.runs.optimizer_config import OPTIMIZER_CONFIGS

    install(
        "minitrain.optimizers", "mine = mine:Mine", "from minitrain.optim import Lion\nclass Mine(Lion):\n    pass\n"
    )
    section = OPTIMIZER_CONFIGS["mine"](beta1=0.25)
    assert (section.name, section.learning_rate, section.beta1) == ("mine", 1e-4, 0.25)  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"optimizer\.beta1 must be at least 0 and below 1"):
        OPTIMIZER_CONFIGS["mine"](beta1=2.0)


@pytest.mark.parametrize("source", ["import nowhere_to_be_found", "raise RuntimeError('no')", "", "Mine ="])
def test_a_package_that_does_not_load_is_named_and_harms_no_other(install: Install, clean: None, source: str) -> None:
    install("minitrain.optimizers", "mine = mine:Mine", source)
    with pytest.raises(ConfigError, match="optimizer 'mine': the package that offers it as mine:Mine does not load: "):
        create_optimizer({"name": "mine"}, Point())
    assert isinstance(create_optimizer({"name": "adamw"}, Point()), AdamW)


def test_a_package_does_not_replace_what_is_there(install: Install, clean: None) -> None:
    install("minitrain.optimizers", "adamw = mine:Mine", "raise RuntimeError")
    assert type(create_optimizer({"name": "adamw"}, Point())) is AdamW
    assert list(OPTIMIZERS).count("adamw") == 1


def test_the_examples_of_the_guide_work(clean: None) -> None:
    guide = (ROOT / "CONTRIBUTING.md").read_text()
    names: dict[str, Any] = {}
    for title in ("## Add an optimizer", "## Add a schedule"):
        section = guide.partition(title)[2].partition("\n## ")[0]
        exec(re.findall(r"```python\n(.*?)```", section, flags=re.S)[0], names)
    model = Point()
    optimizer = create_optimizer({"name": "mean_gradient", "beta": 0.5}, model)
    scheduler = create_scheduler({"name": "halving", "parts": 2}, optimizer, 10)
    assert [scheduler(step) for step in (0, 4, 5, 9)] == [0.1, 0.1, 0.05, 0.05]
    model.place.grad[...] = 1
    optimizer.step()
    assert model.place.data[0, 0] == pytest.approx(1 - 0.1 * 0.5)


class TestRegistry:
    def test_it_is_a_mapping_in_alphabetical_order(self) -> None:
        registry: Registry[type] = Registry("thing")
        assert registry.register("b")(int) is int
        registry.register("a")(float)
        assert dict(registry) == {"a": float, "b": int} and list(registry) == ["a", "b"] and len(registry) == 2
        assert registry.look_up("a") is registry["a"] is float
        assert "c" not in registry and registry.get("c") is None
        assert repr(registry) == "Registry('thing': a, b)"
        with pytest.raises(KeyError):
            registry["c"]

    def test_a_name_is_given_once(self) -> None:
        registry: Registry[type] = Registry("thing")
        registry.register("a")(int)
        registry.register("a")(int)  # the same again, as when a module is imported again
        with pytest.raises(ConfigError, match=r"thing .a. is registered already, by builtins\.int; give b"):
            registry.register("a")(float)
        assert registry["a"] is int

    @pytest.mark.parametrize("name", ["", " a", None, 3])
    def test_a_name_is_text(self, name: Any) -> None:
        with pytest.raises(ConfigError, match="the name of a registered thing must be text, got"):
            Registry("thing").register(name)

    def test_an_empty_one_says_so(self) -> None:
        with pytest.raises(ConfigError, match=r"thing\.name='a' is unknown; known: none"):
            Registry("thing").look_up("a")


def test_the_nearest_name() -> None:
    assert nearest("adamm", ["adam", "sgd"]) == "adam"
    assert nearest("xyz", ["adam", "sgd"]) is None
    assert did_you_mean("adamm", iter(["adam", "sgd"])) == "did you mean 'adam'? "
    assert did_you_mean("xyz", ["adam"]) == ""
