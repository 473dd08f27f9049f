"""Imports point one way, and foreign libraries stay behind their doors.

Read from the source, not by importing: an import inside a function counts too, and so does one for types alone.
"""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from minitrain.losses import MeanSquaredError
from minitrain.nn import Linear
from minitrain.training import Trainer
from tests.helpers.places import ROOT, TESTS

PACKAGE = ROOT / "minitrain"

ARRAYS = {"backend", "errors", "random"}
MODELS = ARRAYS | {"losses", "models", "nn", "ops", "optim"}
RUNS = MODELS | {"checkpoint", "data", "files", "folder", "generation", "measures", "plotting", "records", "settings"}
RUNS |= {"display", "distributed", "states", "versions"}
TRAINING = RUNS | {"interop", "probes", "reports", "trainers", "training"}
# Part of the package -> the parts it may import. A new part needs a line here: decide what it stands on.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "versions": set(),
    "conf": set(),
    "formats": {"errors"},
    "files": {"errors"},
    "plotting": {"errors", "files"},
    "display": {"errors"},
    "settings": {"errors"},
    "backend": {"errors"},
    "random": {"backend", "errors"},
    "states": {"backend", "errors"},
    "kernels": ARRAYS,
    "ops": ARRAYS | {"kernels"},
    "losses": ARRAYS | {"ops"},
    "nn": ARRAYS | {"display", "formats", "ops"},
    "models": ARRAYS | {"display", "formats", "nn", "ops", "settings"},
    "inside": ARRAYS | {"display", "models", "nn", "ops"},
    "optim": ARRAYS | {"display", "distributed", "models", "nn", "ops", "plotting", "settings", "states"},
    "testing": ARRAYS | {"display", "nn", "ops"},
    "pytest_plugin": {"display", "errors", "files", "testing"},
    "distributed": {"backend", "errors"},
    "data": ARRAYS | {"display", "files", "formats", "settings", "states"},
    "generation": ARRAYS | {"formats", "kernels", "models", "nn", "ops"},
    "measures": ARRAYS | {"data", "files", "generation"},
    "folder": {"errors", "files", "settings"},
    "checkpoint": ARRAYS | {"distributed", "files", "folder", "formats", "settings", "states", "versions"},
    "interop": MODELS | {"checkpoint", "data", "files", "folder", "formats", "generation", "settings", "versions"},
    "records": ARRAYS | {"display", "files", "folder", "formats", "plotting", "settings", "versions"},
    "reports": {"display", "errors", "files", "folder", "formats", "plotting", "records"},
    "training": RUNS | {"formats"},
    "probes": RUNS | {"formats", "inside", "training"},
    "trainers": RUNS | {"formats", "probes", "training"},
    "compat": TRAINING | {"formats"},
    "tasks": TRAINING | {"formats", "inside"},
    "runs": TRAINING | {"conf", "formats", "tasks"},
    "evaluation": ARRAYS | {"data", "files", "generation", "measures", "models", "ops", "runs"},
    "audit": TRAINING | {"evaluation", "formats", "runs", "tasks"},
    "tutorials": {"backend", "display", "errors", "testing"},
    "benchmark": MODELS | {"files", "formats", "plotting"},
    "profiling": TRAINING | {"formats", "kernels", "runs", "tasks"},
    "scaling": TRAINING | {"benchmark", "formats", "profiling"},
    "server": TRAINING | {"formats", "inside", "runs", "tasks"},
    "cli": TRAINING
    | {
        "audit",
        "benchmark",
        "conf",
        "evaluation",
        "formats",
        "profiling",
        "runs",
        "scaling",
        "tasks",
        "server",
        "testing",
    },
    "__main__": {"cli"},
}
LARGEST_FOLDER = 17
LARGEST_FOLDER_OF_TESTS = 25
# Library -> the parts that may import it. Whatever is not listed is free.
DOORS = {
    "cupy": {"backend"},
    "cupy_backends": {"backend"},
    "cupyx": {"backend", "ops"},  # special functions
    "numba": {"backend", "kernels"},
    "llvmlite": {"backend", "kernels"},
    "threadpoolctl": {"backend", "tasks"},
    "hydra": {"cli"},
    "omegaconf": {"cli"},
    "joblib": {"runs"},  # the engines of sweeps
    "optuna": {"runs"},
    "phonenumbers": {"data"},
    "py3langid": {"data"},
    "mpi4py": {"distributed"},
    "ray": {"distributed", "runs"},
    "submitit": {"runs"},
    "datasketch": {"data"},
    "dp_accounting": {"training"},
    "lm_eval": {"evaluation"},
    "sacrebleu": {"measures"},
    "stdnum": {"data"},
    "onnx": {"interop"},
    "onnxruntime": {"interop"},
    "jax": {"testing"},  # the checker of other libraries' gradients
    "tensorflow": set(),
    "torch": {"benchmark", "testing"},  # an oracle of the tests, a rival of the benchmarks, and what is checked
}
# A file from somebody else must not run code: these can.
UNSAFE = {"cPickle", "cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}


def imported(source: str, module: str, *, is_package: bool = False) -> set[str]:
    """Full names that a module imports, anywhere in it.

    ``from a import b`` gives ``a.b``; ``import_module("a")`` counts where the name is written out.
    """
    package = module.split(".") if is_package else module.split(".")[:-1]
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            names.update(f"{start}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "importlib.import_module",
            "import_module",
            "__import__",
        ):
            written = [c.value for c in ast.walk(node.args[0]) if isinstance(c, ast.Constant)]
            names.update(name for name in written if isinstance(name, str) and name[:1].isalpha())
    return names


def breaches(source: str, module: str, *, is_package: bool = False) -> list[str]:
    """The rules that a module of minitrain breaks, one sentence each."""
    part = [*module.split("."), ""][1]
    found = []
    for name in sorted(imported(source, module, is_package=is_package)):
        library, _, rest = name.partition(".")
        other = rest.partition(".")[0]
        if library == "minitrain" and part and other not in (part, "", "__version__"):
            if other not in MAY_IMPORT:
                # `from minitrain import GPT`: the public names sit above everything
                found.append(f"{module} imports {name}: inside the package, import from the module that defines it")
            elif other not in MAY_IMPORT[part]:
                found.append(f"{module} imports {name}: {part} must not stand on {other}")
        if part not in DOORS.get(library, {part}):
            found.append(f"{module} imports {name}: only {' and '.join(sorted(DOORS[library])) or 'nobody'} may")
        if library in UNSAFE:
            found.append(f"{module} imports {name}, which can run code from a file")
    return found


def modules() -> dict[str, Path]:
    """Every module of minitrain by its dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def test_no_module_imports_itself_in_a_circle():
    """Neither between packages nor inside one; an import for types alone counts."""
    found = modules()
    edges: dict[str, set[str]] = defaultdict(set)
    for name, path in found.items():
        for target in imported(path.read_text(), name, is_package=path.name == "__init__.py"):
            module = target if target in found else target.rpartition(".")[0]
            if module in found and module != name:
                edges[name].add(module)
    done: set[str] = set()
    while left := set(found) - done:
        ready = {name for name in left if edges[name] <= done}
        assert ready, f"modules in a circle, or above one: {sorted(left)}"
        done |= ready


@pytest.mark.parametrize(("root", "most"), [(PACKAGE, LARGEST_FOLDER), (TESTS, LARGEST_FOLDER_OF_TESTS)])
def test_folders_are_small(root: Path, most: int):
    sizes = Counter(path.parent for path in root.rglob("*.py"))
    assert {folder: count for folder, count in sizes.items() if count > most} == {}


def test_tests_lie_where_the_code_lies():
    """Besides those of parts there are tests of all pages, of what the project is to do, of its tools, and helpers."""
    parts = {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    folders = {path.name for path in TESTS.iterdir() if path.is_dir() and list(path.glob("*.py"))}
    assert folders - parts == {"docs", "helpers", "mission", "peers"}


def test_few_files_know_the_trainer():
    """The trainer is not a namespace: what others need of it they get as arguments."""
    named = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if path.name != "__init__.py"
        and any(isinstance(node, ast.Name) and node.id == "Trainer" for node in ast.walk(ast.parse(path.read_text())))
    }
    # And training/trainer.py, which defines it. The measurement trains as a script of a user does.
    assert named == {"runs/run.py", "trainers/base.py", "scaling/measured/rank.py"}


def test_what_is_handed_around_is_small():
    """Callbacks, the loop, the finders and the saver receive at most eleven members at a time."""
    linear = Linear(2, 1, np.random.default_rng(0))
    data = [(np.ones((2, 2), np.float32), np.ones((2, 1), np.float32))]
    trainer = Trainer(model=linear, train_data=data, loss_fn=MeanSquaredError(), progress=False)
    for handed in (trainer.setup, trainer.run, trainer.view):
        members = [name for name in dir(handed) if not name.startswith("_")]
        assert len(members) <= 11, members


def test_every_part_has_its_place():
    parts = {name.split(".")[1] for name in modules() if "." in name}
    assert parts <= set(MAY_IMPORT), "add the new part to MAY_IMPORT"


def test_the_order_has_no_circle():
    done: set[str] = set()
    while len(done) < len(MAY_IMPORT):
        ready = {part for part, below in MAY_IMPORT.items() if below <= done} - done
        assert ready, f"parts that stand on each other: {sorted(set(MAY_IMPORT) - done)}"
        done |= ready


def test_imports_point_one_way():
    found = [
        b
        for name, path in modules().items()
        for b in breaches(path.read_text(), name, is_package=path.name == "__init__.py")
    ]
    assert not found, "\n".join(found)


def test_nothing_loads_pickles():
    for path in [*PACKAGE.rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]:
        source = path.read_text()
        assert not {name.partition(".")[0] for name in imported(source, "x")} & UNSAFE, path
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert isinstance(node.value, ast.Constant), f"{path}:{node.value.lineno}"
                assert node.value.value is False, f"{path}:{node.value.lineno}"


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("minitrain.ops.activations.gelu", "from ...nn.layers.linear import Linear"),
        ("minitrain.ops.activations.gelu", "from ... import nn"),
        ("minitrain.ops.activations.gelu", "from minitrain import GPT"),
        ("minitrain.nn.layers.linear", "def f():\n    import minitrain.training.trainer"),
        ("minitrain.nn.layers.linear", "from ...training import Trainer"),
        ("minitrain.kernels.cpu.activations.gelu", "from ....ops.activations.gelu import GeluCache"),
        ("minitrain.testing.checker", "from ..models.gpt import GPT"),
        ("minitrain.data.tokens.loader", "from ...models import GPT"),
        ("minitrain.training.trainer", "from ..cli import main"),
        ("minitrain.ops.linear.linear", "import cupy as cp"),
        ("minitrain.nn.layers.linear", "def f():\n    import cupy.cuda.runtime"),
        ("minitrain.models.gpt", "import importlib\nimportlib.import_module('cupy')"),
        ("minitrain.ops.linear.linear", "from numba import njit"),
        ("minitrain.runs.run", "import llvmlite.binding"),
        ("minitrain.runs.config", "from omegaconf import OmegaConf"),
        ("minitrain.nn.layers.linear", "import torch"),
        ("minitrain.checkpoint.format", "def f():\n    from pickle import dumps"),
    ],
)
def test_a_planted_breach_is_found(module, source):
    assert breaches(source, module)


@pytest.mark.parametrize(
    ("module", "source", "is_package"),
    [
        ("minitrain.ops.activations.gelu", "from ...backend.arrays import Array", False),
        ("minitrain.ops", "from .gelu import gelu_forward", True),
        ("minitrain.nn.layers.linear", "from ... import ops", False),
        ("minitrain.kernels.cpu.activations.gelu", "from numba import prange\nfrom ._math import exp", False),
        ("minitrain.cli.train", "from hydra import compose\nfrom ..training.run import start_run", False),
        ("minitrain", "from .training import Trainer", True),
    ],
)
def test_an_allowed_import_is_let_through(module, source, is_package):
    assert breaches(source, module, is_package=is_package) == []
