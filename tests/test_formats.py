"""Numbers for people."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.formats import clock, duration, one_line, short, size


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (1019.8, "17 min 0 s"),
        (3599.6, "1 h 0 min"),
        (7199, "1 h 59 min"),
        (7290, "2 h 1 min"),
        (86_400 * 50, "1,200 h 0 min"),
    ],
)
def test_durations_carry(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@given(st.floats(0, 1e7))
def test_a_duration_is_right_to_its_last_unit(seconds: float) -> None:
    units = {"h": 3600, "min": 60, "s": 1}
    parts = duration(seconds).replace(",", "").split()
    values = dict(zip(parts[1::2], map(int, parts[::2]), strict=True))
    smallest = min(units[unit] for unit in values)
    assert sum(units[unit] * value for unit, value in values.items()) == pytest.approx(
        seconds, abs=smallest if smallest > 1 else 0.5
    )
    assert values.get("s", 0) < 60
    assert values.get("min", 0) < 60


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (99_960, "100 kB"), (999_960, "1.0 MB"), (2.5e15, "2.5 PB")],
)
def test_sizes_carry(count: float, text: str) -> None:
    assert size(count) == text


def test_the_others() -> None:
    assert [clock(59.6), clock(200), clock(7500)] == ["1:00", "3:20", "2:05:00"]
    assert [short(999), short(1_234_567), short(2e9)] == ["999", "1.23 M", "2.00 G"]
    assert one_line("a\n b\x1b[31m\x00\u202e") == "a b\\x1b[31m\\x00\\u202e"
