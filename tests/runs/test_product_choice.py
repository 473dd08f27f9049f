"""What multiplies matrices is a part of a run: recorded, used again when it is continued, and told where it cannot be.

A process decides it once, so most tests here start processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from minitrain.backend import use_kernels
from minitrain.backend.cpu.products.blas import blas
from minitrain.backend.product import Product
from minitrain.backend.product_choice import in_use
from minitrain.checkpoint import CheckpointManager, read_checkpoint
from minitrain.checkpoint.products import read_products, saved_products
from minitrain.cli.entry import main
from minitrain.errors import CheckpointError
from minitrain.models.gpt import GPT, GPTConfig
from minitrain.optim import AdamW
from minitrain.runs import resume_run, start_run
from tests.helpers.edited_checkpoints import edit_state
from tests.helpers.processes import run_python
from tests.helpers.small_runs import half_done, newest, outcome, small_config
from tests.helpers.small_trainers import make

HALF = 4
"""The step of the checkpoint that is continued."""
BUT = "the bytes will differ from those of an uninterrupted run"
TRAIN = """
    from pathlib import Path
    from minitrain.runs import start_run
    from tests.helpers.small_runs import small_config
    start_run(small_config(Path({folder!r}))).train()
"""
CONTINUE = """
    import sys
    from minitrain.runs import resume_run
    told = []
    run = resume_run({folder!r}, warn=told.append)
    assert not [name for name in sys.modules if name.startswith("minitrain.kernels.cpu.")]  # chosen before they load
    run.train()
    from minitrain.backend.product_choice import in_use
    print("USED", *in_use()["float32"], sep="|")
    print("TOLD", *told, sep="|")
"""
SMALL_MODEL = GPTConfig(vocab_size=11, block_size=8, n_layer=1, n_head=2, n_embd=8)
NO_CHOICE = {"MINITRAIN_BLAS": "", "MINITRAIN_KERNELS": "auto"}


@pytest.fixture(autouse=True)
def with_kernels(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("MINITRAIN_BLAS", raising=False)
    with use_kernels("auto"):
        yield


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with OpenBLAS."""
    folder = tmp_path_factory.mktemp("begun")
    run_python(TRAIN.format(folder=str(folder)), **{**NO_CHOICE, "MINITRAIN_BLAS": "openblas"})
    return folder / "run"


@pytest.fixture
def half(begun: Path, tmp_path: Path) -> Path:
    """The same run as if it had been stopped on the way."""
    return half_done(begun, tmp_path / "half")


def recorded(run: Path) -> Product:
    return read_products(read_checkpoint(newest(run)).state)["float32"]


def go_on(run: Path, **environment: str) -> tuple[Product, list[str], str]:
    """What multiplied in a session that continues ``run``, its warnings, and all that it printed."""
    said = run_python(CONTINUE.format(folder=str(run)), **{**NO_CHOICE, **environment})
    used, told = (line.split("|")[1:] for line in said.splitlines() if line.startswith(("USED", "TOLD")))
    return Product(*used), told, said


def stored_as(run: Path, **values: str) -> None:
    edit_state(newest(run), lambda state: state["products"]["float32"].update(values))


def test_every_checkpoint_has_it(tmp_path: Path) -> None:
    make(tmp_path / "run").train()
    found = blas()
    name = found.product.name if found else "numpy"
    paths = list((tmp_path / "run" / "checkpoints").glob("step-*"))
    assert len(paths) == 2
    for path in paths:
        record = read_checkpoint(path).state["products"]["float32"]
        assert record["name"] == name and Product(**record) == in_use()["float32"]
    assert saved_products("cuda:0") == {}, "nothing is known of a GPU"


def test_its_name_version_and_instructions(begun: Path) -> None:
    product = recorded(begun)
    assert product.name == "openblas" and product.version[0].isdigit() and product.instructions.isalnum()
    assert str(Product("own", "", "AVX2")) == "minitrain's own, AVX2"


def test_it_is_used_again_and_said(begun: Path, half: Path) -> None:
    used, told, said = go_on(half)
    assert used == recorded(begun) and told == []
    assert f"matrices are multiplied as before, by {used} (float32)" in said
    assert "OpenBLAS" in said
    whole, continued = outcome(begun), outcome(half)
    for part in ("weights", "moments", "state", "sample"):
        assert whole[part] == continued[part], part


def test_one_that_is_not_here(half: Path) -> None:
    stored_as(half, name="accelerate", version="99.0", instructions="")
    used, (told,), said = go_on(half)
    assert used.name != "accelerate" and "as before" not in said
    assert told.startswith("float32 matrices were multiplied by Accelerate 99.0, from here on by ")
    assert "not found here" in told and told.endswith(BUT) and "\n" not in told
    assert recorded(half) == used, "the next checkpoint has what is used now"


def test_another_version_of_it_is_closest(half: Path) -> None:
    stored_as(half, version="0.0.1")
    used, (told,), _ = go_on(half)
    assert used.name == "openblas" and used.version != "0.0.1"
    assert told.startswith("float32 matrices were multiplied by OpenBLAS 0.0.1, ") and told.endswith(BUT)


def test_the_variable_is_stronger(half: Path) -> None:
    used, (told,), _ = go_on(half, MINITRAIN_BLAS="numpy")
    assert used.name == "numpy"
    assert "(MINITRAIN_BLAS=numpy is set)" in told and told.endswith(BUT)


def test_numpy_is_a_choice_that_is_kept(half: Path) -> None:
    import numpy as np

    stored_as(half, name="numpy", version=np.__version__, instructions="")
    used, told, said = go_on(half)
    assert used.name == "numpy" and told == [] and "as before, by NumPy" in said


