"""Mutation testing: every kind of mistake is made, and a weak test lets some through."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from minitrain.testing.mutants import (
    KINDS,
    Equivalent,
    MutationReport,
    Outcome,
    Target,
    load_equivalents,
    target_of,
    try_mutants,
)
from minitrain.testing.mutants.mistakes import compile_function, mutants
from minitrain.testing.mutants.session import Visit, exchanged, hunt, survey
from tools.mutation import __main__ as command
from tools.mutation.own_tests import OWN_TESTS
from tools.mutation.targets import ROOT, files_of_tests, parts, targets

SOURCE = '''
import functools
import numpy as np


def scaled_backward(dout, cache, *, keep=True):
    """The docstring stays: 1 + 1."""
    x, weight = cache
    factor = weight if keep else np.zeros(2)
    total = (dout * x).sum(axis=-1)
    if total.size > 0 and keep:
        total -= np.where(total < 1e-3, 0.0, total[..., None][..., 0])
    return dout * factor - 3 * helper(x, dout), total


def helper(x, dout):
    return 0 * table(2) * x


@functools.cache
def table(n):
    return n


class Base:
    def step(self):
        return 1


class Derived(Base):
    def step(self):
        return super().step() + 1
'''


def function(source: str) -> Any:
    return ast.parse(source).body[0]


def variants(source: str) -> dict[str, set[str]]:
    """The mutants of a function of one statement, by kind."""
    found: dict[str, set[str]] = {}
    for mutant in mutants(function(source)):
        found.setdefault(mutant.kind, set()).add(mutant.after)
    return found


@pytest.fixture
def module(tmp_path, monkeypatch) -> ModuleType:
    (tmp_path / "planted.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "planted", raising=False)
    return importlib.import_module("planted")


def test_every_kind_of_mistake_is_made():
    made = {
        mutant.kind for mutant in mutants(function(SOURCE[SOURCE.index("def scaled") : SOURCE.index("def helper")]))
    }
    assert made == set(KINDS)


@pytest.mark.parametrize(
    ("source", "kind", "expected"),
    [
        ("def f(a, b): return a + b", "operator", {"return a - b"}),
        ("def f(a, b): return a + b", "term", {"return a", "return b"}),
        ("def f(a, b): return a / b", "swap", {"return b / a"}),
        ("def f(a, b): return a @ b", "swap", {"return b @ a"}),
        ("def f(a): return -a", "sign", {"return a", "return --a"}),
        ("def f(a, b): return a < b", "comparison", {"return a <= b", "return a >= b"}),
        (
            "def f(a, b, c): return a < b == c",
            "comparison",
            {"return a <= b == c", "return a >= b == c", "return a < b != c"},
        ),
        ("def f(a): return a if a is None else 0", "comparison", {"return a if a is not None else 0"}),
        ("def f(a): return f(a, 3)", "constant", {"return f(a, 4)", "return f(a, 2)"}),
        ("def f(a): return f(a, flag=True)", "constant", {"return f(a, flag=False)"}),
        (
            "def f(a): return a.sum(axis=-1)",
            "axis",
            {"return a.sum()", "return a.sum(axis=0)", "return a.sum(axis=-2)"},
        ),
        ("def f(a): return a[..., None]", "axis", {"return a[None, ...]"}),
        ("def f(a): return a.shape[1]", "axis", {"return a.shape[2]", "return a.shape[0]"}),
        ("def f(a): a += 1", "operator", {"a -= 1"}),
        ("def f(a): a += 1", "term", {"pass"}),
        ("def f(a): a[...] = 1", "term", {"pass"}),
        ("def f(a): return xp.exp(a)", "term", {"return a"}),
        ("def f(a, b): return xp.where(a, b, 2)", "term", {"return b"}),
        ("def f(a, b): return a and b", "term", {"return a", "return b"}),
        ("def f(a, b): return g(a, b)", "swap", {"return g(b, a)"}),
        ("def f(a, b): return a, b", "swap", {"return (b, a)"}),
    ],
)
def test_the_mistakes_of_one_statement(source, kind, expected):
    assert variants(source)[kind] == expected


@pytest.mark.parametrize(
    "source",
    [
        'def f(a):\n    """1 + 1"""\n    return a',
        "def f(a, b=1 + 1): return a",
        "def f(a, b): return a.swapaxes(b, c)",
        "def f(a, b): return max(a, b)",
        "def f(a): return a.reshape(-1)",
        "def f(a, b): return zip(*a, strict=True)",
        "def f(a): b: 1 + 1 = a",
    ],
)
def test_what_makes_no_difference_is_not_made(source):
    assert not variants(source).keys() - {"sign"}


@pytest.mark.parametrize("truth", ["a < b", "not a", "a is b and not b", "isinstance(a, b)", "any(x for x in a)"])
def test_what_is_true_or_false_has_no_sign(truth):
    assert f"return -({truth})" not in variants(f"def f(a, b): return {truth}").get("sign", ())
    assert not [after for after in variants(f"def f(a, b): c = {truth}").get("sign", ()) if after.startswith("c = -")]
    assert "return -(a or b)" in variants("def f(a, b): return a or b")["sign"]


def test_only_the_function_changes_and_gives_its_code_back(module):
    target = Target(module.Derived.step, "Derived")
    assert target.name == "planted.Derived.step"
    made = list(target.mutants())
    assert made[0].line == SOURCE.splitlines().index("        return super().step() + 1") + 1
    codes = [target.compiled(mutant.tree) for mutant in made]
    assert {code.co_freevars for code in codes} == {("__class__",)}  # also where super() is gone
    results = []
    for code in codes:
        with exchanged(target, code):
            results.append(module.Derived().step())
    assert -2 in results
    assert 0 in results
    assert 1 in results
    assert module.Derived().step() == 2


def test_caches_do_not_keep_what_other_code_computed(module):
    target = Target(module.table.__wrapped__, "")
    assert module.table(5) == 5
    code = compile_function(function("def table(n):\n    return -n"), "", "planted.py")
    with exchanged(target, code):
        assert module.table(5) == -5
    assert module.table(5) == 5


def test_caches_of_the_modules_beside_it_do_not_either(tmp_path, monkeypatch):
    (tmp_path / "both").mkdir()
    (tmp_path / "both" / "one.py").write_text("def one(n):\n    return n\n")
    (tmp_path / "both" / "other.py").write_text(
        "import functools\nfrom .one import one\n\n@functools.cache\ndef kept(n):\n    return one(n)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    one, other = (importlib.import_module(f"both.{name}") for name in ("one", "other"))
    assert other.kept(5) == 5
    with exchanged(Target(one.one, ""), compile_function(function("def one(n):\n    return -n"), "", "one.py")):
        assert other.kept(5) == -5
    assert other.kept(5) == 5


def test_a_cache_that_one_test_fills_hides_no_call_of_the_next(module):
    target = Target(module.table.__wrapped__, "")
    visits = list(survey({name: lambda: module.table(5) == 5 for name in ("first", "second")}, {target.name: target}))
    assert [visit.called for visit in visits] == [[target.name]] * 2


def hunted(module: ModuleType, check: Callable[[], bool]) -> tuple[dict[str, Target], list[Visit], list[Outcome]]:
    found = {target.name: target for target in (Target(module.scaled_backward, ""), Target(module.helper, ""))}
    checks = {"check": check, "other": lambda: True}
    visits = list(survey(checks, found))
    todo = [(name, number) for name, target in found.items() for number in range(len(list(target.mutants())))]
    return found, visits, list(hunt(todo, found, visits, checks))


DOUT, X, WEIGHT = np.array([[1.0, -2.0], [0.5, 3.0]]), np.array([[2.0, 5.0], [0.25, -1.0]]), np.array([7.0, 0.3])


def weak(module: ModuleType) -> bool:
    dx, _ = module.scaled_backward(DOUT, (X, WEIGHT))
    return dx.shape == (2, 2)


def strong(module: ModuleType) -> bool:
    try:
        dx, _ = module.scaled_backward(DOUT, (X, WEIGHT))
        return weak(module) and np.array_equal(dx, DOUT * WEIGHT)
    except Exception:
        return False


def test_a_weak_test_lets_mistakes_through_and_they_are_listed(module, monkeypatch):
    monkeypatch.setattr(Target, "path", "planted.py")
    found, visits, outcomes = hunted(module, lambda: strong(module))
    assert {visit.test: visit.called for visit in visits} == {
        "check": ["planted.helper", "planted.scaled_backward"],
        "other": [],
    }
    noticed = {(o.target, o.number) for o in outcomes if o.killer}
    made = {name: list(target.mutants()) for name, target in found.items()}
    alive = {made[o.target][o.number].after for o in outcomes if not o.killer}
    assert "return (dout * factor - 2 * helper(x, dout), total)" in alive  # helper gives zeros
    assert "return (dout * factor, total)" in alive
    assert not any(after.startswith("return (dout / factor") for after in alive)

    def weak_or_broken() -> bool:
        try:
            return weak(module)
        except Exception:
            return False

    _, _, outcomes = hunted(module, weak_or_broken)
    assert {(o.target, o.number) for o in outcomes if o.killer} < noticed
    report = MutationReport(list(found.values()), made, outcomes)
    text = str(report)
    assert not report.good
    line = SOURCE.splitlines().index("    return dout * factor - 3 * helper(x, dout), total") + 1
    listed = f"""planted.py:{line} planted.scaled_backward (operator)
  - return (dout * factor - 3 * helper(x, dout), total)
  + return (dout / factor - 3 * helper(x, dout), total)"""
    assert text.startswith("no test notices:\n")
    assert listed in text
    survivors = sum(not outcome.killer for outcome in outcomes)
    assert f"{len(outcomes)} mutants of 2 functions: {len(outcomes) - survivors} noticed, 0 equivalent" in text


def test_a_process_in_which_a_test_fails_without_a_mistake_is_given_up(module, monkeypatch):
    """Something was left behind there. Its first mutant has an outcome in any case, so that there is an end."""
    monkeypatch.setattr(Target, "path", "planted.py")
    runs = []

    def passes(times: int) -> Callable[[], bool]:
        runs.clear()

        def check() -> bool:
            module.scaled_backward(DOUT, (X, WEIGHT)) if not runs else None
            runs.append(None)
            return len(runs) <= times

        return check

    _, _, outcomes = hunted(module, passes(1))  # in the survey
    assert [(o.number, o.killer) for o in outcomes] == [(0, "")]
    _, _, outcomes = hunted(module, passes(4))  # three mutants are not noticed by a test that calls nothing
    assert [(o.number, o.killer) for o in outcomes] == [(0, ""), (1, ""), (2, "")]


def test_what_another_test_notices_counts_in_such_a_process_too(module, monkeypatch):
    monkeypatch.setattr(Target, "path", "planted.py")
    target = Target(module.scaled_backward, "")
    good = [True]

    def spoiled() -> bool:
        try:
            return good[0] and weak(module)
        except Exception:
            return False

    checks = {"a quick one": spoiled, "strong": lambda: strong(module)}
    visits = [Visit("a quick one", True, 0.0, [target.name]), Visit("strong", True, 1.0, [target.name])]
    todo = [(target.name, number) for number in range(len(list(target.mutants())))]
    whole = list(hunt(todo, {target.name: target}, visits, checks))
    first = next(o for o in whole if o.number > 0 and o.killer == "strong")
    good[0] = False
    (outcome,) = hunt(todo[first.number :], {target.name: target}, visits, checks)
    assert outcome == first


SPOILS = """
LEFT_BEHIND = []

