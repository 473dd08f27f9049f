"""All benchmarks, ``python -m benchmarks``: every figure that is to be reached, in one run.

    python -m benchmarks attention threads --rounds 3

Tables go to the screen and, as Markdown, to ``benchmarks/out/bench.md``; figures to ``benchmarks/out/*.json``.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from minitrain.benchmark import step_tables, train_step
from minitrain.benchmark.contestants import PEERS
from minitrain.benchmark.machine import describe, held_back
from minitrain.benchmark.report import Table, load_line, markdown, say, show, write_json, write_text
from minitrain.errors import WorkerError

from . import attention, generation, kernel_report, kernels, long_attention, products, reach, scaling, two_threads
from .cores import program as cores
from .kernel_table import ROWS
from .output import out_file

SUMMARY = "Measure everything that is to be reached, print the tables, and say what was reached."
Result = dict[str, Any]


class Options(NamedTuple):
    """The arguments."""

    rounds: int | None
    threads: int | None
    with_torch: bool


class Section(NamedTuple):
    """A part of the run that can be repeated alone.

    Attributes:
        measure: gives the figures.
        tables: shows them.
        notes: lines below the tables.
        file: where the figures go, without ``.json``.
    """

    measure: Callable[[Options], Result]
    tables: Callable[[Result], list[Table]]
    notes: Callable[[Result], list[str]]
    file: str


def steps(options: Options, config: str) -> Result:
    """A training step of one size."""
    peers = PEERS if options.with_torch else ()
    return train_step.measure(config, rounds=options.rounds, threads=options.threads, peers=peers)


def all_kernels(options: Options) -> Result:
    """Every row of the kernel table at ``char`` and ``baby``."""
    programs = kernels.PROGRAMS if options.with_torch else kernels.PROGRAMS[:2]
    jobs = kernels.jobs_of(("char", "baby"), ROWS)
    return kernels.measure(jobs, programs, rounds=options.rounds or kernels.ROUNDS, threads=options.threads)


def loss(options: Options) -> Result:
    """The loss over a vocabulary of 50257, and AdamW on as many weights as GPT-2's blocks have."""
    programs = ("twin", "torch") if options.with_torch else ("twin",)
    jobs = [(row, "gpt2") for row in ROWS if row.op in ("cross_entropy", "adam_update")]
    return kernels.measure(jobs, programs, rounds=options.rounds or kernels.ROUNDS, threads=options.threads)


def kernel_section(measure: Callable[[Options], Result], file: str) -> Section:
    """A section whose result is lines of the kernel table."""
    return Section(measure, lambda result: [kernel_report.table(result)], lambda result: [], file)


SECTIONS: dict[str, Section] = {
    config: Section(
        partial(steps, config=config),
        step_tables.tables,
        lambda result: [step_tables.summary(result)],
        f"train_step_{config}",
    )
    for config in reach.STEPS
} | {
    "kernels": kernel_section(all_kernels, "kernels"),
    "loss": kernel_section(loss, "loss"),
    "attention": Section(
        lambda o: attention.measure(rounds=o.rounds, threads=o.threads, with_torch=o.with_torch),
        attention.tables,
        attention.notes,
        "attention",
    ),
    "long": Section(
        lambda o: long_attention.measure(rounds=o.rounds, threads=o.threads, with_torch=o.with_torch),
        long_attention.tables,
        long_attention.notes,
        "long_attention",
    ),
    "generation": Section(
        lambda o: generation.measure(rounds=o.rounds, threads=o.threads, with_torch=o.with_torch),
        generation.tables,
        generation.notes,
        "generation",
    ),
    "products": Section(
        lambda o: products.measure(rounds=o.rounds, threads=o.threads, with_torch=o.with_torch),
        products.tables,
        products.notes,
        "products",
    ),
    "threads": Section(
        lambda o: two_threads.measure(rounds=o.rounds), two_threads.tables, lambda result: [], "two_threads"
    ),
    "cores": Section(lambda o: cores.measure(rounds=o.rounds), cores.tables, cores.notes, "cores"),
    "scaling": Section(
        lambda o: scaling.measure(rounds=o.rounds, threads=o.threads), scaling.tables, scaling.notes, "scaling"
    ),
}


def run(names: list[str], options: Options) -> int:
    """Measure the sections called ``names``; 1 if one could not be measured. A section that fails stops no other."""
    began = time.perf_counter()
    pages, results, failures = [machine_table()], {}, {}
    for name in names:
        section = SECTIONS[name]
        try:
            result = section.measure(options)
        except WorkerError as error:
            failures[name] = str(error)
            say(f"{name}: {error}")
            continue
        results[name] = result
        write_json(out_file(f"{section.file}.json"), result)
        tables = section.tables(result)
        lines = [*section.notes(result), load_line(result["cores_used_by_others"])]
        for table in tables:
            show(table)
        for line in lines:
            say(line)
        pages += [f"## {name}", *map(markdown, tables), *lines]
        write_text(out_file("bench.md"), pages)  # what was measured stays if a later section is stopped
    verdicts = reach.judge(reach.GOALS, results, failures)
    goals, lines = reach.table(verdicts), []
    if "kernels" in results:
        lines.append(kernel_report.candidates_line(results["kernels"]))
    lines.append(f"measured in {(time.perf_counter() - began) / 60:.0f} minutes")
    show(goals)
    for line in lines:
        say(line)
    path = write_text(out_file("bench.md"), [*pages, "## reach", markdown(goals), *lines])
    say(f"tables written to {path}, figures and pictures beside it")
    return 1 if failures else 0


def machine_table() -> str:
    """The machine, the versions and the settings, as Markdown."""
    rows = []
    for name, value in describe().items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {text}" for key, text in value.items())
        rows.append([name, str(value)])
    page = markdown(Table("", ["machine", ""], rows))
    return page if (line := held_back()) is None else f"{page}\n\n{line}"


def main() -> int:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=SUMMARY)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"any of {', '.join(SECTIONS)} (default: all)")
    parser.add_argument("--only", help="the same, comma-separated")
    parser.add_argument("--no-torch", action="store_true", help="measure minitrain alone")
    parser.add_argument("--rounds", type=int, help="turns of every program (by section, 3 to 15)")
    parser.add_argument("--threads", type=int, help="threads for every program (each one's own choice)")
    arguments = parser.parse_args()
    chosen = arguments.sections + (arguments.only.split(",") if arguments.only else [])
    names = list(dict.fromkeys(chosen)) or list(SECTIONS)
    if unknown := [name for name in names if name not in SECTIONS]:
        parser.error(f"unknown sections {', '.join(unknown)}: choose from {', '.join(SECTIONS)}")
    for name in ("rounds", "threads"):
        if (value := getattr(arguments, name)) is not None and value < 1:
            parser.error(f"--{name} {value}: give 1 or more")
    if line := held_back():
        say(line)
    return run(names, Options(arguments.rounds, arguments.threads, not arguments.no_torch))


if __name__ == "__main__":
    sys.exit(main())
