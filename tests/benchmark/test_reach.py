"""What the benchmarks say was reached: ratios, fits, the table of goals, and which twins pay."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import __main__ as command
from benchmarks import attention, generation, kernel_report, kernels, products, reach, scaling
from benchmarks.kernel_table import ATTENTION_LENGTHS, ROWS, SHAPES, functions_of, kernel_of
from minitrain.benchmark import contestants, train_step
from minitrain.benchmark.ratios import Spread, fitted_exponent
from minitrain.benchmark.report import Table, load_line, markdown
from minitrain.errors import WorkerError
from minitrain.kernels import cpu
from tests.helpers.fake_race import fake_race

GOAL = reach.Goal("speed", "section", lambda result: result["value"], 1.2, 2.0)
SIZE = reach.Goal("memory", "section", lambda result: result["value"], 0.8, 0.5, at_most=True)


def verdict(goal: reach.Goal, value: Any) -> reach.Verdict:
    (found,) = reach.judge([goal], {"section": {"value": value}}, {})
    return found


@given(st.floats(-3, 3), st.floats(1e-6, 1e6), st.lists(st.integers(1, 10_000), min_size=2, max_size=8, unique=True))
def test_a_power_is_found_again(power, factor, sizes):
    assert fitted_exponent(sizes, [factor * size**power for size in sizes]) == pytest.approx(power, abs=1e-6)


def test_a_quadratic_part_shows_in_the_exponent():
    sizes = [128, 256, 512, 1024]
    assert 1 < fitted_exponent(sizes, [x + x * x / 1000 for x in sizes]) < 2


@pytest.mark.parametrize(
    ("goal", "value", "reached", "cells"),
    [
        (GOAL, 1.2, True, ["speed", "1.20x", "2.00x", "1.20x", "yes"]),
        (GOAL, 1.19, False, ["speed", "1.20x", "2.00x", "1.19x", "no"]),
        (GOAL, Spread(2.5, 1.0, 3.0), True, ["speed", "1.20x", "2.00x", "2.50x [1.00x, 3.00x]", "yes, stretch too"]),
        (GOAL, Spread(1.1, 1.0, 3.0), False, ["speed", "1.20x", "2.00x", "1.10x [1.00x, 3.00x]", "no"]),
        (SIZE, 0.8, True, ["memory", "at most 0.80x", "at most 0.50x", "0.80x", "yes"]),
        (SIZE, 0.81, False, ["memory", "at most 0.80x", "at most 0.50x", "0.81x", "no"]),
        (SIZE, 0.4, True, ["memory", "at most 0.80x", "at most 0.50x", "0.40x", "yes, stretch too"]),
        (GOAL, reach.Absent("no PyTorch"), None, ["speed", "1.20x", "2.00x", "no PyTorch", "not measured"]),
        (SIZE._replace(unit="s", stretch=None), 0.1, True, ["memory", "at most 0.80 s", "", "0.10 s", "yes"]),
        (GOAL._replace(reach=0.8, stretch=0.9, unit="%"), 0.85, True, ["speed", "80 %", "90 %", "85 %", "yes"]),
    ],
)
def test_a_verdict(goal, value, reached, cells):
    found = verdict(goal, value)
    assert found.reached is reached
    assert found.cells == cells


def test_a_section_that_failed_is_told_and_one_that_was_not_asked_for_is_not():
    goals = [GOAL, GOAL._replace(figure="other", section="failed"), GOAL._replace(section="not run")]
    found = reach.judge(goals, {"section": {"value": 3.0}}, {"failed": "twin stopped"})
    assert [(v.goal.figure, v.measured, v.reached) for v in found] == [
        ("speed", 3.0, True),
        ("other", "twin stopped", None),
    ]


def test_the_better_of_pytorchs_programs_counts(monkeypatch):
    fake_race(monkeypatch, mkl=True)
    result = train_step.measure("char", rounds=2)
    assert reach.step_ratio(result) == pytest.approx((1.2, 1.2, 1.2))  # compiled; eager is at 1.4
    assert reach.step_ratio(result, "minitrain_mkl") == pytest.approx((1.5, 1.5, 1.5))
    assert reach.memory_ratio(result) == pytest.approx(0.7)  # eager; compiled takes more


def test_why_a_step_was_not_measured(monkeypatch):
    fake_race(monkeypatch, torch=False)
    result = train_step.measure("char", rounds=1)
    assert reach.step_ratio(result) == contestants.NO_TORCH
    assert reach.step_ratio(result, "minitrain_mkl") == contestants.NO_MKL
    assert reach.memory_ratio(result) == contestants.NO_TORCH


def kernel_lines(jobs: Any, programs: Any) -> dict[str, Any]:
    """The result of a kernel benchmark in which the twin takes 1 s, its reference 3 and PyTorch 2."""
    seconds = {"twin": 1.0, "reference": 3.0, "torch": 2.0}
    lines = []
    for row, size in jobs:
        replies = {name: [dict.fromkeys(row.directions, seconds[name])] for name in programs}
        parts = [*row.directions, *(["both"] if row.differentiable else [])]
        lines += [kernels.compare(row, size, part, replies) for part in parts]
        held = {"rss_before_mb": 100.0, "peak_rss_mb": 100.0 + SHAPES[size].block_size, "pool_mb": 7.0}
        lines[-1]["memory"] = dict.fromkeys(programs, held)
    return {"lines": lines, "failures": {}, "cores_used_by_others": 0.0}


def product_result() -> dict[str, Any]:
    """A result in which the own product takes 2 s on one thread, and the fastest of the others 1 s on all but one."""
    lines = []
    for threads in (1, 2):
        for i, product in enumerate(products.products()):
            seconds = {"own": 2.0 / threads, "openblas": 4.0, "torch": 8.0 if i == 0 else 1.0}
            replies = {name: [{"seconds": value}] * 3 for name, value in seconds.items()}
            lines.append(products.compare(product, threads, replies))
    programs = {"own": "minitrain's own, AVX2", "openblas": "OpenBLAS 1", "torch": "2"}
    return {"lines": lines, "programs": programs, "processor": "a processor", "failures": {"mkl": "it is not there"}}


def generation_result() -> dict[str, Any]:
    """A result in which float32 takes 1 s, fewer bits half of it, reads 0.9 s and transformers 4 s."""
    seconds = {"float32": 1.0, "bfloat16": 0.5, "int8": 0.5, "reads": 0.9, "transformers": 4.0}
    replies: Any = {name: [{"seconds": value}] * 3 for name, value in seconds.items()}
    lines = [generation.line(config, batch, replies) for config in generation.CONFIGS for batch in generation.BATCHES]
    return {"lines": lines, "cores_used_by_others": 0.0, "machine": {"cpu": "a processor"}}


def all_results(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A result of every section, as its own code makes it."""
    fake_race(monkeypatch, mkl=True)
    results = {config: train_step.measure(config, rounds=1) for config in reach.STEPS}
    monkeypatch.setattr(kernels, "measure", lambda jobs, programs, **settings: kernel_lines(jobs, programs))
    options = command.Options(None, None, True)
    for name in ("kernels", "loss", "attention"):
        results[name] = command.SECTIONS[name].measure(options)
    results["products"] = product_result()
    results["threads"] = {"speedup": dict.fromkeys(("minitrain", "sgemm-minitrain", "sgemm-numpy"), SPEEDUP)}
    results["generation"] = generation_result()
    curves = {name: scaling.curve((1, 2, 4), (1.0, 2.0, 4.0)) for name in scaling.CURVES}
    results["scaling"] = {"curves": curves}
    return results