def double(x):
    if x > 5:
        LEFT_BEHIND.append(x)
    return x * 2
"""


def test_a_mutant_that_spoils_the_process_hides_none_of_the_next(tmp_path, monkeypatch):
    """Whoever turns the condition passes the test once, and fails it for ever."""
    (tmp_path / "spoils.py").write_text(SPOILS)
    (tmp_path / "test_spoils.py").write_text(
        "import spoils\n\ndef test_it():\n    assert not spoils.LEFT_BEHIND\n    assert spoils.double(3) == 6\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    report = try_mutants(["spoils:double"], ["test_spoils.py"])
    made = list(target_of("spoils:double").mutants())
    unnoticed = {made[outcome.number].after for outcome in report.outcomes if not outcome.killer}
    assert len(report.outcomes) == len(made)
    assert {"if x <= 5:", "if not x > 5:"} & unnoticed  # they leave something behind, and the result is right
    assert all(after.startswith(("if ", "LEFT_BEHIND", "pass")) for after in unnoticed)
    assert "return -(x * 2)" in {made[outcome.number].after for outcome in report.outcomes if outcome.killer}


def test_tests_that_cost_least_for_a_chance_come_first(module, monkeypatch):
    """A quick test before a slow one, until the slow one has noticed so many mistakes that it is the better bet."""
    monkeypatch.setattr(Target, "path", "planted.py")
    target, runs = Target(module.scaled_backward, ""), []
    changed = target.function.__code__

    def sharp() -> bool:
        runs.append("sharp")
        return target.function.__code__ is changed

    def blind() -> bool:
        runs.append("blind")
        return True

    visits = [Visit("sharp", True, 3.5, [target.name]), Visit("blind", True, 1.0, [target.name])]
    visits.append(Visit("of others", True, 0.0, ["another"]))
    todo = [(target.name, number) for number in range(5)]
    outcomes = list(hunt(todo, {target.name: target}, visits, {"sharp": sharp, "blind": blind}))
    assert [outcome.killer for outcome in outcomes] == ["sharp"] * 5
    assert runs == ["blind", "sharp", "sharp"] * 3 + ["sharp", "sharp"] * 2  # each notice is run again without


def test_equivalents_are_counted_and_stale_ones_are_an_error(module, monkeypatch):
    monkeypatch.setattr(Target, "path", "planted.py")
    target = Target(module.helper, "")
    made = {target.name: list(target.mutants())}
    alive = made[target.name][0]
    outcomes = [Outcome(target.name, i, "" if i == 0 else "a test") for i in range(len(made[target.name]))]
    entry = Equivalent(target.name, alive.after, "zero has no sign")
    report = MutationReport([target], made, outcomes, [entry])
    text = str(report)
    assert report.good
    assert "1 equivalent, 0 unnoticed" in text
    for stale in ("return 12", made[target.name][1].after):  # never made; noticed by a test
        report = MutationReport([target], made, outcomes, [entry, Equivalent(target.name, stale, "")])
        text = str(report)
        assert not report.good
        assert f"documented as equivalent, but noticed or no longer made:\nplanted.helper\n    {stale}\n" in text


def test_a_process_that_hung_is_listed(module, monkeypatch):
    monkeypatch.setattr(Target, "path", "planted.py")
    target = Target(module.helper, "")
    made = {target.name: list(target.mutants())[:1]}
    report = MutationReport([target], made, [Outcome(target.name, 0, "(hangs)")])
    text = str(report)
    assert report.good
    assert text.startswith("noticed because the process hung or died:\nplanted.py:")
    assert "\n    (hangs)\n" in text


def test_all_backwards_optimizers_and_schedules_are_targets():
    found = targets()
    names = {name.partition(".")[2] for name in found}
    assert {"softmax_backward", "adam_update", "chain", "clip_by_value", "ExponentialAverage.update"} <= names
    assert {
        "NAdam.mix",
        "NAdam.begin_update",
        "Adam.update",
        "Optimizer.step",
        "coupled_gradient",
        "update_mean",
    } <= names
    assert {"WarmupCosine.__call__", "InverseSqrt.noam", "Scheduler.step", "ReduceOnPlateau.step"} <= names
    assert {"keep_top_p", "penalize_repetition", "no_repeat_ngrams", "Chooser.__call__", "Engine.step"} <= names
    assert {"KeyValues.cut", "KernelSession.copy", "BeamGroup.advance", "accept_drawn", "Row.keep"} <= names
    assert {"_Past.length", "Engine.busy", "Sample.of", "KeyValues.__init__"} <= names
    assert {"tree_sum", "Together.agree", "LossScale.grow", "Reduced.reduce", "PrivateGradients.add"} <= names
    of_optim = parts()["optimizers"]
    assert not any(name.endswith(("_init__", "_post_init__")) or "state_dict" in name for name in of_optim)
    assert not any(name.endswith("_forward") for name in parts()["operations"])
    assert all(
        target.compiled(target.tree).co_freevars == target.function.__code__.co_freevars for target in found.values()
    )


def test_documented_equivalents_have_reasons():
    entries = load_equivalents(command.EQUIVALENTS)
    assert entries
    assert all(entry.target and entry.after and len(entry.reason) > 10 for entry in entries)
    assert len({(entry.target, entry.after) for entry in entries}) == len(entries)


def test_documented_equivalents_are_still_made():
    """Names of files and functions change; a full run takes minutes, and this does not."""
    made = {name: {mutant.after for mutant in target.mutants()} for name, target in targets().items()}
    stale = [entry for entry in load_equivalents(command.EQUIVALENTS) if entry.after not in made.get(entry.target, ())]
    assert not stale


def test_tests_of_other_parts_are_left_out():
    names = {path.rpartition("/")[2] for path in files_of_tests(targets().values())}
    expected = {"test_ops.py", "test_optimizers.py", "test_op_values.py", "test_cuts.py", "test_engine.py"}
    assert {*expected, "test_precision.py"} <= names
    assert not {"test_cli.py", "test_trainer.py", "test_layering.py", "test_mutation.py"} & names


def test_generation_has_the_quickest_tests():
    found = {name: target for name, target in targets().items() if name.startswith(("past.", "engine."))}
    names = [path.rpartition("/")[2] for path in files_of_tests(found.values())]
    assert names == ["test_past.py", "test_batches.py", "test_engine.py"]


def test_every_file_with_tests_of_its_own_has_functions_and_each_test_is_there():
    used = {part: {target.function.__module__ for target in found.values()} for part, found in parts().items()}
    for part, modules in OWN_TESTS.items():
        assert {f"minitrain.{module}" for module in modules} == used[part]
        assert all((ROOT / "tests" / test).is_file() for tests in modules.values() for test in tests)


def test_a_whole_run_in_processes(tmp_path, monkeypatch, capsys):
    """The command over one small function and one test, which ends its process for one of the two mistakes."""
    test = tmp_path / "test_residual.py"
    test.write_text(
        "import os\n"
        "from minitrain.ops import residual_backward, residual_forward\n"
        "import numpy as np\n"
        "def test_it():\n"
        "    out, cache = residual_forward(np.ones(2), np.ones(2))\n"
        "    dx, dbranch = residual_backward(np.ones(2), cache)\n"
        "    if (dx < 0).any():\n"
        "        os._exit(9)\n"
    )
    monkeypatch.setattr(command, "files_of_tests", lambda chosen: [str(test)])
    monkeypatch.setattr(command, "PROGRESS", tmp_path / "progress")
    gone = Equivalent("residual.gone_backward", "return 1", "the function has another name now")
    monkeypatch.setattr(
        command,
        "load_equivalents",
        lambda path: [gone, Equivalent("softmax.softmax_backward", "return 1", "not asked")],
    )
    assert command.main(["residual", "--processes", "1"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("operations:\nno test notices:\nminitrain/ops/")
    assert "\n  + return (dout, -dout)\n" in out
    assert "\n  + return (-dout, dout)\n    (the process ends with 9)\n" in out
    assert "documented, and there is no such function: residual.gone_backward\n" in out
    assert "2 mutants of 1 functions: 1 noticed, 0 equivalent, 1 unnoticed" in out


def test_a_run_on_some_test_files(tmp_path, monkeypatch, capsys):
    (tmp_path / "test_one.py").write_text("from minitrain.ops import residual_backward\ndef test_it(): pass\n")
    monkeypatch.setattr(command, "PROGRESS", tmp_path / "progress")
    monkeypatch.setattr(command, "load_equivalents", lambda path: [])
    assert command.main(["residual", "--processes", "1", "--tests", str(tmp_path / "test_one.py")]) == 1
    assert "2 mutants of 1 functions: 0 noticed, 0 equivalent, 2 unnoticed" in capsys.readouterr().out


def test_parts_are_counted_and_tried_one_by_one(tmp_path, monkeypatch, capsys):
    """Here two parts of one function each, with a test that calls neither."""
    (tmp_path / "test_none.py").write_text("def test_it(): pass\n")
    monkeypatch.setattr(command, "PROGRESS", tmp_path / "progress")
    monkeypatch.setattr(command, "load_equivalents", lambda path: [])
    names = ["residual_backward", "tree_sum"]
    assert command.main([*names, "--count"]) == 0
    assert capsys.readouterr().out.startswith("operations: 1 functions, 2 mutants\ndistributed: 1 functions, ")
    assert command.main([*names, "--processes", "1", "--tests", str(tmp_path / "test_none.py")]) == 1
    *_, head, _, operations, distributed, total = capsys.readouterr().out.splitlines()
    assert head == "| part | functions | mutants | noticed | equivalent | unnoticed |"
    assert operations == "| operations | 1 | 2 | 0 | 0 | 2 |"
    made = int(distributed.split(" | ")[2])
    assert distributed == f"| distributed | 1 | {made} | 0 | 0 | {made} |"
    assert total == f"| all | 2 | {made + 2} | 0 | 0 | {made + 2} |"


def test_an_unknown_name_is_told(capsys):
    assert command.main(["gelu.gelu_bakward"]) == 2
    assert "nothing is called gelu.gelu_bakward; near it are gelu.gelu_backward, " in capsys.readouterr().err


MY_TEST = """
import planted

