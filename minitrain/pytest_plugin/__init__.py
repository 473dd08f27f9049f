"""The pytest plugin: a fixture, a marker, a Hypothesis profile and a report for gradient checks.

pytest loads it by its entry point in every project of an environment with minitrain. So this module loads pytest alone;
the checker is imported when a test asks for the fixture.

- ``gradcheck``, the fixture: ``gradcheck((forward, backward), x)`` checks one call, and
  ``gradcheck.drawn((forward, backward), "x: B T")`` many shapes.
- ``@pytest.mark.gradcheck(tolerance=1e-5)``, the marker: settings of all checks in a test.
- ``--hypothesis-profile=gradcheck``: the same examples in every run, without a deadline.
- ``--gradcheck-report=FILE.html``: a page with all checks and heat maps of their errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .checks import Checks

_OPTION = "--gradcheck-report"
_RECORDS = "gradcheck_records"  # an attribute of pytest's reports, which pytest-xdist sends along


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    group = parser.getgroup("gradcheck", "gradient checks (minitrain)")
    group.addoption(
        _OPTION, metavar="FILE", default=None, help="write an HTML page with all gradient checks and their errors"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Add the marker, and what writes the report."""
    config.addinivalue_line(
        "markers",
        "gradcheck(**settings): settings of the gradient checks in this test: seed, directions, step, tolerance, "
        "elementwise, explained, no_gradient, precision (of minitrain.testing.CheckSettings)",
    )
    path = config.getoption(_OPTION)
    if path and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Report(path), "gradcheck_report")


@pytest.fixture(scope="session")  # Hypothesis refuses fixtures of a narrower scope
def gradcheck(request: pytest.FixtureRequest) -> Checks:
    """Checks gradients: ``gradcheck((forward, backward), *inputs)``, or anything that ``check_gradients`` takes."""
    from .checks import Checks

    checks = Checks(detailed=bool(request.config.getoption(_OPTION)), folder=_folder(request.config))
    request.config.stash[_KEY] = checks
    return checks


_KEY: pytest.StashKey[Any] = pytest.StashKey()


def _folder(config: pytest.Config) -> Any:
    """Where large inputs of failing checks go: pytest's cache, if there is one."""
    cache = getattr(config, "cache", None)
    return None if cache is None else cache.mkdir("gradcheck")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Tell the fixture which test is running, and with which settings."""
    checks = item.config.stash.get(_KEY, None)
    if checks is not None:
        markers = list(item.iter_markers("gradcheck"))[::-1]  # the closest last: it counts
        checks.begin(item.nodeid, {k: v for marker in markers for k, v in marker.kwargs.items()})
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Add the script that repeats a failing check, and what the report needs."""
    report: Any = yield
    checks = item.config.stash.get(_KEY, None)
    if checks is not None and call.when == "call":
        if report.failed and checks.script:
            report.sections.append(("gradcheck: a script that repeats this check", checks.script))
        if checks.records:
            setattr(report, _RECORDS, checks.records)
    return report  # type: ignore[no-any-return]


class _Report:
    """Collects the checks of all tests, those of other processes too, and writes the page."""

    def __init__(self, path: str) -> None:
        self._path, self._tests = path, dict[str, tuple[str, Any]]()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the checks of one test."""
        if records := getattr(report, _RECORDS, None):
            self._tests[report.nodeid] = report.outcome, records

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Write the page, and say where."""
        from .page import write_page

        path = write_page(self._path, self._tests)
        terminalreporter.write_line(f"gradient checks of {len(self._tests)} tests: {path}")
