"""What a message tells the user to type works as it stands: with the plugins and the trust that the run needs."""

from __future__ import annotations

import json
import re
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minitrain.cli import main
from minitrain.errors import CheckpointError
from minitrain.folder.commands import note_plugins, resume_command
from minitrain.records import read_metrics
from minitrain.runs import load_run
from minitrain.training import CALLBACKS, Interrupted
from minitrain.training.callbacks import JsonlLogger
from tests.helpers.small_regression import trainer
from tests.helpers.small_runs import SMALL, TEXT

PLUGIN = """
from minitrain.training import Callback, register_callback


@register_callback("stamp")
class Stamp(Callback):
    def on_log(self, view, record):
        record["stamp"] = 1.0
"""
TRAIN = ["train", *SMALL, "trainer.log_every=1", "scheduler.warmup_steps=1"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setattr("minitrain.runs.run.draw", lambda run_dir, baselines: ())
    (work / "text.txt").write_text(TEXT)
    (work / "my plugin.py").write_text(PLUGIN)
    yield work
    forget_plugin()


def forget_plugin() -> None:
    """As in a new process."""
    CALLBACKS._registered.pop("stamp", None)
    note_plugins([])


@pytest.fixture
def ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C, once, in step 2."""
    pressed: list[int] = []
    write = JsonlLogger.on_log

    def on_log(self: JsonlLogger, view: Any, record: dict[str, Any]) -> None:
        write(self, view, record)
        if record["step"] == 2 and not pressed:
            pressed.append(2)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(JsonlLogger, "on_log", on_log)


def printed_command(said: str) -> list[str]:
    (command,) = re.findall(r"go on with: minitrain (.*)$", said, re.MULTILINE)
    return shlex.split(command)


OUTSIDE = "callbacks=[{name: csv, path: ../outside/table.csv}]"
NEEDS = {
    "nothing": ([], "--resume"),
    "a plugin": (["--plugin", "my plugin.py", "callbacks=[stamp]"], "--plugin"),
    "trust": ([OUTSIDE], "--trust"),
    "both": (["--plugin", "my plugin.py", OUTSIDE.replace("}]", "},stamp]")], "--trust"),
}


@pytest.mark.parametrize("needs", NEEDS)
@pytest.mark.parametrize("run_dir", ["runs/one", "runs/a name"])
@pytest.mark.usefixtures("ctrl_c")
def test_the_command_after_ctrl_c_works(needs: str, run_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, option = NEEDS[needs]
    assert main([*TRAIN, *arguments, f"run_dir={run_dir}"]) == 130
    command = printed_command(capsys.readouterr().err)
    assert option in command
    assert ("--trust" in command) == ("trust" in needs or needs == "both")
    forget_plugin()
    assert main(command) == 0
    assert [record["step"] for record in read_metrics(f"{run_dir}/metrics.jsonl") if "loss" in record] == [*range(1, 7)]


@pytest.mark.parametrize("needs", NEEDS)
@pytest.mark.usefixtures("ctrl_c")
def test_the_command_after_ctrl_c_in_a_sweep_works(needs: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, option = NEEDS[needs]
    sweep = [*TRAIN, "--multirun", *arguments, "seed=1,2", "run_dir=runs/sweep"]
    if option == "--trust":  # of the two runs each has a table of its own
        sweep = [one.replace("../outside", "../../../outside/${seed}") for one in sweep]
    assert main(sweep) == 130
    command = printed_command(capsys.readouterr().err)
    assert option in command
    forget_plugin()
    assert main(command) == 0, capsys.readouterr().err
    assert len(list(Path("runs/sweep").glob("*/report.html"))) == 2


def test_a_sweep_from_someone_else_writes_nowhere_else(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its runs that never began are confined to their folders like those that are resumed."""
    sweep = [*TRAIN, "--multirun", "callbacks=[{name: csv, path: table.csv}]", "seed=1,2", "run_dir=runs/sweep"]
    assert main(sweep) == 0
    victim = here / "victim.csv"
    victim.write_text("mine\n")
    path = here / "runs/sweep/sweep.json"
    contents = json.loads(path.read_text())
    name = list(contents["runs"])[1]
    contents["runs"][name]["callbacks"] = [{"name": "csv", "path": str(here / "new.csv")}]
    path.write_text(json.dumps(contents))
    (here / "runs/sweep/outcomes.jsonl").unlink()
    for file in sorted((here / "runs/sweep" / name).rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    (here / "runs/sweep" / name).rmdir()
    capsys.readouterr()
    resume = ["train", "--multirun", "--resume", "runs/sweep"]
    assert main(resume) == 2
    assert "new.csv lies outside the run folder" in capsys.readouterr().err
    assert not (here / "new.csv").exists()
    assert main([*resume, "--trust"]) == 0
    assert (here / "new.csv").exists()


def test_a_folder_that_is_used_names_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, OUTSIDE, "run_dir=runs/one"]) == 0
    assert main([*TRAIN, "run_dir=runs/one"]) == 2
    assert "continue it with minitrain train --resume runs/one --trust; or choose" in capsys.readouterr().err
    assert main(["train", "--resume", "runs/one", "--trust"]) == 0
    assert "minitrain train --resume runs/one --trust trainer.max_steps=N" in capsys.readouterr().out
    assert main(["train", "--resume", "runs/one", "--trust", "trainer.max_steps=8"]) == 0


@pytest.mark.usefixtures("ctrl_c")
def test_a_trainer_in_a_script_is_continued_in_python(capsys: pytest.CaptureFixture[str]) -> None:
    def make() -> Any:
        return trainer(run_dir=Path("runs/script"), config={"max_steps": 4, "log_every": 1})

    first = make()
    with pytest.raises(
        Interrupted, match=r"saved in runs/script; go on with trainer.train\(\), in a new process"
    ) as stop:
        first.train()
    assert "minitrain train" not in str(stop.value)
    with pytest.raises(CheckpointError, match=r"continue it with trainer.resume\(\) before trainer.train\(\); or"):
        make().train()
    assert first.train().step == 4
    assert main([*TRAIN, "run_dir=runs/script"]) == 2
    assert "continue it with trainer.resume() before" in capsys.readouterr().err


def test_a_run_without_a_checkpoint_names_the_command() -> None:
    assert main([*TRAIN, OUTSIDE, "run_dir=runs/one"]) == 0
    for file in sorted(Path("runs/one/checkpoints").rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    with pytest.raises(
        CheckpointError, match="no checkpoint yet; train it with: minitrain train --resume runs/one --trust"
    ):
        load_run("runs/one")


def test_the_command_is_quoted_for_the_shell() -> None:
    note_plugins(["a b.py", "c.py"])
    assert resume_command("runs/x y", sweep=True, trust=True) == (
        "minitrain train --multirun --resume 'runs/x y' --plugin 'a b.py' --plugin c.py --trust"
    )
    note_plugins([])
    assert resume_command("runs/x") == "minitrain train --resume runs/x"
