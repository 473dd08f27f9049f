"""Runs of the recipes in their tiny forms on an emulated GPU, from the command line to the evaluation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from minitrain.cli import main
from minitrain.records.jsonl import TIMING
from minitrain.runs import evaluate_run, load_run, recipe, resume_run, start_run
from minitrain.testing.cuda.fake import EmulatedDevice
from tests.helpers.small_runs import SMALL, TEXT, newest

LANGUAGE = ("tiny", "pydoc", "shakespeare_char", "masked")
OTHERS = ("digits", "copy", "shapes", "captioning")
pytestmark = pytest.mark.usefixtures("no_pictures")


def tiny(name: str, device: str, folder: Path) -> Any:
    folder.mkdir()
    (folder / "text.txt").write_text(TEXT)
    settings: dict[str, Any] = {
        "device": device,
        "model": {"n_layer": 1, "n_head": 2, "n_embd": 8, "dropout": 0.1},
        "trainer": {
            "max_steps": 3,
            "batch_size": 4,
            "log_every": 2,
            "validation_frequency": 2,
            "eval_batches": 1,
            "save_every": 2,
            "sample_tokens": 4,
        },
    }
    if name in LANGUAGE:
        settings["data"] = {"path": str(folder / "text.txt"), "block_size": 8}
    return recipe(name, run_dir=str(folder / "run"), **settings)


def records(run: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in TIMING} for row in rows]


def assert_same_run(there: Path, here: Path) -> None:
    assert records(there) == records(here)
    found, expected = (load_file(newest(run) / "model.safetensors") for run in (there, here))
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def both(name: str, folder: Path) -> tuple[Path, Path]:
    for device in ("cuda", "cpu"):
        start_run(tiny(name, device, folder / device)).train()
    return folder / "cuda/run", folder / "cpu/run"


@pytest.mark.parametrize("name", LANGUAGE)
def test_recipes_of_texts(gpu: EmulatedDevice, tmp_path: Path, name: str) -> None:
    there, here = both(name, tmp_path)
    assert_same_run(there, here)
    assert evaluate_run(there) == evaluate_run(here)


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_other_recipes(gpu: EmulatedDevice, tmp_path: Path, name: str) -> None:
    assert_same_run(*both(name, tmp_path))


@pytest.mark.parametrize("first", ["cpu", "cuda"])
def test_a_run_is_resumed_where_it_was_and_loaded_elsewhere(gpu: EmulatedDevice, tmp_path: Path, first: str) -> None:
    there, here = both("tiny", tmp_path)
    loaded = load_run(there, device="cpu")
    tokens = np.array([[1, 2, 3]])
    expected, _ = load_run(here, device="cpu").model.forward(tokens)
    np.testing.assert_array_equal(loaded.model.forward(tokens)[0], expected)
    folder, other = (there, "cpu") if first == "cuda" else (here, "cuda")
    resume_run(folder, {"trainer.max_steps": 4}).train()
    with pytest.warns(UserWarning, match=f"the run goes on on {other}: from here on its bytes are not those"):
        run = resume_run(folder, {"trainer.max_steps": 5, "device": other})
    assert run.trainer.setup.device == other
    run.train()
    with pytest.warns(UserWarning, match=f"the run goes on on {first}"):
        resume_run(folder, {"trainer.max_steps": 6, "device": first}).train()
    assert newest(run.run_dir).name == "step-00000006"
    assert load_run(folder).model.parameters()[0].data.shape == loaded.model.parameters()[0].data.shape


def test_the_command_trains_and_evaluates(
    gpu: EmulatedDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text(TEXT)
    for device in ("cuda", "cpu"):
        assert main(["train", *SMALL, f"device={device}", f"run_dir={device}"]) == 0
    assert_same_run(Path("cuda"), Path("cpu"))
    capsys.readouterr()
    printed = []
    for run, device in (("cuda", "cuda"), ("cuda", "cpu"), ("cpu", "cuda")):
        assert main(["eval", run, "--device", device]) == 0
        printed.append(capsys.readouterr().out.replace(run, "RUN"))
    assert printed[0] == printed[1] == printed[2]
    assert main(["generate", "cuda", "--prompt", "the ", "--max-new-tokens", "5", "--seed", "1"]) == 0
    written = capsys.readouterr().out
    assert main(["generate", "cpu", "--prompt", "the ", "--max-new-tokens", "5", "--seed", "1"]) == 0
    assert capsys.readouterr().out == written


def test_without_a_gpu_the_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("minitrain.backend.devices.gpu_status", lambda: (None, "the driver lists no GPU"))
    Path("text.txt").write_text(TEXT)
    assert main(["train", *SMALL, "device=cuda", "run_dir=run"]) != 0
    assert "no GPU can be used: the driver lists no GPU. Use device=cpu" in capsys.readouterr().err
