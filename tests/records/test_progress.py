"""What is shown while training: few lines in a file, curves that grow in a notebook."""

from __future__ import annotations

import builtins
import itertools
import re
import sys
import types
from typing import Any

import pytest

from minitrain.records import MetricsCollector
from minitrain.records.notebook_progress import NotebookProgress
from minitrain.records.progress import LiveProgress, PlainProgress, in_notebook, make_progress
from minitrain.training import ProgressTracker
from tests.helpers.small_trainers import make
from tests.helpers.texts.html_checks import Page


class Clock:
    """Time that passes when it is told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def record(step: int) -> dict[str, Any]:
    return {"step": step, "loss": 2.0, "lr": 0.001, "grad_norm": 0.5, "tokens_per_second": 12345.6}


def lines_of(seconds: int, every: float, capsys: pytest.CaptureFixture[str]) -> list[int]:
    """The steps that a file has after a run of so many seconds, with a record each ``every`` seconds."""
    clock, last = Clock(), int(seconds / every)
    progress = PlainProgress(0, last, clock)
    for step in range(1, last + 1):
        clock.now = step * every
        progress.advance(step)
        progress.log(record(step))
    return [int(re.match(r"step +(\d+)/", line)[1]) for line in capsys.readouterr().out.splitlines()]  # type: ignore[index]


def test_a_short_run_has_all_its_records(capsys: pytest.CaptureFixture[str]) -> None:
    assert lines_of(20, 1.0, capsys) == list(range(1, 21))


def test_the_first_records_are_shown_however_fast_they_come(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    progress = PlainProgress(0, 100, clock)
    clock.now = 100.0  # compiling took a while
    for step in range(1, 31):
        progress.log(record(step))
    assert len(capsys.readouterr().out.splitlines()) == 20
    clock.now = 102.1
    progress.log(record(31))
    assert capsys.readouterr().out.startswith("step  31/100")


def test_a_fast_run_has_a_line_a_second(capsys: pytest.CaptureFixture[str]) -> None:
    steps = lines_of(40, 1 / 128, capsys)
    assert steps[:20] == list(range(1, 21))
    assert steps[20:] == [20 + 128 * second for second in range(1, 40)] + [40 * 128]


def test_a_long_run_has_few_lines(capsys: pytest.CaptureFixture[str]) -> None:
    steps = lines_of(36_000, 0.5, capsys)
    assert steps[:20] == list(range(1, 21))
    assert steps[-1] == 72_000
    assert 500 < len(steps) < 1000
    gaps = [0.5 * (later - step) for step, later in itertools.pairwise(steps)]
    assert max(gaps) <= 60.5


def test_slow_records_are_all_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(lines_of(36_000, 100.0, capsys)) == 360


def test_a_line_of_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    progress = PlainProgress(100, 1000, clock)
    clock.now = 60.0
    progress.log(record(400))
    assert capsys.readouterr().out == "step  400/1000  loss 2.0000  lr 1.0e-03  grad 0.50  12,346 tokens/s  2:00 left\n"


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A shell like that of a notebook, and what it was asked to display."""
    shown: list[Any] = []

    class Handle:
        def update(self, content: dict[str, str], *, raw: bool) -> None:
            assert raw
            shown.append(("change", content["text/plain"], content["text/html"]))

    def display(content: dict[str, str], *, raw: bool, display_id: bool) -> Handle:
        assert raw
        assert display_id
        shown.append(("new", content["text/plain"], content["text/html"]))
        return Handle()

    shell = type("ColabShell", (type("ZMQInteractiveShell", (), {}),), {})()  # as Colab's inherits from it
    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: shell  # type: ignore[attr-defined]
    displays = types.ModuleType("IPython.display")
    displays.display = display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", displays)
    return shown


def test_which_screen_is_chosen(notebook: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert in_notebook()
    assert isinstance(make_progress(0, 9), NotebookProgress)
    shell = type("TerminalInteractiveShell", (), {})()
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: shell)
    assert isinstance(make_progress(0, 9), PlainProgress)  # IPython in a terminal whose output goes to a file
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert isinstance(make_progress(0, 9), LiveProgress)
    monkeypatch.delitem(sys.modules, "IPython")
    assert not in_notebook()


