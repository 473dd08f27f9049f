"""Compiles every kernel for the card, several at a time, so that later parts find them in the cache."""

from __future__ import annotations

import importlib
import os
import pkgutil
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import minitrain.kernels.cuda
from minitrain.backend.cuda.launch import Source

from .. import events
from ..place import Place

TITLE = "Kernels compiled for this card"


def sources() -> list[Source]:
    """Every source that a twin declares, in order of its path."""
    package = minitrain.kernels.cuda
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
    return [Source.all[path] for path in sorted(Source.all)]


def compiled(source: Source, place: Place) -> dict[str, Any]:
    """Compile a source; how many kernels it has, registers, and seconds."""
    began = time.perf_counter()
    if place.emulated:
        from minitrain.testing.cuda.build import build

        build(source)
        found = {"registers": None, "spilled": None}
    else:
        from minitrain.backend.cuda.cubin_cache import load_or_compile

        cubin = load_or_compile(source, f"sm_{place.cupy.cuda.Device(0).compute_capability}")
        resources = cubin.resources.values()
        found = {"registers": max(r.registers for r in resources), "spilled": sum(r.spills for r in resources)}
    return {"kernels": len(source.kernels), **found, "seconds": round(time.perf_counter() - began, 2)}


def run(place: Place, options: dict[str, Any]) -> None:
    """See ``Part.module``."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        waiting = {pool.submit(compiled, source, place): source for source in sources()}
        for done in as_completed(waiting):
            error = done.exception()
            cells = {"result": "compiled", **done.result()} if error is None else {"result": events.brief(error)}
            events.row(TITLE, waiting[done].path, **cells)
