"""The command line as a user meets it: exit codes, and what the commands say.

What a process of its own can show alone, such as signals, pipes, a full disk or what is imported, is shown by real
processes; every command has one. Most mistakes are made within this process, which starts faster.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from minitrain.backend import gpu_status, use_kernels
from minitrain.cli import main
from minitrain.cli.failures import report, traceback_kept_in
from minitrain.runs.config import RunConfig
from minitrain.runs.recipes.options import config_groups
from minitrain.tasks.task import TASKS
from tests.helpers.places import ROOT

TEXT = "".join(f"{n} green bottles, hanging on the wall; take {n % 7} down.\n" for n in range(200))
# Small enough for a step to take a millisecond; the readable code needs no compiler.
SETTINGS = [
    "recipe=tiny",
    "data.path=text.txt",
    "data.block_size=16",
    "model.n_layer=1",
    "model.n_embd=8",
    "trainer.batch_size=4",
    "trainer.max_steps=20",
    "trainer.sample_tokens=20",
]
# A process whose output nobody reads stops after so many bytes of it (where the system lets us choose).
PIPE_SIZE = 4096


def environment(**changes: str) -> dict[str, str]:
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "PYTHONIOENCODING": "utf-8",
        "MINITRAIN_KERNELS": "reference",
        **changes,
    }


def start(*arguments: str, cwd: Path, **changes: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "minitrain", *arguments],
        cwd=cwd,
        env=environment(**changes),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        pipesize=PIPE_SIZE,
    )


def minitrain(*arguments: str, cwd: Path, code: int = 0, **changes: str) -> str:
    """Run a command that is to end with ``code``; returns what it printed, or its complaint if it failed."""
    process = start(*arguments, cwd=cwd, **changes)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == code, f"{output}\n{errors}"
    assert "Traceback" not in output
    if code == 0:
        assert errors == ""
        return output
    return the_complaint(errors)


def call(*arguments: str, cwd: Path, code: int = 0) -> str:
    """What `minitrain` does, within this process and without pictures."""
    output, errors = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
        use_kernels("reference"),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr("minitrain.runs.run.draw", lambda run_dir, baselines: ())
        assert main(arguments) == code, errors.getvalue()
    if code == 0:
        assert errors.getvalue() == ""
        return output.getvalue()
    return the_complaint(errors.getvalue())


def the_complaint(errors: str) -> str:
    """The one line on stderr; warnings may stand before it."""
    lines = [line for line in errors.splitlines() if not line.startswith("minitrain: warning: ")]
    assert len(lines) == 1, errors
    assert lines[0].startswith("minitrain: ")
    assert "this is a bug" not in lines[0]
    return lines[0].removeprefix("minitrain: ")


def contents(folder: Path) -> Mapping[str, str]:
    """A digest of every file below ``folder``."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text and a finished run of it, not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "text.txt").write_text(TEXT)
    (folder / "said.txt").write_text(minitrain("train", *SETTINGS, "run_dir=run", cwd=folder))
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be damaged."""
    shutil.copytree(finished / "run", tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with nothing but a text."""
    (tmp_path / "text.txt").write_text(TEXT)
    return tmp_path


# Help


def test_without_arguments_there_is_help(tmp_path: Path) -> None:
    said = minitrain(cwd=tmp_path)
    assert said == minitrain("--help", cwd=tmp_path)
    for word in ("train", "generate", "eval", "plot", "info", "examples:", "130"):
        assert word in said


@pytest.mark.parametrize("command", ["train", "generate", "eval", "plot", "info"])
def test_every_command_has_help(command: str, tmp_path: Path) -> None:
    said = minitrain(command, "--help", cwd=tmp_path)
    assert said.startswith(f"usage: minitrain {command}")
    assert command == "info" or f"minitrain {command} " in said.partition("example")[2]


def test_the_help_of_train_lists_the_groups(tmp_path: Path) -> None:
    recipes = r",\s+".join(config_groups()["recipe"])
    assert re.search(rf"recipe= +{recipes}\n", minitrain("train", "--help", cwd=tmp_path))


def test_the_help_of_train_lists_the_tasks(tmp_path: Path) -> None:
    said = minitrain("train", "--help", "task", cwd=tmp_path)
    for name, task in TASKS.items():
        assert re.search(
            rf"\n  {name}\n      [A-Z].*\n      data={task.data_kinds[0]}.*\n      recipe={task.usual_recipe}\n", said
        )


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    check = (
        "import sys; from minitrain.cli import main; main(sys.argv[1:]); "
        "sys.exit(bool({'numpy', 'numba', 'hydra', 'omegaconf', 'scipy', 'matplotlib', 'cupy'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", check, *arguments]
    assert subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True).returncode == 0