def test_the_readable_code_is_none_of_them(half: Path) -> None:
    with use_kernels("reference"):
        told: list[str] = []
        resume_run(half, warn=told.append)
        assert "reference code" in told[0] and "kernels are off" in told[0] and told[0].endswith(BUT)
    stored_as(half, name="reference")
    resume_run(half, warn=told.append)
    assert "MINITRAIN_KERNELS=reference is not set" in told[1] and told[1].endswith(BUT)


def test_kernels_that_are_linked_with_another(half: Path) -> None:
    found = blas()
    stored_as(half, name="accelerate", version="1")
    told: list[str] = []
    run = resume_run(half, warn=told.append)
    assert blas() is found and "linked before" in told[0] and told[0].endswith(BUT)
    assert run.trainer.state.step == HALF


def test_a_checkpoint_of_before(half: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit_state(newest(half), lambda state: state.pop("products"))
    used, told, said = go_on(half)
    assert told == [] and "as before" not in said
    assert recorded(half) == used
    edit_state(newest(half), lambda state: state.pop("products"))
    assert main(["info", str(half)]) == 0 and "matrix products" not in capsys.readouterr().out


def test_info_says_it(half: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(half)]) == 0
    assert f"\nmatrix products               {recorded(half)} (float32)\n" in capsys.readouterr().out
    assert main(["info"]) == 0
    assert f"\nBLAS          {in_use()['float32']}" in capsys.readouterr().out


def test_info_of_a_run_in_python(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class OfOneScript(GPT):
        """A model that only its script can make. Other tests register classes by other names."""

    make(tmp_path / "run", model=OfOneScript(SMALL_MODEL, seed=1)).train()
    assert main(["info", str(tmp_path / "run")]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("matrix products"))
    assert line.split(maxsplit=2)[2] == f"{in_use()['float32']} (float32)"


@pytest.mark.parametrize("command", [["eval"], ["generate", "--max-new-tokens", "4"]])
def test_using_a_run_takes_what_is_there(half: Path, command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    stored_as(half, name="accelerate", version="1")
    before = blas()
    assert main([command[0], str(half), *command[1:]]) == 0
    assert blas() is before and "multiplied" not in "".join(capsys.readouterr())


def test_a_manager_of_checkpoints(tmp_path: Path) -> None:
    model = GPT(SMALL_MODEL, seed=1)
    told: list[str] = []
    manager = CheckpointManager(model, AdamW(model), tmp_path / "all", warn=told.append)
    place = manager.save_checkpoint(manager.get_checkpoint_path(1, 2.0))
    manager.load_checkpoint(place)
    assert told == [] and read_checkpoint(place).state["products"] == saved_products("cpu")
    edit_state(Path(place), lambda state: state["products"]["float32"].update(name="accelerate"))
    manager.load_checkpoint(place)
    assert len(told) == 1 and told[0].endswith(BUT)
    edit_state(Path(place), lambda state: state.update(products={"float32": {"name": "/tmp/x.so"}}))
    weights = {name: array.copy() for name, array in model.state_dict().items()}
    model.parameters()[0].data[...] = 7
    changed = {name: array.copy() for name, array in model.state_dict().items()}
    with pytest.raises(CheckpointError, match="products"):
        manager.load_checkpoint(place)
    assert all((model.state_dict()[name] == changed[name]).all() for name in weights), "nothing is loaded then"


STRANGE_NAMES: list[Any] = ["/tmp/evil.so", "../evil", "evil", "", "own\n", 3, None, ["own"]]
GOOD = {"name": "openblas", "version": "1", "instructions": "Zen"}


@pytest.mark.parametrize(
    "record",
    [
        [],
        "own",
        {"float32": "own"},
        {"float32": {"name": "own"}},
        {"float32": {**GOOD, "path": "/tmp/evil.so"}},
        {"complex64": GOOD},
        *({"float32": {**GOOD, "name": name}} for name in STRANGE_NAMES),
        *({"float32": {**GOOD, "version": text}} for text in ("x" * 101, "a\nb", "\x1b[31m", "\u202e", 1, None)),
        {"float32": {**GOOD, "instructions": "\x00"}},
    ],
)
def test_a_record_from_someone_else_is_only_read(half: Path, record: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is compared with known names and short lines; whatever else it says is refused, and nothing is loaded."""
    edit_state(newest(half), lambda state: state.update(products=record))
    monkeypatch.setattr("ctypes.CDLL", lambda path: pytest.fail(f"loads {path}"))
    with pytest.raises(CheckpointError, match="products") as refused:
        resume_run(half)
    assert str(refused.value).isprintable()
    assert main(["info", str(half)]) == 2


def test_a_new_run_from_the_weights_of_another_chooses_for_itself(half: Path, tmp_path: Path) -> None:
    stored_as(half, name="accelerate", version="1")
    told: list[str] = []
    config = replace(small_config(tmp_path / "new"), init_from=str(half))
    run = start_run(config, warn=told.append)
    assert told == [] and recorded(run.run_dir) == in_use()["float32"]


def test_the_process_that_compiles_ahead_links_the_same(half: Path) -> None:
    code = """
        from minitrain.backend.product import Product
        from minitrain.backend.product_choice import in_use, keep_using
        keep_using({"float32": Product("numpy")}, "cpu", lambda message: None)
        assert in_use()["float32"].name == "numpy"
        import os, subprocess
        started = []
        subprocess.Popen = lambda *args, env, **options: started.append(env)
        from minitrain.backend.cpu import compile_ahead
        compile_ahead._running_helpers(1)
        print(started[0]["MINITRAIN_BLAS"])
    """
    assert run_python(code, **NO_CHOICE).strip() == "numpy"