def test_sign():
    assert planted.Derived().step() > 0

def test_something_else():
    assert True
"""


@pytest.fixture
def project(tmp_path, monkeypatch, module):
    """A user's folder: a module and its tests."""
    (tmp_path / "test_planted.py").write_text(MY_TEST)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_users_try_their_own_functions(project):
    report = try_mutants(["planted:Derived.step"], ["test_planted.py"])
    made = list(target_of("planted:Derived.step").mutants())
    alive = [made[outcome.number].after for outcome in report.outcomes if not outcome.killer]
    assert "return super().step() + 2" in alive  # only the sign is tested
    assert "return -(super().step() + 1)" not in alive
    assert not report.good
    assert len(report.unnoticed) == len(alive)
    assert str(report).startswith("no test notices:\nplanted.py:")
    assert f"{len(made)} mutants of 1 functions" in str(report)


def test_a_mistake_that_makes_a_loop_endless_is_given_up_after_the_patience(tmp_path, monkeypatch):
    """The mutants after it are tried in a new process."""
    (tmp_path / "counting.py").write_text("def count(n):\n    while n > 0:\n        n = n - 1\n    return n\n")
    (tmp_path / "test_counting.py").write_text("from counting import count\n\ndef test(): assert count(3) == 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    start = time.monotonic()
    report = try_mutants(["counting:count"], ["test_counting.py"], patience=0.5)
    made = list(target_of("counting:count").mutants())
    assert [one.number for one in report.outcomes] == [*range(len(made))]
    hung = {made[one.number].after for one in report.outcomes if one.killer == "(hangs)"}
    assert {"n = n + 1", "n = n"} <= hung
    assert any(one.killer.startswith("test_counting.py") for one in report.outcomes)
    assert time.monotonic() - start < 200  # four of them had 60 s each


ENDLESS = """
import os
from pathlib import Path

from same import same

def test():
    if same(1) != 1:
        Path("worker").write_text(str(os.getpid()))
        while True:
            pass
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux does it")
def test_an_endless_loop_ends_with_the_process_that_waits_for_it(tmp_path):
    (tmp_path / "same.py").write_text("def same(x):\n    return x\n")
    (tmp_path / "test_same.py").write_text(ENDLESS)
    code = "from minitrain.testing.mutants import try_mutants as t; t(['same:same'], ['test_same.py'])"
    paths = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": paths})
    try:
        wait_for(lambda: (tmp_path / "worker").is_file() and (tmp_path / "worker").read_text())
        worker = int((tmp_path / "worker").read_text())
        os.kill(worker, 0)  # it is there
    finally:
        parent.kill()
        parent.wait()
    wait_for(lambda: not Path(f"/proc/{worker}").exists())


def wait_for(condition: Callable[[], Any], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


class Stopped(Exception):
    """Raised to stop a run."""


SWITCH = """
from contextlib import contextmanager
from contextvars import ContextVar

switch = ContextVar("switch", default=False)


@contextmanager
def on():
    token = switch.set(True)
    try:
        yield
    finally:
        switch.reset(token)
"""


def test_a_context_variable_that_a_mistake_leaves_behind_does_not_reach_the_next_test(project):
    """Else the test that notices would fail without the mistake too, and would count for nothing."""
    (project / "switching.py").write_text(SWITCH)
    (project / "test_switching.py").write_text(
        "import switching\n"
        "def test_it():\n"
        "    assert not switching.switch.get()\n"
        "    with switching.on():\n"
        "        assert switching.switch.get()\n"
        "    assert not switching.switch.get()\n"
    )
    report = try_mutants(["switching:on"], ["test_switching.py"])
    assert report.good, str(report)


def test_a_stopped_run_goes_on_where_it_was(project):
    heard = []

    def stop_after_two(message):
        heard.append(message)
        if message.startswith("2 of"):
            raise Stopped

    file = project / "progress.jsonl"
    function, tests = [importlib.import_module("planted").Derived.step], ["test_planted.py"]
    with pytest.raises(Stopped):
        try_mutants(function, tests, progress_file=file, tell=stop_after_two)
    with file.open("a") as last:
        last.write('["outcome", "planted')  # killed while writing
    again: list[str] = []
    report = try_mutants(function, tests, progress_file=file, tell=again.append)
    assert again[0].startswith("3 of")  # neither surveyed nor tried again
    made = list(target_of("planted:Derived.step").mutants())
    assert [outcome.number for outcome in report.outcomes] == list(range(len(made)))
    assert {made[o.number].after for o in report.outcomes if o.killer} >= {"return -(super().step() + 1)"}
    assert not file.exists()


def test_a_file_that_is_no_progress_is_written_anew(project):
    file = project / "progress.jsonl"
    file.write_text("of other files\n[]\n")

    def stop_at_once(message):
        raise Stopped(message)

    with pytest.raises(Stopped, match=r"^1 tests surveyed$"):
        try_mutants(["planted:Derived.step"], ["test_planted.py"], progress_file=file, tell=stop_at_once)


BETTER = """
import planted

def test_sign():
    assert planted.Derived().step() > 0

def test_value():
    assert planted.Derived().step() == 2
"""


def kept_run(project: Path) -> tuple[MutationReport, int]:
    """The report, and how many mutants were tried for it."""
    heard: list[str] = []
    options: dict[str, Any] = {"progress_file": project / "progress.jsonl", "keep": True, "tell": heard.append}
    report = try_mutants(["planted:Derived.step"], ["test_planted.py"], **options)
    return report, sum("mutants tried" in message for message in heard)


def test_better_tests_meet_only_what_was_unnoticed(project):
    report, tried = kept_run(project)
    assert report.unnoticed
    assert tried == len(report.outcomes)
    again, tried = kept_run(project)
    assert (str(again), tried) == (str(report), 0)
    (project / "test_planted.py").write_text(BETTER)
    better, tried = kept_run(project)
    assert better.good
    assert tried == len(report.unnoticed)


def test_what_a_test_noticed_that_is_gone_is_tried_again(project):
    report, _ = kept_run(project)
    noticed = report.counts[1]
    (project / "test_planted.py").write_text(MY_TEST.replace("step() > 0", "step()").replace("test_sign", "test_call"))
    weaker, tried = kept_run(project)
    assert tried == len(report.outcomes)
    assert weaker.counts[1] < noticed


def test_a_changed_function_is_tried_again(project):
    report, _ = kept_run(project)
    source = project / "planted.py"
    source.write_text(source.read_text() + "# changed\n")
    _, tried = kept_run(project)
    assert tried == len(report.outcomes)


@pytest.mark.parametrize(
    ("functions", "tests", "message"),
    [
        ([], ["test_planted.py"], "give at least one function"),
        (["planted:helper"], [], "and one test file"),
        (["planted:helper"], ["none.py"], "there is no test file none.py"),
        (["planted:nothing"], ["test_planted.py"], "there is no nothing in planted"),
        ([len], ["test_planted.py"], "is no function at the top of a module"),
    ],
)
def test_what_cannot_be_tried_is_told(project, functions, tests, message):
    with pytest.raises(ValueError, match=message):
        try_mutants(functions, tests)


def test_a_test_that_fails_without_mistakes_is_told(project):
    (project / "test_planted.py").write_text("def test_it():\n    assert False\n")
    with pytest.raises(RuntimeError, match=r"1 tests fail without any mistake, such as test_planted\.py::test_it"):
        try_mutants(["planted:helper"], ["test_planted.py"])