def test_version(tmp_path: Path) -> None:
    assert re.fullmatch(r"minitrain \d+\.\d+\.\d+\S*\n", minitrain("--version", cwd=tmp_path))


def test_info_is_a_table_of_what_is_there(tmp_path: Path) -> None:
    lines = minitrain("info", cwd=tmp_path, MINITRAIN_NUM_THREADS="3").splitlines()
    column = lines[0].index(lines[0].split()[1])
    assert all(line[column - 2 : column] == "  " and line[column] != " " for line in lines)
    rows = {line[:column].strip(): line[column:] for line in lines}
    assert rows["Python"] == sys.version.split()[0]
    assert rows["threads"].startswith("3")
    assert rows["kernels"].startswith("reference")
    assert {"minitrain", "numpy", "numba", "scipy", "processor", "cores", "BLAS", "GPU"} <= set(rows)


def test_info_with_an_impossible_environment(tmp_path: Path) -> None:
    assert "MINITRAIN_NUM_THREADS" in minitrain("info", cwd=tmp_path, code=2, MINITRAIN_NUM_THREADS="many")
    assert "MINITRAIN_KERNELS" in minitrain("info", cwd=tmp_path, code=2, MINITRAIN_KERNELS="fast")


# Training


def test_a_run_leaves_all_its_files_and_says_what_came_out(finished: Path) -> None:
    assert {path.name for path in finished.iterdir()} == {"text.txt", "run", "said.txt"}  # no outputs/ of Hydra
    files = set(contents(finished / "run"))
    assert {"config.yaml", "tokenizer.json", "metrics.jsonl", "loss.png", "learning_rate.png", "sample.txt"} <= files
    assert "traceback.txt" not in files
    said = (finished / "said.txt").read_text()
    for part in ("step 20/20", "this model", "unigram", "uniform", "bits/character", "run/checkpoints/step-00000020"):
        assert part in said.replace(os.sep, "/")
    assert (finished / "run/sample.txt").read_text().strip("\n") in said


def test_the_run_folder_has_a_name_by_default(here: Path) -> None:
    call("train", *SETTINGS, cwd=here)
    (folder,) = (here / "runs").iterdir()
    assert folder.name.startswith("text-")
    assert (folder / "sample.txt").exists()


def test_a_run_with_compiled_kernels_and_bytes(here: Path) -> None:
    settings = [*SETTINGS, "data.tokenizer=byte", "trainer.max_steps=10", "run_dir=run"]
    said = minitrain("train", *settings, cwd=here, MINITRAIN_KERNELS="auto")
    assert "step 10/10" in said


def test_show_prints_the_settings_and_trains_nothing(here: Path) -> None:
    said = call("train", *SETTINGS, "model.dropout=0.25", "--show", cwd=here)
    config = RunConfig.from_dict(yaml.safe_load(said))
    assert (config.recipe, config.model.dropout, config.trainer.max_steps) == ("tiny", 0.25, 20)
    assert [path.name for path in here.iterdir()] == ["text.txt"]


def test_a_used_run_folder_is_not_overwritten(finished: Path) -> None:
    before = contents(finished)
    complaint = minitrain("train", *SETTINGS, "run_dir=run", cwd=finished, code=2)
    assert "run already holds a run" in complaint
    assert "--resume run" in complaint
    assert contents(finished) == before


def test_a_diverging_run_stops_and_says_where(here: Path) -> None:
    complaint = call("train", *SETTINGS, "optimizer.learning_rate=1e30", "run_dir=run", cwd=here, code=1)
    assert re.search(r"step \d+: .*(nan|inf|NaN)", complaint)
    assert "optimizer.learning_rate" in complaint
    assert not list((here / "run").glob("checkpoints/*"))


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_full_disk_is_the_machines_fault(here: Path) -> None:
    import resource

    # No file above 4 kB: the text of 11 kB does not fit.
    command = [sys.executable, "-m", "minitrain", "train", *SETTINGS, "run_dir=run"]
    process = subprocess.run(
        command,
        cwd=here,
        env=environment(PYTHONDONTWRITEBYTECODE="1"),
        capture_output=True,
        encoding="utf-8",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
    )
    assert process.returncode == 1
    assert "cannot write" in the_complaint(process.stderr)


