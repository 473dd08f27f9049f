"""Files of kernels with the headers that they include, and the emulator that runs them with mistakes."""

from __future__ import annotations

import ctypes
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from minitrain.backend.cache_dir import cache_dir
from minitrain.backend.cuda.source import INCLUDE, KERNELS, SourceFile
from minitrain.errors import DeviceError
from minitrain.files import write_atomically
from minitrain.testing.cuda import Emulator, emulate
from minitrain.testing.cuda.build import build
from tests.helpers.cuda.attention_checks import ATTENTION, checks_of_attention
from tests.helpers.cuda.checks import PATHS, Check, checks_of

from .switches import Mutated

SWITCHES = Path(__file__).with_name("mutants.h")
APART = ("ptx.cuh",)  # its stand-in runs, not it; tests/kernels/cuda/test_ptx.py reads its machine code
ROOM = 10_000  # numbers of switches for a file
_INCLUDE = re.compile(r"^#include <(\w+\.cuh)>", re.MULTILINE)
_ERROR = re.compile(r"([\w./]+):(\d+):\d+: error", re.MULTILINE)


class Unit(NamedTuple):
    """A ``.cu`` file, which is compiled and checked as one."""

    path: str
    headers: tuple[str, ...]  # that it includes, directly or not, with mistakes of their own

    @property
    def files(self) -> list[str]:
        """Its file and its headers, by their paths."""
        return [self.path, *(f"include/{name}" for name in self.headers)]

    def checks(self) -> list[Check]:
        """The checks that must notice a mistake."""
        return checks_of_attention(self.path) if self.path in ATTENTION else checks_of(self.path)


def units() -> list[Unit]:
    """Every file that has checks, small ones first."""
    every = [Unit(path, _headers((KERNELS / path).read_text())) for path in (*PATHS, *ATTENTION)]
    return sorted(every, key=lambda unit: (len(unit.headers), (KERNELS / unit.path).stat().st_size))


def unchecked() -> list[str]:
    """Files of kernels without checks."""
    return sorted({str(path.relative_to(KERNELS)) for path in KERNELS.rglob("*.cu")} - {*PATHS, *ATTENTION})


def _headers(text: str) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for name in _INCLUDE.findall(text):
        if name not in APART:
            found.update(dict.fromkeys((*_headers((INCLUDE / name).read_text()), name)))
    return tuple(found)


def mutated_files() -> dict[str, Mutated]:
    """Every file with its mistakes, by its path below ``kernels/cuda``; switches have different numbers."""
    paths = [
        path for path in sorted(KERNELS.rglob("*.cu*")) if path.suffix in (".cu", ".cuh") and path.name not in APART
    ]
    return {
        (name := str(path.relative_to(KERNELS))): Mutated(name, path.read_text(), (1 + number) * ROOM)
        for number, path in enumerate(paths)
    }


class MutatedEmulator(Emulator):
    """Runs kernels whose text is another one.

    Args:
        texts: the text of files, by their paths; others are as they are.
        switches: whether the texts have switches. Libraries without are not kept.
    """

    def __init__(self, texts: Mapping[str, str], switches: bool = True) -> None:
        headers = {Path(path).name: text for path, text in texts.items() if path.startswith("include/")}
        if switches:
            headers[SWITCHES.name] = SWITCHES.read_text()
        digest = hashlib.sha256(repr(sorted(headers.items())).encode()).hexdigest()[:16]
        folder = (
            cache_dir() / "cuda-mutants" / digest
        )  # the same headers are in the same folder, so libraries are found
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in headers.items():
            write_atomically(folder / name, text.encode())
        self._texts = {path: text for path, text in texts.items() if path.endswith(".cu")}
        self._switches = switches
        more = ("-include", SWITCHES.name) if switches else ()
        super().__init__(extra=("-I", str(folder), *more))

    def build(self, source: SourceFile) -> Path:
        """See ``Emulator.build``."""
        changed = SourceFile(source.path, self._texts.get(source.path, source.text))
        changed.kernels = source.kernels
        return build(changed, self.sanitizer, self.extra)

    def library(self, source: SourceFile) -> tuple[ctypes.CDLL, Path]:
        """See ``Emulator.library``."""
        found = super().library(source)
        if not self._switches:
            found[1].unlink(missing_ok=True)
        return found

    def switch_on(self, number: int) -> None:
        """Make one mistake in every library; 0 for none."""
        for library, _ in self._libraries.values():
            ctypes.c_int.in_dll(library, "emu_mutant").value = number


def compilable(unit: Unit, files: Mapping[str, Mutated]) -> MutatedEmulator:
    """An emulator for a unit with all its mistakes, after its checks have run without any.

    Switches that the compiler does not take, for example where it must know a number, are given up.
    """
    while True:
        emulator = MutatedEmulator({name: files[name].with_switches() for name in unit.files})
        try:
            with emulate(emulator):
                for check in unit.checks():
                    check.run()
            return emulator
        except DeviceError as error:
            if not any(_give_up(files, *place) for place in _ERROR.findall(str(error))):
                raise


def _give_up(files: Mapping[str, Mutated], file: str, line: str) -> bool:
    name = f"include/{Path(file).name}" if file.endswith(".cuh") else file
    return name in files and bool(files[name].compile_apart([int(line)]))
