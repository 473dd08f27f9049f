"""A part of the tests on other Pythons, and on the lowest versions of what minitrain needs.

    python -m tools.other_versions [--only 3.13] [arguments of pytest]

Each combination has an environment of its own under ``.venvs/``. A Python is taken from the search path
(``python3.12``), from pyenv or from uv; one that is not there is skipped, and a line says so.
"""

from __future__ import annotations

import argparse
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
    "tests/kernels/test_kernels.py",
    "tests/ops/test_ops.py::test_backward_is_the_gradient",
    "tests/optim/schedules/test_schedules.py",
    "tests/data/test_tokenizers.py",
    "tests/data/test_token_file.py",
    "tests/checkpoint/test_checkpoint.py",
    "tests/plotting",
    "tests/runs/test_config.py",
    "tests/testing/test_strategies.py",
    "tests/cli/test_conf.py",
    "tests/cli/test_cli.py::test_info_is_a_table_of_what_is_there",
    "tests/cli/test_cli.py::test_a_run_leaves_all_its_files_and_says_what_came_out",
    "tests/cli/test_cli.py::test_resuming_a_finished_run_does_nothing_again",
    "tests/cli/test_cli.py::test_eval_prints_the_loss_next_to_guessing",
    "tests/cli/test_cli.py::test_plot_draws_the_curves_anew",
)
"""Where NumPy, numba, SciPy, tokenizers, safetensors, Matplotlib, Hydra, rich and Hypothesis are used.

Kernels, gradients, checkpoints, configuration and each command, in about two minutes of one core per combination.
"""


def main(arguments: list[str]) -> int:
    """Run the tests in every combination, or in some; the number of those that failed."""
    parser = argparse.ArgumentParser(prog="python -m tools.other_versions", allow_abbrev=False)
    versions = [version for version, _ in COMBINATIONS]
    parser.add_argument("--only", action="append", choices=versions, help="this Python alone; may be repeated")
    options, arguments = parser.parse_known_args(arguments)
    failed = 0
    for version, resolution in COMBINATIONS:
        if options.only and version not in options.only:
            continue
        python = interpreter(version)
        if python is None:
            print(f"==> Python {version} was not found, neither on the path nor in pyenv or uv: skipped", flush=True)
            continue
        environment = prepare(python, version, resolution)
        print(f"==> Testing on Python {version} with the {resolution} versions of what minitrain needs", flush=True)
        command = [environment / "bin" / "python", "-m", "pytest", "-q", "-n", "2", *(arguments or PART)]
        if resolution == "lowest":  # old releases warn of what has changed in the newer ones that they need in turn
            command += ["-W", "ignore::DeprecationWarning"]
        failed += subprocess.run(command, cwd=ROOT).returncode != 0
    return failed


def interpreter(version: str) -> str | None:
    """Path of a Python ``version``: on the search path, or the newest one of pyenv or uv."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or Path.home() / ".local" / "share" / "uv" / "python")
    releases = {}
    for path in [*pyenv.glob(f"{version}.*/bin/python"), *uv.glob(f"cpython-{version}.*/bin/python{version}")]:
        # Builds without the GIL (3.13.1t, 3.13.1+freethreaded) are others, for which numba has no wheels.
        if name := re.fullmatch(r"(?:cpython-)?[\d.]+\.(\d+)(?:-.*)?", path.parts[-3]):
            releases[path] = int(name[1])
    found = sorted(releases, key=releases.__getitem__, reverse=True)
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