# Mistakes


def write_bad_texts(folder: Path) -> None:
    (folder / "empty.txt").write_bytes(b"")
    (folder / "binary.dat").write_bytes(b"\x7fELF\x00\x01\x02" * 100)
    (folder / "latin.txt").write_bytes("Käse und Brot. ".encode("latin-1") * 100)
    (folder / "short.txt").write_text("too short")
    (folder / "no texts").mkdir()
    (folder / "no texts" / "photo.jpg").write_bytes(b"\xff\xd8")


BAD_TEXTS = {
    "missing.txt": ["there is no file or folder missing.txt"],
    "empty.txt": ["empty.txt is empty"],
    "binary.dat": ["binary.dat is not text", "offset 4"],
    "latin.txt": ["latin.txt is not UTF-8", "offset 1"],
    "short.txt": ["too few", "block_size"],
    "no texts": ["no texts", "holds no text"],
    "text.txt/x": ["cannot read text.txt/x"],
}


@pytest.mark.parametrize("path", BAD_TEXTS)
def test_a_text_that_is_none(path: str, here: Path) -> None:
    write_bad_texts(here)
    before = contents(here)
    complaint = call("train", *SETTINGS, f"data.path={path}", "run_dir=run", cwd=here, code=2)
    for part in BAD_TEXTS[path]:
        assert part in complaint.replace(os.sep, "/")
    assert contents(here) == before


def test_a_run_folder_below_a_file(here: Path) -> None:
    complaint = call("train", *SETTINGS, "run_dir=text.txt/run", cwd=here, code=2)
    assert "cannot create the folder" in complaint
    assert (here / "text.txt").read_text() == TEXT


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_run_folder_without_permission(here: Path) -> None:
    (here / "locked").mkdir(mode=0o500)
    complaint = call("train", *SETTINGS, "run_dir=locked/run", cwd=here, code=2)
    assert "permission denied" in complaint


OVERRIDES = {
    "model.n_hed=2": "unknown setting model.n_hed; did you mean model.n_head?",
    "model.n_layer=two": "model.n_layer must be a whole number, got 'two'",
    "model.n_head=3": "model.n_embd = 8 is not a multiple of n_head = 3: try n_embd = 9",
    "recipe=tyny": "did you mean tiny?",
    "model._target_=os.system": "_target_ is not allowed",
    "seed=[1": "cannot read seed=[1",
    "trainer.max_steps": "is not of the form key=value",
}


@pytest.mark.parametrize("override", OVERRIDES)
def test_an_override_that_does_not_fit(override: str, here: Path) -> None:
    assert OVERRIDES[override] in call("train", *SETTINGS, override, cwd=here, code=2)
    assert [path.name for path in here.iterdir()] == ["text.txt"]


USAGE = {
    "an unknown command": (["trian"], "did you mean train?"),
    "an unknown option": (["train", "--resme", "run"], "--resme"),
    "an option without its value": (["train", "--resume"], "--resume"),
    "a run that is not named": (["generate"], "RUN"),
    "a run that is not there": (["eval", "nowhere"], "there is no run folder nowhere"),
    "a file for a run": (["plot", "text.txt"], "text.txt is a file, not the folder of a run"),
    "a folder that is no run": (["generate", "."], "is not the folder of a run"),
    "no run to resume": (["train", "--resume", "nowhere"], "there is no run folder nowhere"),
    "resuming with settings": (["train", "--resume", "nowhere", "seed=x=1"], "cannot read seed=x=1"),
    "resuming and showing": (["train", "--resume", "nowhere", "--show"], "--show"),
    "a recipe without its text": (["train", "recipe=shakespeare_char"], "data.path has to be given"),
}


@pytest.mark.parametrize("name", USAGE)
def test_a_command_that_cannot_be_understood(name: str, here: Path) -> None:
    arguments, expected = USAGE[name]
    assert expected in call(*arguments, cwd=here, code=2)
    assert [path.name for path in here.iterdir()] == ["text.txt"]


@pytest.mark.skipif(gpu_status()[0] is not None, reason="there is a GPU")
def test_a_gpu_that_is_not_there(finished: Path, here: Path) -> None:
    assert "no GPU can be used" in call("train", *SETTINGS, "device=cuda", cwd=here, code=2)
    assert "no GPU can be used" in call("eval", "run", "--device", "cuda", cwd=finished, code=2)


