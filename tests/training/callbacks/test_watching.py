"""Samples, speed, pictures and facts of a run while it trains."""

from __future__ import annotations

import itertools
import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from minitrain.backend.memory import peak_memory
from minitrain.errors import ConfigError, DataError
from minitrain.generation import continue_text
from minitrain.models.gpt import GPT, GPTConfig
from minitrain.models.mlp import MLP, MLPConfig
from minitrain.records import read_metrics
from minitrain.records.jsonl import TIMING
from minitrain.training import EMA, Callback, Plots, RunInfo, SampleGeneration, Throughput, Trainer
from minitrain.training.callbacks.monitors import utilisation
from minitrain.training.callbacks.monitors.utilisation import flops_per_second, sgemm_peak
from tests.helpers.interrupted_runs import DyingAt, interrupted
from tests.helpers.small_regression import trainer as regression_trainer
from tests.helpers.small_trainers import make


class Letters:
    """A tokenizer of eleven letters."""

    def encode(self, text: str) -> Any:
        if bad := set(text) - set("abcdefghijk"):
            raise DataError(f"cannot encode {bad}")
        return np.array([ord(letter) - ord("a") for letter in text], np.int32)

    def decode(self, tokens: Any) -> str:
        return "".join(chr(ord("a") + int(token)) for token in tokens)


def writing(folder: Path | None, *callbacks: Callback, **config: Any) -> Trainer:
    trainer = make(folder, *callbacks, **config)
    trainer.run.tokenizer = Letters()
    return trainer


def samples(run: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted((run / "samples").iterdir())}


def test_samples_of_a_resumed_run_are_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    writing(tmp_path / "whole", SampleGeneration("ab", every=3, tokens=9)).train()
    written = samples(tmp_path / "whole")
    assert list(written) == ["step-00000003.txt", "step-00000006.txt"]
    assert all(text[:2] == "ab" and len(text) == 2 + 9 + 1 for text in written.values())
    assert written["step-00000003.txt"] != written["step-00000006.txt"]
    assert f"step 6, a sample:\n{written['step-00000006.txt']}" in capsys.readouterr().out
    with pytest.raises(RuntimeError, match="the end"):
        writing(tmp_path / "run", SampleGeneration("ab", every=3, tokens=9, show=False), DyingAt(7)).train()
    again = writing(tmp_path / "run", SampleGeneration("ab", every=3, tokens=9, show=False))
    again.resume()
    again.train()
    assert samples(tmp_path / "run") == written
    assert capsys.readouterr().out == ""


def test_samples_change_nothing_in_the_training(tmp_path: Path) -> None:
    make(tmp_path / "without").train()
    writing(tmp_path / "with", SampleGeneration("a", every=1, tokens=3, show=False)).train()
    weights = "checkpoints/step-00000008/model.safetensors"
    assert (tmp_path / "with" / weights).read_bytes() == (tmp_path / "without" / weights).read_bytes()


def test_samples_come_from_the_weights_that_validation_uses() -> None:
    ema, sampling = EMA(0.9), SampleGeneration("ab", every=8, tokens=20, temperature=0, show=False)
    written: list[str] = []

    class Reading(Callback):
        def on_train_begin(self, view: Any, setup: Any, run: Any) -> None:
            self.model = setup.model

        def on_step_end(self, view: Any, update: Any) -> None:
            if view.step == 8:
                assert ema.average is not None
                with ema.average.applied():
                    written.append(continue_text(self.model, Letters(), "ab", 20, temperature=0))
                written.append(sampling.write(view.step))
                written.append(continue_text(self.model, Letters(), "ab", 20, temperature=0))

    writing(None, ema, sampling, Reading()).train()
    assert written[0] == written[1] != written[2]


def test_each_step_has_random_numbers_of_its_own() -> None:
    sampling = SampleGeneration("ab", tokens=40, show=False)
    trainer = writing(None, sampling)  # whose weights stay as they are
    sampling.on_train_begin(trainer.view, trainer.setup, trainer.run)
    texts = [sampling.write(step) for step in (500, 1000, 500)]
    assert texts[0] == texts[2] != texts[1]


def test_samples_that_cannot_be_written_are_told_before_the_first_step() -> None:
    with pytest.raises(ConfigError, match="SampleGeneration needs a tokenizer"):
        make(None, SampleGeneration("a")).train()
    trainer = writing(None, SampleGeneration("xyz"))
    with pytest.raises(DataError, match="cannot encode"):
        trainer.train()
    assert trainer.state.step == 0
    with pytest.raises(ConfigError, match="prompt='' must not be empty"):
        SampleGeneration("")


def test_throughput_is_in_the_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = itertools.accumulate(itertools.chain.from_iterable((10.0, float(step)) for step in range(1, 9)))
    clock = SimpleNamespace(perf_counter=lambda: next(moments))  # step 1 takes a second, step 2 two, and so on
    monkeypatch.setattr("minitrain.training.callbacks.monitors.throughput.time", clock)
    monkeypatch.setattr(utilisation, "sgemm_peak", lambda device: 1e12)
    trainer = make(tmp_path / "run", Throughput())
    trainer.train()
    records = [record for record in read_metrics(tmp_path / "run" / "metrics.jsonl") if "loss" in record]
    # Records come after steps 1, 2, 4, 6, 8, with the steps since the last one; a step has 4 samples.
    assert [record["step_seconds_p50"] for record in records] == [1, 2, 3.5, 5.5, 7.5]
    assert [record["step_seconds_p95"] for record in records] == pytest.approx([1, 2, 3.95, 5.95, 7.95])
    assert [record["samples_per_second"] for record in records] == pytest.approx([4, 2, 8 / 7, 8 / 11, 8 / 15])
    for record in records:
        assert record["peak_memory_bytes"] > 1e7
        assert record["pool_bytes"] >= 0
        forward = trainer.model.forward_flops()
        flops = 3 * forward.total / forward.tokens * record["tokens_per_second"]
        assert record["flops_per_second"] == pytest.approx(flops)
        assert record["utilisation"] == pytest.approx(flops / 1e12)
        assert set(record) - set(TIMING) == {"step", "loss", "lr", "grad_norm"}


