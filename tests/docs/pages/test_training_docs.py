"""The code in the README and on the page about training runs, and does what the text around it says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import minitrain as mt
from minitrain.errors import MinitrainError
from minitrain.training import Trainer, TrainingConfig
from tests.helpers.pages import here as here  # a fixture
from tests.helpers.pages import run, snippets
from tests.helpers.places import ROOT

SMALLER = {  # of the README's loop, so that it takes a second
    "block_size=64": "block_size=8",
    "n_layer=4, n_head=4, n_embd=128": "n_layer=1, n_head=2, n_embd=16",
    "range(2000)": "range(6)",
    "warmup_steps=100, total_steps=2000": "warmup_steps=2, total_steps=6",
}


def loop() -> str:
    code = snippets("README.md")[1]
    for written, smaller in SMALLER.items():
        assert written in code
        code = code.replace(written, smaller)
    return code


def test_the_loop_of_the_readme_is_short_and_is_what_the_trainer_does(capsys: pytest.CaptureFixture[str]) -> None:
    code = loop()
    body = code[code.index("for step in") :]
    assert len([line for line in body.splitlines() if line.strip()]) <= 15
    by_hand = run("README.md", code)
    assert capsys.readouterr().out.startswith("0 ")

    model = mt.GPT(by_hand["model"].config)
    mt.pack(model)
    Trainer(
        model=model,
        optimizer=mt.AdamW(model, weight_decay=0.1),
        scheduler=by_hand["schedule"],
        train_data=by_hand["loader"],
        config=TrainingConfig(max_steps=6, gradient_accumulation_steps=2, max_grad_norm=1.0),
        key=by_hand["key"],
        progress=False,
    ).train()
    for path, weights in model.state_dict().items():
        np.testing.assert_array_equal(weights, by_hand["model"].state_dict()[path], strict=True)


def test_the_operation_of_the_readme_and_what_is_said_of_a_wrong_factor(capsys: pytest.CaptureFixture[str]) -> None:
    pair = snippets("README.md")[0]
    run("README.md", pair)
    assert "weight" in capsys.readouterr().out, "the table of the gradient check"
    assert pair.count("dx = rstd *") == 1
    with pytest.raises(MinitrainError, match="scale"):
        run("README.md", pair.replace("dx = rstd *", "dx = 1.001 * rstd *"))


def test_the_landing_page(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = snippets("docs/index.md")
    assert len(code.splitlines()) <= 36, "one screen"
    assert "range(500)" in code
    names = run("docs/index.md", code.replace("range(500)", "range(30)"))
    assert "worst relative error" in capsys.readouterr().out
    assert names["loss"].mean < 3.5, "guessing costs log 104"
    assert names["written"].shape == (1, 84)


def test_the_readme_is_short_and_shows_an_operation_before_any_table() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(readme.splitlines()) <= 150
    assert readme.index("```python") < readme.index("\n|")


def test_the_page_about_training(capsys: pytest.CaptureFixture[str]) -> None:
    names = run("docs/training.md", *snippets("docs/training.md"))
    said = capsys.readouterr().out
    assert names["trainer"].state.step == 20
    assert Path("runs/mine/metrics.jsonl").exists()
    assert Path("runs/tiny/report.html").exists()
    assert "factor" in said, "the table of the gradient check"
    losses = names["losses"]
    assert losses[-1] < losses[0] / 2
    assert names["network"].layers[1].factor.grad.shape == (16,)


@pytest.mark.parametrize(
    ("written", "wrong"),
    [
        ("return dout * self.factor.data * 2 * positive", "return dout * self.factor.data * positive"),
        ("(dout * positive**2).reshape", "(dout * positive).reshape"),
    ],
)
def test_the_check_of_the_page_notices_a_wrong_gradient(written: str, wrong: str) -> None:
    _, first, layer = snippets("docs/training.md")[:3]
    imports = first[: first.index("text =")]
    assert written in layer
    with pytest.raises(MinitrainError):
        run("docs/training.md", imports, layer.replace(written, wrong))


def test_the_groups_on_the_page_are_those_that_there_are() -> None:
    from minitrain.runs.recipes.options import config_groups

    table = (ROOT / "docs/training.md").read_text(encoding="utf-8").partition("| group |")[2].partition("\n\n")[0]
    for group, options in config_groups().items():
        (row,) = [line for line in table.splitlines() if f"`{group}=`" in line]
        if "--help" not in row:
            assert set(options) <= set(re.findall(r"`([\w-]+)`", row))


def test_the_sweep_on_the_page_composes() -> None:
    import shlex

    from minitrain.cli.sweep.arguments import SweepArguments
    from minitrain.cli.sweep.command import compose_sweep

    page = (ROOT / "docs/training.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^minitrain train --multirun (.*)$", page, re.MULTILINE)
    _, runs, _ = compose_sweep(SweepArguments.sort(shlex.split(line), None, None))
    assert len(runs) == 2 * 3
