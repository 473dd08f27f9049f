"""A kernel on disk is not used once the source of any function in it has changed."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import minitrain
from minitrain.backend.cpu.kernel_cache import KERNEL_FOLDER, sources_of

PACKAGE = Path(minitrain.__file__).parent
COMPILED_IN = ("@device", "@exact_device", "@intrinsic", "@overload")
"""What marks functions that become part of the kernels that call them."""
KERNELS = [path for path in sorted(KERNEL_FOLDER.rglob("*.py")) if "@kernel(" in path.read_text()]


def imported(file: Path) -> set[Path]:
    """The files of kernels and of their backend that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            folder = file.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            places = [folder.with_suffix(".py"), *(folder / f"{name.name}.py" for name in node.names)]
            found |= {place for place in places if place.is_file()}
    return {
        path for path in found if path.is_relative_to(KERNEL_FOLDER) or path.is_relative_to(PACKAGE / "backend/cpu")
    }


def helpers(file: Path) -> set[Path]:
    """The files with functions that are compiled into the kernels of ``file``, and with constants of theirs."""
    found: set[Path] = set()
    waiting = [file]
    while waiting:
        for path in imported(waiting.pop()) - found:
            if path.is_relative_to(KERNEL_FOLDER) or any(mark in path.read_text() for mark in COMPILED_IN):
                found.add(path)
                waiting.append(path)
    return {path for path in found if "@kernel(" not in path.read_text() or helpers_in(path)}


def helpers_in(file: Path) -> bool:
    """Whether a file has helpers, beside kernels perhaps."""
    return any(mark in file.read_text() for mark in COMPILED_IN)


@pytest.mark.parametrize("file", KERNELS, ids=lambda path: path.relative_to(KERNEL_FOLDER).as_posix())
def test_all_sources_of_a_kernel_are_in_its_stamp(file: Path) -> None:
    missing = helpers(file) - set(sources_of(file))
    assert {path.relative_to(PACKAGE).as_posix() for path in missing} == set()


def test_the_check_finds_helpers() -> None:
    """Nothing above would fail if nothing were found."""
    assert len(KERNELS) > 20
    found = {path.name for path in helpers(KERNEL_FOLDER / "generation" / "step.py")}
    assert found >= {"sgemm.py", "_sums.py", "_simd.py", "attention_blocks.py", "elementwise.py"}
