"""What multiplies bfloat16 matrices is a part of a run in that precision. A process decides it once."""

from __future__ import annotations

from pathlib import Path

import pytest

from minitrain.backend import use_kernels
from minitrain.backend.cpu.products import bf16_units
from minitrain.backend.cpu.products.bf16_units import bf16_unit
from minitrain.backend.precision import use_precision
from minitrain.backend.product import Product
from minitrain.backend.product_choice import in_use, keep_using
from minitrain.checkpoint import CheckpointManager, read_checkpoint
from minitrain.models.gpt import GPT, GPTConfig
from minitrain.optim import AdamW
from tests.helpers.processes import run_python
from tests.helpers.small_runs import half_done, newest, outcome

TRAIN = """
    from pathlib import Path
    from minitrain.runs import start_run
    from tests.helpers.small_runs import small_config
    start_run(small_config(Path({folder!r}), trainer_precision="bfloat16")).train()
"""
CONTINUE = """
    from minitrain.runs import resume_run
    told = []
    resume_run({folder!r}, warn=told.append).train()
    print("TOLD", *told, sep="|")
"""
CLEAN = {"MINITRAIN_BLAS": "", "MINITRAIN_KERNELS": "auto", "MINITRAIN_BFLOAT16": ""}
BUT = "the bytes will differ from those of an uninterrupted run"


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on what has the bits of AMX."""
    folder = tmp_path_factory.mktemp("begun")
    run_python(TRAIN.format(folder=str(folder)), **{**CLEAN, "MINITRAIN_BFLOAT16": "amx-model"})
    return folder / "run"


@pytest.fixture
def half(begun: Path, tmp_path: Path) -> Path:
    """The same run as if it had been stopped on the way."""
    return half_done(begun, tmp_path / "half")


def go_on(run: Path, unit: str) -> tuple[list[str], str]:
    """The warnings of a session that continues ``run``, and all that it printed."""
    said = run_python(CONTINUE.format(folder=str(run)), **{**CLEAN, "MINITRAIN_BFLOAT16": unit})
    (told,) = (line.split("|")[1:] for line in said.splitlines() if line.startswith("TOLD"))
    return told, said


def test_the_unit_is_recorded_and_used_again(begun: Path, half: Path) -> None:
    """A model of a unit has its bits, and counts as it."""
    assert read_checkpoint(newest(begun)).state["products"]["bfloat16"] == Product("amx")._asdict()
    told, said = go_on(half, "amx-model")
    assert not [line for line in told if BUT in line]
    assert "AMX tiles (bfloat16)" in said
    whole, continued = outcome(begun), outcome(half)
    for part in ("weights", "moments", "state", "sample"):
        assert whole[part] == continued[part], part


def test_another_unit_is_said(half: Path) -> None:
    told, _ = go_on(half, "float32")
    (line,) = (line for line in told if BUT in line)
    assert line == (
        "bfloat16 matrices were multiplied by AMX tiles, from here on by float32 arithmetic on rounded operands "
        f"(MINITRAIN_BFLOAT16=float32 is set): {BUT}"
    )
    record = read_checkpoint(newest(half)).state["products"]
    assert record["bfloat16"]["name"] == "float32", "the next checkpoint has what is used now"


def test_a_run_keeps_a_slower_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MINITRAIN_BFLOAT16", raising=False)
    monkeypatch.setattr(bf16_units, "_preferred", "")
    monkeypatch.setattr(bf16_units, "_linked", False)
    monkeypatch.setattr(bf16_units, "_missing", lambda unit: None)  # a processor that has all
    bf16_unit.cache_clear()
    try:
        with use_kernels("auto"):
            assert bf16_unit().name == "amx"
            told: list[str] = []
            keep_using({"bfloat16": Product("float32")}, "cpu", told.append)
            assert bf16_unit() == ("float32", "the run began with it")
            assert not [line for line in told if "bfloat16" in line]
            bf16_units.link_unit()
            keep_using({"bfloat16": Product("amx")}, "cpu", told.append)
            assert bf16_unit().name == "float32" and "were linked before" in told[-1]
    finally:
        bf16_unit.cache_clear()


def test_a_run_in_float32_has_no_unit(tmp_path: Path) -> None:
    assert "bfloat16" not in in_use()
    model = GPT(GPTConfig(vocab_size=11, block_size=8, n_layer=1, n_head=2, n_embd=8))
    manager = CheckpointManager(model, AdamW(model), tmp_path)
    assert "bfloat16" not in manager.contents(0, {}).state["products"]
    with use_precision("bfloat16"):
        assert "bfloat16" in manager.contents(0, {}).state["products"]
