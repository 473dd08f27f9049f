"""The benchmark of decoding methods: its ratios and its tables."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import decoding


def results() -> dict[str, Any]:
    """A result in which greedy decoding takes 1 s for a token, 16 and 8 bits half of it, beams 2 s, drafts 0.4 s."""
    seconds = {"greedy": 1.0, "int8 draft": 0.4, "prompt lookup": 0.4, "beams 4": 2.0, "bfloat16": 0.5, "int8": 0.5}
    replies: Any = {name: [dict.fromkeys(decoding.PROMPTS, value)] * 3 for name, value in seconds.items()}
    greetings: Any = {
        name: dict.fromkeys(decoding.PROMPTS, 0.75 if value == 0.4 else None) for name, value in seconds.items()
    }
    lines = [decoding.line(text, replies, greetings) for text in decoding.PROMPTS]
    prefill = {"greedy": 2.0, "bfloat16": 1.0, "int8": 0.5}
    return {"lines": lines, "prefill": prefill, "machine": {"cpu": "a processor"}, "cores_used_by_others": 0.0}


def test_how_many_times_as_fast() -> None:
    for one in results()["lines"]:
        speed = {name: ratio["median"] for name, ratio in one["speedup"].items()}
        assert speed == pytest.approx(
            {"greedy": 1, "int8 draft": 2.5, "prompt lookup": 2.5, "beams 4": 0.5, "bfloat16": 2, "int8": 2}
        )


def test_the_tables_name_the_processor_and_every_program() -> None:
    methods, prompts = decoding.tables(results())
    assert "a processor" in methods.title
    assert [row[1] for row in methods.rows] == [*decoding.PROGRAMS] * 2
    assert {row[1]: (row[2], row[4]) for row in methods.rows}["int8 draft"] == ("2.5", "75%")
    assert [row[1] for row in prompts.rows] == ["128", "256", "512"]


def test_a_model_that_is_not_there(tmp_path: Any, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    """One line, no traceback of this process."""
    monkeypatch.setattr("sys.argv", ["decoding", "--model", str(tmp_path / "none.gguf"), "--rounds", "1"])
    assert decoding.main() == 1
    assert "none.gguf" in capsys.readouterr().err