WITHOUT_GOALS = {"long", "cores"}
"""They have tests of their own: one compares precisions and lengths, one predicts."""
SPEEDUP = {"median": 1.8, "low": 1.7, "high": 1.9}


def test_every_goal_finds_its_figure(monkeypatch):
    verdicts = reach.judge(reach.GOALS, results := all_results(monkeypatch), {})
    assert {goal.section for goal in reach.GOALS} == set(command.SECTIONS) - WITHOUT_GOALS == set(results)
    assert len(verdicts) == len(reach.GOALS)
    # Llama's goal has no line for MKL; all others are there.
    assert [str(v.measured) for v in verdicts if v.reached is None] == []
    measured = {v.goal.figure: v.measured for v in verdicts}
    assert measured["causal attention alone, forward + backward, T=4096"] == Spread(2.0, 2.0, 2.0)
    assert measured["memory of causal attention, exponent in T"] == pytest.approx(1.0)
    assert measured["embedding, backward, char"] == Spread(2.0, 2.0, 2.0)
    assert measured["from 1 to 2 threads, baby"].median == 1.8
    assert measured["import minitrain"] == 0.1
    assert measured["greedy generation, baby, 8 at once"] == Spread(4.0, 4.0, 4.0)
    assert measured["one gpt2 token against reading its weights"] == Spread(0.9, 0.9, 0.9)
    assert measured["the same with weights of 16 bits, against 32"] == Spread(2.0, 2.0, 2.0)
    assert measured["the lowest of them"] == 0.5
    mean = measured["float32 products over the best other's, one thread, geometric mean"]
    assert mean == pytest.approx((2.0 * 0.5**59) ** (1 / 60))
    assert measured["from start to the end of the first step, cold cache, char"] == 1.25


def test_tables_of_every_section(monkeypatch, tmp_path):
    monkeypatch.setattr(scaling, "out_file", lambda name: tmp_path / name)
    for name, result in all_results(monkeypatch).items():
        section = command.SECTIONS[name]
        for table in section.tables(result):
            assert table.rows
            assert {len(row) for row in table.rows} == {len(table.columns)}, (name, table.columns)
        assert all(isinstance(line, str) for line in section.notes(result))
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")