# Damage


def test_a_damaged_checkpoint_gives_way_to_the_one_before(run: Path) -> None:
    flip_a_byte(newest_checkpoint(run) / "model.safetensors")
    process = start("eval", "run", cwd=run.parent)
    output, errors = process.communicate()
    assert process.returncode == 0
    assert "this model" in output
    (warning,) = errors.splitlines()
    assert warning.startswith("minitrain: warning: skipping a damaged checkpoint")
    assert "model.safetensors" in warning


COMMANDS = [["eval", "run"], ["generate", "run"], ["train", "--resume", "run"]]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_without_an_intact_checkpoint(command: list[str], run: Path) -> None:
    for path in (run / "checkpoints").iterdir():
        flip_a_byte(path / "optimizer.safetensors")
    before = contents(run)
    assert "none of" in call(*command, cwd=run.parent, code=2)
    assert contents(run) == before


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_the_checkpoint_of_another_model(command: list[str], run: Path) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["model"]["n_embd"] = 16
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    before = contents(run)
    assert "another model" in call(*command, cwd=run.parent, code=2)
    assert contents(run) == before


DAMAGE = {
    "config.yaml": "config.yaml",
    "tokenizer.json": "tokenizer.json is damaged",
    "data/val.bin": "val.bin",
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_run_folder(name: str, run: Path) -> None:
    path = run / name
    path.write_bytes(path.read_bytes()[:-7] + b"\x07{")
    before = contents(run)
    assert DAMAGE[name] in call("eval", "run", cwd=run.parent, code=2)
    assert contents(run) == before


def test_a_config_from_someone_else_runs_no_code(run: Path) -> None:
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("model:", "model:\n  _target_: os.system"))
    assert "model._target_" in call("eval", "run", cwd=run.parent, code=2)
    (run / "config.yaml").write_text(f"{text}\nx: !!python/object/apply:os.mkdir [owned]\n")
    assert "config.yaml" in call("eval", "run", cwd=run.parent, code=2)
    assert not (run.parent / "owned").exists()


def newest_checkpoint(run: Path) -> Path:
    return max((run / "checkpoints").iterdir())


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


# Using a run


def test_eval_prints_the_loss_next_to_guessing(finished: Path) -> None:
    said = minitrain("eval", "run", cwd=finished)
    nats, bits = map(float, re.findall(r"this model +([\d.]+) +([\d.]+)", said)[0])
    assert bits == pytest.approx(nats / math.log(2), abs=1e-3)
    assert float(re.findall(r"perplexity ([\d.]+)", said)[0]) == pytest.approx(math.exp(nats), rel=1e-3)
    uniform = float(re.findall(r"uniform\D+([\d.]+)", said)[0])
    assert uniform == pytest.approx(math.log(len(set(TEXT))), abs=1e-4)
    assert "unigram" in said


def test_plot_draws_the_curves_anew(run: Path) -> None:
    (run / "loss.png").unlink()
    said = minitrain("plot", "run", cwd=run.parent).split()
    assert [Path(name).name for name in said[:2]] == ["loss.png", "learning_rate.png"]
    assert {"grad_norm.png", "perplexity.png", "tokens_per_second.png"} == {Path(name).name for name in said[2:]}
    for name in said:
        assert (run.parent / name).read_bytes().startswith(b"\x89PNG")


def test_generate_goes_on_from_the_prompt(finished: Path) -> None:
    def write(*arguments: str) -> str:
        said = call("generate", "run", "--prompt", "bottles", "--max-new-tokens", "30", *arguments, cwd=finished)
        assert said.startswith("bottles")
        assert len(said) == len("bottles") + 30 + 1
        return said

    once = write("--seed", "5")
    assert write("--seed", "5") == once
    assert write("--seed", "6") != once
    greedy = write("--temperature", "0", "--seed", "5")
    assert write("--top-k", "1", "--seed", "6") == greedy
    assert write("--top-p", "1e-9") == greedy


MISTAKES_OF_GENERATE = {
    "a character the model does not know": (["--prompt", "5 €"], "'€' (U+20AC, position 2)"),
    "no prompt": (["--prompt", ""], "--prompt is empty"),
    "a share above 1": (["--top-p", "1.5"], "top_p=1.5"),
    "a negative temperature": (["--temperature", "-1"], "temperature=-1.0"),
    "a word for a number": (["--max-new-tokens", "many"], "--max-new-tokens"),
    "less than nothing": (["--max-new-tokens", "-3"], "max_new_tokens=-3"),
    "an unknown device": (["--device", "tpu"], "unknown device 'tpu'"),
}