def test_asking_for_a_notebook_imports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    real = builtins.__import__

    def refusing(name: str, *arguments: Any, **options: Any) -> Any:
        assert not name.startswith("IPython")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refusing)
    assert not in_notebook()


def test_one_display_of_a_notebook_changes(notebook: list[Any]) -> None:
    clock, history = Clock(), MetricsCollector()
    with NotebookProgress(0, 100, clock, history=history) as progress:
        progress.compiling("gelu.forward")
        for step in range(1, 101):
            clock.now += 0.25
            progress.log(record(step))
            history.update({"train_loss": 4 - step / 50}, step=step)
            if step == 50:
                history.update({"val_loss": 3.5}, step=step)
                progress.evaluated(step, 3.5, best=True)
            progress.advance(step)
    assert [kind for kind, *_ in notebook].count("new") == 1
    assert notebook[1][1].endswith("compiling gelu.forward, once for this machine")
    assert len(notebook) == 1 + 1 + 50 + 1  # every second step: not more often than every half second
    assert notebook[2][1].startswith(f"step 2/100 {'░' * 24} loss 2.0000")
    assert notebook[-1][1] == f"step 100/100 {'█' * 24} loss 2.0000  lr 1.0e-03  grad 0.50  12,346 tokens/s  0:00 left"
    assert not any("\r" in text for _, text, _ in notebook)
    pages = [Page(html) for *_, html in notebook]
    assert all(page.texts[0] == text for page, (_, text, _) in zip(pages, notebook, strict=True))
    assert "svg" not in pages[1].tags
    assert "training 3.96" in pages[2].texts
    assert {"training 2", "validation 3.5"} <= set(pages[-1].texts)


def test_a_training_goes_on_if_there_is_no_picture(notebook: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("no picture")

    monkeypatch.setattr("minitrain.records.notebook_progress.loss_curves", broken)
    shown: list[Any] = []
    monkeypatch.setattr(NotebookProgress, "_show", lambda self: shown.append(self._content()))
    monkeypatch.setattr(NotebookProgress, "__enter__", lambda self: self)
    make(None, ProgressTracker()).train()
    assert [*shown[-1]] == ["text/plain"]


def test_training_in_a_notebook(notebook: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    make(None, ProgressTracker()).train()
    assert notebook[0][:2] == ("new", f"step 0/8 {'░' * 24}")
    assert notebook[-1][1].startswith("step 8/8 ")
    texts = Page(notebook[-1][2]).texts
    assert any(text.startswith("training ") for text in texts)
    assert any(text.startswith("validation ") for text in texts)
    assert capsys.readouterr().out == "", "the curve shows the validation loss"


CELL = """
import numpy as np
from minitrain.data import TokenLoader
from minitrain.models.gpt import GPT, GPTConfig
from minitrain.training import Trainer, TrainingConfig
tokens = np.arange(200) % 11
trainer = Trainer(
    model=GPT(GPTConfig(vocab_size=11, block_size=8, n_layer=1, n_head=2, n_embd=8)),
    train_data=TokenLoader(tokens, 8, 4, seed=0),
    config=TrainingConfig(max_steps=30, log_every=10),
)
trainer.train()
"""


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_real_notebook() -> None:
    client = pytest.importorskip("nbclient")
    formats = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    notebook = formats.v4.new_notebook(cells=[formats.v4.new_code_cell(CELL)])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    client.NotebookClient(notebook, timeout=100).execute()
    outputs = notebook.cells[0].outputs
    assert [output.output_type for output in outputs] == ["display_data", "execute_result"]  # no log, no widget
    for output in outputs:
        assert "svg" in Page(output.data["text/html"]).tags
    text = outputs[0].data["text/plain"]
    assert re.fullmatch(rf"step 30/30 {'█' * 24} loss \d\.\d{{4}}  lr .*  grad .* tokens/s  0:00 left", text)