def test_a_section_that_fails_stops_no_other(capsys, monkeypatch, tmp_path):
    def fail(options: command.Options) -> Any:
        raise WorkerError("the reference stopped: out of memory")

    results = all_results(monkeypatch)
    sections = {
        "attention": command.SECTIONS["attention"]._replace(measure=fail),
        "kernels": command.SECTIONS["kernels"]._replace(measure=lambda options: results["kernels"]),
    }
    monkeypatch.setattr(command, "SECTIONS", sections)
    monkeypatch.setattr(command, "out_file", lambda name: tmp_path / name)
    assert command.run(["attention", "kernels"], command.Options(1, None, True)) == 1
    assert (tmp_path / "kernels.json").is_file()
    page = (tmp_path / "bench.md").read_text()
    assert "| causal attention alone, forward + backward, T=256 | 1.30x | 2.00x | the reference stopped: out of" in page
    assert "| layer norm, forward + backward, char | 1.20x | 2.00x | 2.00x [2.00x, 2.00x] | yes, stretch too |" in page
    assert "every twin measured against its reference is 1.1x as fast or faster at some size" in page
    assert page.splitlines()[-1].startswith("measured in 0 minutes")
    assert capsys.readouterr().out.count("the reference stopped: out of memory") >= 1


def test_memory_of_attention_grows_with_what_it_took():
    result = kernel_lines([(attention.ATTENTION, f"T={T}") for T in ATTENTION_LENGTHS], ("twin", "torch"))
    found = attention.summarise(result)
    assert found["growth_mb"]["torch"] == [float(T) for T in ATTENTION_LENGTHS]
    assert found["growth_exponents"] == pytest.approx({"twin": 1.0, "torch": 1.0})
    assert found["pool_exponent"] == pytest.approx(0.0, abs=1e-9)


def line(op: str, direction: str, ratio: float, size: str = "char") -> dict[str, Any]:
    ratios = {"reference_to_twin": {"median": ratio, "low": ratio, "high": ratio}}
    return {"op": op, "label": op, "size": size, "direction": direction, "has_twin": True, "ratios": ratios}


def test_a_twin_that_pays_nowhere_is_a_candidate_for_deletion():
    lines = [
        line("gelu", "forward", 1.0),
        line("gelu", "forward", 1.05, "baby"),
        line("gelu", "backward", 0.9),
        line("gelu", "backward", 1.1, "baby"),  # pays at one size: kept
        line("gelu", "both", 0.5),
        line("sum_of_squares", "call", 0.7),
        line("softmax", "forward", 1.0) | {"has_twin": False},
    ]
    assert kernel_report.candidates({"lines": lines}) == ["gelu_forward (1.05x)", "sum_of_squares (0.70x)"]
    assert "gelu_forward (1.05x), sum_of_squares (0.70x)" in kernel_report.candidates_line({"lines": lines})


def test_both_directions_are_added_within_a_round():
    row = next(row for row in ROWS if row.op == "gelu")
    replies = {
        "twin": [{"forward": 1.0, "backward": 1.0}, {"forward": 2.0, "backward": 2.0}],
        "torch": [{"forward": 1.0, "backward": 3.0}, {"forward": 4.0, "backward": 8.0}],
    }
    found = kernels.compare(row, "char", "both", replies)
    assert found["ratios"]["torch_to_twin"]["median"] == 2.5  # of 2 and 3
    assert found["seconds"] == {"twin": 3.0, "torch": 8.0}


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def twins() -> set[str]:
    """The functions of the kernels' files that stand in for one of the same file and name in ``ops`` or ``optim``."""
    found = set()
    for module in pkgutil.walk_packages(cpu.__path__, f"{cpu.__name__}."):
        kernels_here, place = vars(importlib.import_module(module.name)), module.name.removeprefix(f"{cpu.__name__}.")
        for path in (f"minitrain.ops.{place}", f"minitrain.optim.{place}"):
            if _exists(path):
                functions = vars(importlib.import_module(path)).values()
                references = [function.reference for function in functions if hasattr(function, "reference")]
                names = {reference.__name__ for reference in references if reference.__module__ == path}
                found |= {f"{place}.{name}" for name in names & kernels_here.keys()}
    return found


def test_every_twin_has_a_line_in_the_kernel_benchmark():
    measured = set()
    for row in ROWS:
        kernels_of_row = filter(None, map(kernel_of, functions_of(row).values()))
        measured |= {f"{k.__module__.removeprefix(f'{cpu.__name__}.')}.{k.__name__}" for k in kernels_of_row}
    assert len(measured) > 30
    assert twins() == measured


def test_a_table_in_markdown():
    page = markdown(Table("what | came out", ["a", "b"], [["1 | 2", "3"]]))
    assert page == "**what | came out**\n\n| a | b |\n| --- | ---: |\n| 1 \\| 2 | 3 |"


def test_a_busy_machine_is_told():
    assert load_line(0.05) == "other programs kept 0.05 cores busy"
    assert load_line(0.5) == "other programs kept 0.50 cores busy: measure again when it is quiet"
    assert "not known" in load_line(None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "char,atention"], "unknown sections atention: choose from char, baby"),
        (["--rounds", "0"], "--rounds 0: give 1 or more"),
    ],
)
def test_mistakes_are_refused_before_measuring(capsys, monkeypatch, arguments, message):
    monkeypatch.setattr(command.sys, "argv", ["benchmarks", *arguments])
    with pytest.raises(SystemExit) as stopped:
        command.main()
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