def test_samples_a_second_of_batches_in_a_list() -> None:
    trainer = regression_trainer(callbacks=[Throughput(utilisation=False)])
    assert trainer.setup.data.batch_size == 4
    trainer.train()
    assert trainer.history.get_latest("samples_per_second") > 0  # type: ignore[operator]
    assert trainer.history.get_latest("flops_per_second") is None  # the model does not say what it costs


def test_batches_that_cannot_be_looked_at_have_no_size() -> None:
    class Endless:
        def __iter__(self) -> Any:
            return iter([np.zeros(3)])

    trainer = regression_trainer(data=Endless(), config={"max_steps": 1})
    assert trainer.setup.data.batch_size is None


def test_flops_are_counted_by_tokens_or_by_samples() -> None:
    gpt = GPT(GPTConfig(vocab_size=11, block_size=8, n_layer=1, n_head=2, n_embd=8))
    whole = gpt.forward_flops().total
    assert flops_per_second(gpt, 8.0, None) == 3 * whole
    mlp = MLP(MLPConfig((3, 4, 2)))
    assert flops_per_second(mlp, 100.0, 10.0) == 3 * 10 * mlp.forward_flops().total
    assert flops_per_second(mlp, 100.0, None) is None
    assert flops_per_second(object(), 100.0, 10.0) is None


def test_the_peak_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = utilisation.linear_forward

    def counting(*arguments: Any) -> Any:
        calls.append(arguments[0].shape)
        return real(*arguments)

    monkeypatch.setattr(utilisation, "linear_forward", counting)
    monkeypatch.setattr(utilisation, "SIZE", 64)
    sgemm_peak.cache_clear()
    first = sgemm_peak("cpu")
    assert math.isfinite(first)
    assert first > 0
    assert sgemm_peak("cpu") == first
    assert calls == [(64, 64)] * (1 + utilisation.REPEATS)
    sgemm_peak.cache_clear()


def test_peak_memory_grows_by_what_is_held() -> None:
    before = peak_memory()
    if before is None:
        pytest.skip("this system does not tell")
    held = np.ones(before // 8 + 2**22)  # float64: as much as all before, and 32 MiB
    after = peak_memory()
    assert after is not None
    assert after > held.nbytes


def test_memory_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)
    assert peak_memory() is None
    trainer = regression_trainer(callbacks=[Throughput(utilisation=False)])
    trainer.train()
    assert trainer.history.get_latest("peak_memory_bytes") is None
    assert trainer.history.get_latest("pool_bytes") is not None


@pytest.mark.parametrize(("every", "rounds"), [(0, [3, 6, 8]), (4, [4, 8])])
def test_pictures_are_drawn_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int, rounds: list[int]
) -> None:
    trainer = make(tmp_path / "run", Plots(every=every))
    drawn = []
    monkeypatch.setattr(trainer.history, "plot_history", lambda folder: drawn.append((trainer.state.step, folder)))
    trainer.train()
    assert drawn == [(step, tmp_path / "run" / "plots") for step in rounds]


def test_pictures_are_files(tmp_path: Path) -> None:
    make(tmp_path / "run", Plots(), max_steps=3).train()
    assert {"loss.png", "lr.png"} <= {path.name for path in (tmp_path / "run" / "plots").iterdir()}
    make(None, Plots()).train()  # nowhere to draw to


def test_facts_of_a_run_and_its_sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/minitrain", "train", "data.path=my notes.txt"])
    interrupted(tmp_path / "run", 6)
    trainer = make(tmp_path / "run")
    trainer.resume()
    monkeypatch.setattr(sys, "argv", ["minitrain", "train", "--resume", "run"])
    trainer.train()
    content = json.loads((tmp_path / "run" / "run.json").read_text())
    assert content["settings"]["model"]["n_embd"] == 8
    assert content["settings"]["trainer"]["log_every"] == 2
    assert content["settings"]["optimizer"] == {"name": "AdamW", "learning_rate": 0.01}
    first, second = content["sessions"]
    assert (first["step"], first["command"]) == (0, "minitrain train 'data.path=my notes.txt'")
    assert (second["step"], second["command"]) == (4, "minitrain train --resume run")
    assert first["parameters"] == trainer.model.parameter_count()
    assert {"minitrain", "numpy", "python", "system", "threads"} <= set(first)
    assert str(tmp_path) not in json.dumps(content)


@pytest.mark.parametrize("damaged", [b"{", b"[]", b'{"sessions": 3}'])
def test_damaged_facts_are_written_anew(tmp_path: Path, damaged: bytes) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_bytes(damaged)
    make(tmp_path / "run", RunInfo(), max_steps=1).train()
    assert len(json.loads((tmp_path / "run" / "run.json").read_text())["sessions"]) == 1
