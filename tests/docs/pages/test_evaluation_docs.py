"""The code on the page about evaluation runs, and its example of a question is one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from minitrain import measures
from minitrain.evaluation import TextScore, read_questions
from minitrain.evaluation.questions import LONGEST_LINE, MOST_CHOICES
from tests.helpers.pages import here as here  # a fixture
from tests.helpers.pages import run, snippets
from tests.helpers.places import ROOT

PAGE = "docs/evaluation.md"


def test_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    names = run(PAGE, *snippets(PAGE))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("perplexity")
    assert [line.split()[0] for line in lines if line.startswith(("float32", "bfloat16", "int8"))] == [
        "float32",
        "bfloat16",
        "int8",
    ]
    assert names["answers"].questions == 1
    assert names["found"]["val_classes_f1_macro"] > 0.7
    assert sorted(path.name for path in Path().glob("*.png")) == ["confusion.png", "reliability.png"]
    assert sum(map(len, names["far"].values())) == 100
    assert names["difference"].high < 0, "training helps"
    assert names["difference"].p < 0.01
    assert sum(part.predictions for part in names["score"].calibration.table()) == names["score"].tokens


def test_what_it_says_holds(tmp_path: Path) -> None:
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    (question,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    (tmp_path / "questions.jsonl").write_text(question)
    (found,) = read_questions(tmp_path / "questions.jsonl")
    assert found.choices[found.answer] == " Paris"
    assert f"2 to {MOST_CHOICES:,} choices" in text
    assert LONGEST_LINE == 1_000_000, "a million bytes, as the page says"
    figures = re.findall(r"^\| (`.*?`) \|", text.partition("## Measures")[0], re.MULTILINE)
    for name in re.findall(r"`(\w+)", " ".join(figures)):
        assert hasattr(TextScore, name) or name in vars(TextScore(1))


def test_the_table_of_measures_is_complete() -> None:
    part = (ROOT / PAGE).read_text(encoding="utf-8").partition("## Measures")[2].partition("\n## ")[0]
    listed = set(re.findall(r"`([A-Z]\w+)", " ".join(re.findall(r"^\| (`.*?) \|", part, re.MULTILINE))))
    made = {name for name, one in vars(measures).items() if hasattr(one, "rows") and isinstance(one, type)}
    assert listed == made - {"SampleMeasure", "SampleTable"} | {"Alignment"}
