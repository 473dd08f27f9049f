"""The benchmark of long contexts: its arithmetic, and that its calls do what they say."""

import pytest

from benchmarks import long_attention
from minitrain.benchmark.turns import Worker


def reply(forward, backward):
    return {"forward": forward, "backward": backward, "cpu_seconds": 0.0}


def test_minitrain_is_compared_with_the_best_of_pytorch_in_each_part():
    replies = {
        "minitrain float32": [reply(2.0, 4.0), reply(4.0, 8.0)],
        "torch float32": [reply(3.0, 4.0), reply(6.0, 8.0)],
        "torch bfloat16": [reply(2.0, 12.0), reply(4.0, 24.0)],
    }
    memory = {"minitrain float32": 2.0, "torch float32": 3.0, "torch bfloat16": 1.0}
    one = long_attention.line(1024, replies, memory)
    ratios = {part: ratio["median"] for part, ratio in one["ratios"]["minitrain float32"].items()}
    assert ratios == pytest.approx({"forward": 1.0, "backward": 1.0, "both": 7 / 6})
    other = long_attention.line(
        4096, replies, {"minitrain float32": 8.0, "torch float32": 48.0, "torch bfloat16": None}
    )
    found = long_attention.exponents([one, other])
    assert found == pytest.approx({"minitrain float32": 1.0, "torch float32": 2.0})
    result = {"lines": [one, other], "memory_exponents": found, "machine": {"cpu": "Abacus 9000"}}
    times, grown = long_attention.tables(result)
    assert "Abacus 9000" in times.title
    assert times.rows[0][0] == "1024"
    assert grown.rows[-1] == ["as a power of T", "1.00", "2.00", ""]


@pytest.mark.parametrize(("slowness", "told"), [(None, []), (1.2, [""]), (40.0, [", and is left out"])])
def test_a_slow_bfloat16_is_told(slowness, told):
    lines = long_attention.notes({"bfloat16_slowness_of_torch": slowness})
    assert [line.rpartition(")")[2] for line in lines] == told


def test_a_child_answers_with_times_and_memory():
    arguments = ["benchmarks.long_attention", "--serve", "minitrain bfloat16", "--lengths", "600"]
    with Worker("minitrain bfloat16", arguments) as worker:
        assert worker.greeting["extra_mb"] >= 0
        found = worker.ask("run")
    assert found["forward"] > 0 < found["backward"]
    assert found["cpu_a_call"] > 0
