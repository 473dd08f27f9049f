"""The code on the how-to pages runs, and does what the text around it says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitrain.backend.cpu.products import bf16_units
from minitrain.backend.cpu.products.bf16_units import Unit
from minitrain.checkpoint import read_checkpoint
from minitrain.cli import main
from minitrain.nn import lora_state_dict
from minitrain.records import read_metrics
from minitrain.training import CALLBACKS
from tests.helpers.pages import here as here  # a fixture
from tests.helpers.pages import run, snippets
from tests.helpers.places import ROOT

pytestmark = pytest.mark.usefixtures("no_pictures")

PAGES = sorted((ROOT / "docs" / "howto").glob("*.md"))


def page(name: str, *changes: tuple[str, str]) -> dict[str, Any]:
    code = snippets(f"docs/howto/{name}.md")
    assert code
    for written, other in changes:
        assert any(written in snippet for snippet in code)
        code = [snippet.replace(written, other) for snippet in code]
    return run(f"docs/howto/{name}.md", *code)


def test_lora(capsys: pytest.CaptureFixture[str]) -> None:
    names = page("lora", ("merge_lora(again)\n", "kept = lora_state_dict(again)\nmerge_lora(again)\n"))
    trained, base = names["model"], read_checkpoint("runs/base/checkpoints/step-00000020").model
    learned = lora_state_dict(trained)
    assert f"{len(names['adapted'])} layers, {len(learned)} small matrices" in capsys.readouterr().out
    assert len(learned) == 2 * len(names["adapted"]) == 8
    assert any(np.abs(array).max() > 0 for path, array in learned.items() if path.endswith("lora_b"))
    for path, array in trained.state_dict().items():
        if "lora" not in path:
            np.testing.assert_array_equal(array, base[path.replace("base.", "")], err_msg="frozen")
    for path, array in learned.items():
        np.testing.assert_array_equal(names["kept"][path], array)
    assert names["again"].state_dict().keys() == base.keys()
    tokens = names["tokenizer"].encode("the quick")[None]
    np.testing.assert_allclose(names["again"].forward(tokens)[0], trained.forward(tokens)[0], atol=1e-4)


def test_looking_inside() -> None:
    names = page("looking_inside")
    model, tokens, logits = names["model"], names["tokens"], names["logits"]
    np.testing.assert_allclose(names["lens"], logits, atol=1e-6)
    model.blocks[0].attention.out.weight.data[:, 8:] = 0  # head 1
    np.testing.assert_allclose(names["ablated"], model.forward(tokens)[0], atol=1e-6)
    assert names["importance"].shape == (1, 5)
    assert np.abs(names["patched"] - logits).max() > 1e-6
    assert names["patched"][0, :3].tolist() == logits[0, :3].tolist(), "earlier positions see nothing of it"


def test_notebooks() -> None:
    names = page("notebooks", ('"max_steps": 200', '"max_steps": 10'))
    assert names["run"].trainer.state.step == 10
    assert len(names["found"].mismatches) == 1


def test_your_own_data() -> None:
    names = page("your_own_data")
    assert names["result"].history.get_latest("val_loss") < 0.9, "guessing costs log 3"
    assert names["trainer"].state.step == 20


def test_your_own_callback(capsys: pytest.CaptureFixture[str]) -> None:
    names = page("your_own_callback")
    said = capsys.readouterr().out
    assert names["result"].step < 40
    assert "the smoothed loss is 2.9" in said
    whole, part = (read_metrics(f"runs/{name}/metrics.jsonl")[-1]["smoothed_loss"] for name in ("whole", "part"))
    assert whole == part == names["again"].callbacks.callbacks["StopBelow"].smoothed


def commands(name: str) -> list[list[str]]:
    """The command lines on a page, as arguments of ``minitrain``."""
    text = (PAGES[0].parent / f"{name}.md").read_text(encoding="utf-8")
    return [shlex.split(line)[1:] for line in re.findall(r"^minitrain .*$", text, re.MULTILINE)]


def test_your_own_callback_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    code = snippets("docs/howto/your_own_callback.md")[0]
    decorated = code.replace("class StopBelow", '@register_callback("stop_below")\nclass StopBelow')
    Path("mine.py").write_text("from minitrain.training import register_callback\n" + decorated)
    train, resume = commands("your_own_callback")
    small = ["recipe=tiny", "data.block_size=16", "trainer.max_steps=60", "optimizer.learning_rate=0.02"]
    try:
        assert main([*train, *small]) == 0
        assert main(resume) == 0
    finally:
        CALLBACKS._registered.pop("stop_below", None)
    assert "the smoothed loss is 2.4" in capsys.readouterr().out
    assert "smoothed_loss" in read_metrics("runs/named/metrics.jsonl")[0]


def test_training_on_from_the_command_line() -> None:
    longer, new = commands("train_on")
    tiny = ["recipe=tiny", "data.path=my.txt", "data.block_size=16", "trainer.max_steps=40"]
    assert main(["train", *tiny, "run_dir=runs/letters"]) == 0
    assert main(longer) == 0
    records = read_metrics("runs/letters/metrics.jsonl")
    assert records[-1]["step"] == 60
    assert main(new) == 0
    first = read_metrics("runs/more/metrics.jsonl")[0]["loss"]
    assert first < records[0]["loss"] - 0.3, "it begins where the other ended"
    assert read_checkpoint("runs/more/checkpoints/step-00000020").step == 20


# What MLflow itself does with its database is its own business; a warning of ours would still be an error.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_trackers(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for package in ("tensorboard", "mlflow", "sqlalchemy", "alembic", "wandb"):
        pytest.importorskip(package)
    for name, value in (("WANDB_SILENT", "true"), ("WANDB_ERROR_REPORTING", "false"), ("WANDB_MODE", "offline")):
        monkeypatch.setenv(name, value)
    page("trackers")  # a tracker that failed would have warned, which is an error here
    assert re.search(r"^FINISHED 32 \d\.\d+$", capsys.readouterr().out, re.MULTILINE)
    assert Path("mlflow.db").exists()
    assert list(Path("runs/with_tensorboard/tensorboard").glob("events*"))
    assert list(Path("runs/with_wandb/wandb").glob("offline-run-*"))


def test_train_on() -> None:
    names = page("train_on")
    whole = names["make"](30, "runs/whole")
    whole.train()
    for path, weights in whole.model.state_dict().items():
        np.testing.assert_array_equal(weights, names["longer"].model.state_dict()[path])
    assert names["tuned"].state.step == 10
    assert [record["step"] for record in read_metrics("runs/mine/metrics.jsonl")] == [1, 10, 20, 30]


def test_mixed_precision(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a processor without a unit for bfloat16, which the page's reader may have."""
    monkeypatch.setattr(bf16_units, "bf16_unit", lambda: Unit("float32", "this processor is too old"))
    with pytest.warns(UserWarning, match="this saves memory and costs some time"):
        names = run("docs/precision.md", *snippets("docs/precision.md"))
    said = capsys.readouterr().out
    assert names["trainer"].state.step == 20
    assert "float32 bfloat16" in said
    text = (ROOT / "docs" / "precision.md").read_text(encoding="utf-8")
    assert said.rstrip().endswith("of what rounding explains")
    printed = re.findall(r"^the (?:output|gradient of \w+) +\([^)]*\)", said, re.MULTILINE)
    shown = re.findall(r"^the (?:output|gradient of \w+) +\([^)]*\)", text, re.MULTILINE)
    assert printed[: len(shown)] == shown
    assert len(shown) == 4
