"""Settings of all tests: one reproducible Hypothesis profile, and no second thread pool on the cores."""

import os
import signal
import sys

# Before NumPy loads: several test processes share the cores with the kernels' threads.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
if "PYTEST_XDIST_WORKER" in os.environ:  # one core each; threads that wait for a busy core would cost a lot
    os.environ.setdefault("MINITRAIN_NUM_THREADS", "1")

# Tests start a hundred processes: without its bytecode on disk each would compile the package's sources again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

sys.dont_write_bytecode = False
pytest.register_assert_rewrite("tests.helpers")  # so that a failed assertion there shows its values

# Tests send signals that a process in the background of a shell, or under nohup, was told to ignore.
for number, handler in {"SIGINT": signal.default_int_handler, "SIGHUP": signal.SIG_DFL}.items():
    if hasattr(signal, number) and signal.getsignal(getattr(signal, number)) is signal.SIG_IGN:
        signal.signal(getattr(signal, number), handler)

# The same examples in every run; no deadline and no complaint about slow ones, since the first example of a
# test may compile a kernel. `pytest --hypothesis-profile=explore` looks for new examples.
settings.register_profile(
    "reproducible",
    derandomize=True,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("explore", settings.get_profile("reproducible"), derandomize=False, max_examples=1000)
settings.load_profile("reproducible")

if os.environ.get("MINITRAIN_TEST_DEVICE"):  # the CUDA tests run on a card, see tests/helpers/cuda/card.py
    from tests.helpers.cuda.card import use_card

    use_card()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies in tests/peers and in folders named cuda; on a card, skip the tests of what stands in for one."""
    for item in items:
        for folder in ("peers", "cuda"):
            if folder in item.path.parts:
                item.add_marker(folder)
    if os.environ.get("MINITRAIN_TEST_DEVICE"):
        from tests.helpers.cuda.card import skip_stand_ins

        skip_stand_ins(items)


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs end without their pictures: drawing takes most of the time of a short run."""
    monkeypatch.setattr("minitrain.runs.run.draw", lambda run_dir, baselines: ())


@pytest.fixture(scope="module")
def compiled_kernels() -> Iterator[None]:
    """Kernels where there are some, whatever ``MINITRAIN_KERNELS`` says: for tests of what they promise."""
    from minitrain.backend import use_kernels

    with use_kernels("auto"):
        yield