@pytest.mark.parametrize("name", MISTAKES_OF_GENERATE)
def test_generate_says_what_it_cannot_do(name: str, finished: Path) -> None:
    arguments, expected = MISTAKES_OF_GENERATE[name]
    assert expected in call("generate", "run", *arguments, cwd=finished, code=2)


def test_generate_for_a_reader_that_leaves(finished: Path) -> None:
    process = start("generate", "run", "--max-new-tokens", "100000", cwd=finished)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(20)
    process.stdout.close()
    assert process.wait(timeout=60) == 141
    assert process.stderr.read() == ""
    process.stderr.close()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    (folder / "text.txt").write_text(TEXT)
    call("train", *LONG, "run_dir=run", cwd=folder)
    return folder / "run"


# More lines than the pipe holds: while nobody reads them, the run cannot come to its end before the signal.
LONG = [
    *SETTINGS,
    "trainer.max_steps=300",
    "trainer.log_every=1",
    "trainer.validation_frequency=0",
    "trainer.save_every=0",
]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_saves_and_the_run_goes_on_as_if_nothing_had_happened(
    name: str, here: Path, uninterrupted: Path
) -> None:
    number = signal.Signals[name]
    process = start("train", *LONG, "run_dir=a run", cwd=here)
    assert process.stdout is not None
    while not process.stdout.readline().startswith("step   3/300"):
        assert process.poll() is None
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    complaint = the_complaint(errors)
    assert f"stopped by {'Ctrl-C' if name == 'SIGINT' else name} after step" in complaint
    assert "minitrain train --resume " in complaint
    (checkpoint,) = (here / "a run" / "checkpoints").iterdir()

    said = call("train", "--resume", "a run", cwd=here)
    step = int(checkpoint.name.removeprefix("step-"))
    assert 3 <= step < 300
    assert f"continuing after step {step} of 300" in said
    assert "step 300/300" in said
    for part in ("model.safetensors", "optimizer.safetensors"):
        ends = [path / "checkpoints" / "step-00000300" / part for path in (here / "a run", uninterrupted)]
        assert ends[0].read_bytes() == ends[1].read_bytes()


def test_resuming_a_finished_run_does_nothing_again(run: Path) -> None:
    before = contents(run)
    said = call("train", "--resume", "run", cwd=run.parent)
    assert "run is finished: all 20 steps are done" in said
    assert "minitrain train --resume run trainer.max_steps=N" in said
    assert contents(run) == before


# Bugs


def test_debugging_shows_the_traceback_of_a_mistake(tmp_path: Path) -> None:
    process = start("train", "seed=x", cwd=tmp_path, MINITRAIN_DEBUG="1")
    _, errors = process.communicate()
    assert process.returncode == 2
    assert "Traceback" in errors
    assert errors.splitlines()[-1].startswith("minitrain: error: seed must be a whole number")


def test_a_bug_is_one_line_and_its_traceback_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError) as caught, traceback_kept_in(tmp_path):
        1 / 0  # noqa: B018
    assert report(caught.value) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("minitrain: this is a bug in minitrain: ZeroDivisionError: division by zero")
    assert str(tmp_path / "traceback.txt") in line
    assert "1 / 0" in (tmp_path / "traceback.txt").read_text()


def test_a_bug_without_a_run_says_how_to_see_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(ZeroDivisionError("division\nby zero")) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("ZeroDivisionError: division by zero (set MINITRAIN_DEBUG=1 to see the traceback)")


def test_a_mistake_keeps_no_traceback(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), traceback_kept_in(tmp_path):
        (tmp_path / "missing").read_text()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (KeyboardInterrupt(), 130, "minitrain: interrupted"),
        (MemoryError(), 1, "minitrain: error: out of memory"),
        (ModuleNotFoundError("no", name="hydra.core"), 2, "minitrain: error: the package hydra is not installed"),
        (PermissionError(13, "Permission denied", "x"), 2, "minitrain: error: x: Permission denied"),
        (OSError(28, "No space left on device", "x"), 1, "minitrain: error: x: No space left on device"),
    ],
)
def test_who_has_to_act(error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(error) == code
    assert capsys.readouterr().err.startswith(line)
