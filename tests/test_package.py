"""What `import minitrain` promises: it is light, its names resolve, and the built package is complete."""

import ast
import importlib
import importlib.metadata
import importlib.resources
import json
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import minitrain
from tests.helpers.places import ROOT
from tools import other_versions

HEAVY = {
    "cupy",
    "hydra",
    "llvmlite",
    "matplotlib",
    "numba",
    "omegaconf",
    "rich",
    "safetensors",
    "scipy",
    "tokenizers",
}
STUB = ast.parse(Path(minitrain.__file__).with_suffix(".pyi").read_text())
PUBLIC = {
    alias.asname: f"minitrain.{node.module}"
    for node in STUB.body
    if isinstance(node, ast.ImportFrom) and node.module
    for alias in node.names
    if alias.asname != "__version__"
}
"""Public names, and where the stub says they are from."""
HIDDEN = {
    "__main__",
    "benchmark",
    "cli",
    "conf",
    "display",
    "files",
    "folder",
    "formats",
    "kernels",
    "pytest_plugin",
    "server",
    "versions",
}
"""Behind the command line, behind the operations, or of no use by themselves."""
PARTS = {module.name for module in pkgutil.iter_modules(minitrain.__path__)} - HIDDEN


def loaded_by(code: str) -> set[str]:
    """Top-level packages that are loaded in a fresh interpreter after ``code`` ran."""
    program = f"{code}\nimport json, sys\nprint(json.dumps(list(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return {name.partition(".")[0] for name in json.loads(result.stdout)}


def test_import_loads_nothing_heavy():
    assert not loaded_by("import minitrain") & HEAVY


def test_the_probe_sees_a_heavy_import():
    assert "scipy" in loaded_by("import minitrain, scipy")


def test_building_a_model_and_an_optimizer_needs_no_plotting_no_command_line_and_no_gpu():
    loaded = loaded_by(
        "import minitrain\n"
        "config = minitrain.GPTConfig(vocab_size=3, block_size=4, n_layer=1, n_head=1, n_embd=4)\n"
        "model = minitrain.GPT(config)\n"
        "minitrain.pack(model)\n"
        "minitrain.AdamW(model)"
    )
    assert not loaded & {"cupy", "hydra", "matplotlib", "omegaconf", "rich", "tokenizers"}


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_public_name_is_the_one_of_its_module(name):
    assert getattr(minitrain, name) is getattr(importlib.import_module(PUBLIC[name]), name)


def test_parts_are_found_without_importing_them():
    code = (
        "import minitrain as mt\n"
        "mt.nn.RMSNorm, mt.losses.CrossEntropyLoss, mt.optim.Muon, mt.models.PRESETS, mt.ops.gelu_forward\n"
        "mt.training.Trainer, mt.data.TokenLoader, mt.testing.check_module, mt.errors.ShapeError, mt.random.Key\n"
        "mt.generation.generate, mt.backend.use_kernels"
    )
    assert not loaded_by(code) & {"cupy", "hydra", "matplotlib"}


def test_all_and_dir_list_the_public_names():
    assert set(minitrain.__all__) == {*PUBLIC, *PARTS}
    assert set(minitrain.__all__) <= set(dir(minitrain))


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'GTP'"):
        _ = minitrain.GTP
    with pytest.raises(ImportError, match="GTP"):
        exec("from minitrain import GTP")


def test_version_is_the_installed_one():
    assert minitrain.__version__ == importlib.metadata.version("minitrain")


def test_package_is_typed():
    assert importlib.resources.files("minitrain").joinpath("py.typed").is_file()


def test_module_runs_as_a_program():
    result = subprocess.run([sys.executable, "-m", "minitrain", "--help"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "train" in result.stdout


def test_lowest_versions_are_those_of_the_requirements():
    """Of minitrain and of its tests; every requirement has one, or nobody could test it."""
    pins = other_versions.lowest(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8")))
    assert {"numpy", "numba", "tokenizers", "pytest"} <= {pin.partition("==")[0] for pin in pins}
    project = {"dependencies": ["numpy>=2.0", "scipy"], "optional-dependencies": {"test": []}}
    with pytest.raises(ValueError, match="scipy: write"):
        other_versions.lowest({"project": project})


def test_a_python_is_found_if_it_runs(monkeypatch, tmp_path):
    """A shim that stands for an absent one is not taken for it."""
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    shim = tmp_path / "python3.99"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert other_versions.interpreter("3.99") is None
    real = tmp_path / "versions" / "3.99.1" / "bin" / "python"
    real.parent.mkdir(parents=True)
    real.write_text("#!/bin/sh\necho Python 3.99.1\n")
    real.chmod(0o755)
    assert other_versions.interpreter("3.99") == str(real)


def test_of_several_pythons_the_newest_release_is_taken(monkeypatch, tmp_path):
    """From pyenv or uv; a build without the GIL is another Python."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(tmp_path / "uv"))
    for place in (
        "pyenv/versions/3.99.9/bin/python",
        "pyenv/versions/3.99.12t/bin/python",
        "uv/cpython-3.99.10-linux-x86_64-gnu/bin/python3.99",
        "uv/cpython-3.99.11+freethreaded-linux-x86_64-gnu/bin/python3.99",
    ):
        python = tmp_path / place
        python.parent.mkdir(parents=True)
        python.write_text(f"#!/bin/sh\necho Python {python.parts[-3].removeprefix('cpython-').partition('-')[0]}\n")
        python.chmod(0o755)
    found = other_versions.interpreter("3.99")
    assert found is not None
    assert "cpython-3.99.10-" in found


def test_a_python_that_is_not_there_is_skipped_aloud(monkeypatch, capsys):
    monkeypatch.setattr(other_versions, "interpreter", lambda version: None)
    assert other_versions.main(["--only", "3.13"]) == 0
    said = capsys.readouterr().out
    assert "Python 3.13 was not found" in said
    assert "3.12" not in said
    with pytest.raises(SystemExit):
        other_versions.main(["--only", "2.7"])


def test_classifiers_name_the_pythons_that_are_tested():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {line.rpartition(" ")[2] for line in project["classifiers"] if re.search(r"Python :: 3\.\d+$", line)}
    assert named == {version for version, _ in other_versions.COMBINATIONS}


def test_the_part_for_other_versions_exists():
    for part in other_versions.PART:
        path, _, name = part.partition("::")
        assert (ROOT / path).exists(), part
        assert not name or f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), part


@pytest.mark.parametrize(
    ("name", "home"),
    [
        ("CharTokenizer", "minitrain.data.CharTokenizer"),
        ("MinitrainError", "minitrain.errors.MinitrainError"),
        ("GPTBlock", "layers are in minitrain.nn"),
        ("_private", "layers are in minitrain.nn"),
    ],
)
def test_a_name_that_is_elsewhere_is_found(name, home):
    with pytest.raises(AttributeError, match=f"no attribute '{name}'; .*{re.escape(home)}"):
        getattr(minitrain, name)
