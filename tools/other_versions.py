"""A part of the tests on other Pythons, and on the lowest versions of what minitrain needs.

    python -m tools.other_versions [arguments of pytest]

Each combination has an environment of its own under ``.venvs/``. A Python that this machine does not have is skipped.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROJECT = ROOT / "pyproject.toml"
COMBINATIONS = (("3.11", "lowest"), ("3.12", "newest"), ("3.13", "newest"))
PART = (
    "tests/test_package.py",
    "tests/test_random.py",
    "tests/ops/test_op_values.py",
    "tests/kernels/test_kernels.py",
    "tests/nn/test_nn.py",
    "tests/nn/test_modules.py",
    "tests/optim/test_optimizers.py",
    "tests/optim/test_schedules.py",
    "tests/data/test_tokenizers.py",
    "tests/data/test_token_file.py",
    "tests/checkpoint/test_checkpoint.py",
    "tests/plotting",
    "tests/runs/test_config.py",
    "tests/training/test_trainer.py",
    "tests/testing/test_strategies.py",
    "tests/cli/test_conf.py",
    "tests/cli/test_cli.py",
)
"""Where NumPy, numba, SciPy, tokenizers, safetensors, Matplotlib, Hydra, rich and Hypothesis are used."""


def main(arguments: list[str]) -> int:
    """Run the tests in every combination; the number of those that failed."""
    failed = 0
    for version, resolution in COMBINATIONS:
        python = interpreter(version)
        if python is None:
            print(f"==> Python {version} is not here: skipped", flush=True)
            continue
        environment = prepare(python, version, resolution)
        print(f"==> Testing on Python {version} with the {resolution} versions of what minitrain needs", flush=True)
        command = [environment / "bin" / "python", "-m", "pytest", "-q", "-n", "2", *(arguments or PART)]
        if resolution == "lowest":  # old releases warn of what has changed in the newer ones that they need in turn
            command += ["-W", "ignore::DeprecationWarning"]
        failed += subprocess.run(command, cwd=ROOT).returncode != 0
    return failed


def interpreter(version: str) -> str | None:
    """Path of a Python ``version`` on the search path or among those of pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = sorted((pyenv / "versions").glob(f"{version}.*/bin/python"), key=lambda path: path.parts[-3])
    for candidate in filter(None, [shutil.which(f"python{version}"), *map(str, found)]):
        # A shim of pyenv may stand for a Python that is switched off.
        said = subprocess.run([candidate, "--version"], capture_output=True, text=True)
        if said.returncode == 0 and said.stdout.startswith(f"Python {version}."):
            return candidate
    return None


def prepare(python: str, version: str, resolution: str) -> Path:
    """The environment of a combination, made new when pyproject.toml has changed."""
    folder = ROOT / ".venvs" / f"{version}-{resolution}"
    stamp = folder / "installed"
    if stamp.exists() and stamp.stat().st_mtime >= PROJECT.stat().st_mtime:
        return folder
    print(f"==> Creating {folder.relative_to(ROOT)}", flush=True)
    subprocess.run([python, "-m", "venv", "--clear", folder], check=True)
    command = [folder / "bin" / "python", "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    if resolution == "lowest":
        constraints = folder / "lowest.txt"
        constraints.write_text("\n".join(lowest(tomllib.loads(PROJECT.read_text(encoding="utf-8")))) + "\n")
        command += ["--constraint", constraints]
    subprocess.run([*command, "--editable", ".[test]"], cwd=ROOT, env={**os.environ, "PIP_USE_PEP517": "1"}, check=True)
    stamp.touch()
    return folder


def lowest(project: dict[str, object]) -> list[str]:
    """A constraint ``name==bound`` for each requirement ``name>=bound`` of minitrain and its tests.

    Raises:
        ValueError: if a requirement has no lower bound.
    """
    table = project["project"]
    assert isinstance(table, dict)
    constraints = []
    for requirement in [*table["dependencies"], *table["optional-dependencies"]["test"]]:
        match = re.fullmatch(r"([\w.-]+)>=([\w.]+)", requirement)
        if match is None:
            raise ValueError(f"{requirement}: write 'name>=version', so that the lowest version can be tested")
        constraints.append(f"{match[1]}=={match[2]}")
    return constraints


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
