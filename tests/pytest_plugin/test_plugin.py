"""The pytest plugin, in pytest runs of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from _pytest.assertion.rewrite import AssertionRewriter

from tests.helpers.places import ROOT

CODE = """
import numpy as np

def square(x):
    return x * x, x

def square_backward(dout, x):
    return 2 * x * dout

def wrong_backward(dout, x):
    dx = 2 * x * dout
    dx[..., 3:] = 0
    return dx
"""
TESTS = """
import numpy as np
import pytest
from _pytest.assertion.rewrite import AssertionRewriter
from hypothesis import given, strategies as st
from code_under_test import square, square_backward, wrong_backward

def test_right(gradcheck):
    assert gradcheck((square, square_backward), np.ones((3, 4))).worst < 1e-9

def test_wrong(gradcheck):
    gradcheck((square, wrong_backward), np.arange(1.0, 9.0).reshape(2, 4))

def test_drawn(gradcheck):
    gradcheck.drawn((square, wrong_backward), "x: B C")

@given(st.integers(1, 6))
def test_by_hypothesis(gradcheck, n):
    gradcheck((square, wrong_backward), np.ones((1, n)))

@pytest.mark.gradcheck(tolerance=10.0)
def test_marker(gradcheck):
    gradcheck((square, wrong_backward), np.arange(1.0, 9.0).reshape(2, 4))

@pytest.mark.gradcheck(tolerence=1.0)
def test_wrong_marker(gradcheck):
    pass

def test_unrelated():
    assert True
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "code_under_test.py").write_text(CODE)
    (folder / "test_it.py").write_text(TESTS)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\nfilterwarnings = error\n")
    return folder


def run(project: Path, *arguments: str) -> tuple[int, str]:
    # Named, since the tests may run where the package's entry points are those of an older installation.
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{project}", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    environment.pop("PYTEST_XDIST_WORKER", None)
    plugins = ["-p", "minitrain.pytest_plugin", "-p", "_hypothesis_pytestplugin", "-p", "xdist"]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *plugins, *arguments]
    result = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    return result.returncode, result.stdout + result.stderr


def test_the_fixture_the_marker_and_what_a_failure_prints(project):
    code, out = run(project, "-q", "test_it.py")
    assert code == 1
    assert "4 failed, 3 passed" in out
    assert "a script that repeats this check" in out
    assert "from code_under_test import wrong_backward" in out
    assert "print(check_gradients((square, wrong_backward), np.array([[" in out
    assert "drawn call: float64 (1, 4)" in out  # shrunk to the smallest
    assert "the marker gradcheck has no tolerence; it has seed, directions," in out
    assert "n=4" in out  # Hypothesis's own shrinking works with the fixture


def test_the_script_of_a_failure_fails_too(project):
    _, out = run(project, "-q", "test_it.py::test_wrong")
    script = out[out.index("import numpy as np") :]
    script = script[: script.index("\n=")]
    (project / "again.py").write_text(script)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{project}"}
    result = subprocess.run([sys.executable, "again.py"], cwd=project, env=environment, capture_output=True, text=True)
    assert "GradientMismatch: the gradient of 1 of 1 arguments is wrong" in result.stderr


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["one process", "xdist"])
def test_the_report_shows_all_checks(project, tmp_path, workers):
    page = tmp_path / "folder" / "report.html"
    _, out = run(project, "-q", "test_it.py", f"--gradcheck-report={page}", *workers)
    assert f"gradient checks of 5 tests: {page}" in out
    html = page.read_text()
    assert "5 tests with gradient checks, 3 failed" in html
    assert html.index("test_it.py::test_wrong") < html.index("test_it.py::test_right")  # wrong ones first
    assert html.count("<svg") >= 5
    assert "data:image/png;base64," in html
    assert "test_unrelated" not in html
    assert "http" not in html.replace("http://www.w3.org", "")


def test_it_costs_nothing_until_it_is_used(project):
    program = (
        "import sys, minitrain.pytest_plugin as p; "
        "print(sorted({'hypothesis', 'scipy', 'numba', 'minitrain.testing'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert result.stdout.strip() == "[]", result.stderr


def test_hypothesis_registers_the_profiles():
    program = (
        "from minitrain.pytest_plugin.profile import register; register(); from hypothesis import settings; "
        "s = settings.get_profile('gradcheck'); print(s.deadline, s.derandomize, s.max_examples, "
        "settings.get_profile('gradcheck-deep').max_examples)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert result.stdout.split() == ["None", "True", "50", "1000"], result.stderr


def test_pytest_does_not_warn_if_minitrain_was_imported_before():
    """It would for every package with a plugin, and projects turn warnings into errors; `minitrain mutants` too."""
    import minitrain

    assert AssertionRewriter.is_rewrite_disabled(minitrain.__doc__)
