"""Files with questions are checked line by line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.errors import DataError
from minitrain.evaluation import Question, read_questions
from minitrain.evaluation.questions import LONGEST_LINE, MOST_CHOICES
from minitrain.files import FileError

GOOD = {"context": "2 + 2 =", "choices": [" 3", " 4"], "answer": 1}


@given(
    st.lists(
        st.tuples(st.text(), st.lists(st.text(min_size=1), min_size=2, max_size=5)).map(
            lambda drawn: Question(drawn[0], tuple(drawn[1]), len(drawn[1]) - 1)
        )
    )
)
def test_questions_are_read_as_they_were_written(questions: list[Question]) -> None:
    path = Path("questions.jsonl")
    lines = [json.dumps(question._asdict(), ensure_ascii=i % 2 == 0) for i, question in enumerate(questions)]
    path.write_text("\n\n".join(lines), encoding="utf-8")
    assert list(read_questions(path)) == questions


@pytest.fixture(autouse=True)
def here(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("questions"))


BAD = {
    "is not JSON": b"{",
    "is not JSON: 'utf-8'": b'{"context": "\xff"}',
    "is not JSON: its lists": b"[" * 90_000 + b"]" * 90_000,
    "is not JSON: it has more than": b"[" * 200_000,
    "is not JSON: a name stands in it twice": b'{"answer": 0, "answer": 1}',
    "is no object": b"[1, 2]",
    "has no context": b"{}",
    "has no answer": json.dumps({"context": "", "choices": ["a", "b"]}).encode(),
    "context must be a text": json.dumps(GOOD | {"context": 3}).encode(),
    "context must be a text\n": json.dumps(GOOD | {"context": "\ud800"}).encode(),
    "choices must be a list": json.dumps(GOOD | {"choices": "ab"}).encode(),
    "one character or more": json.dumps(GOOD | {"choices": ["a", ""]}).encode(),
    "choices must be a list of texts": json.dumps(GOOD | {"choices": ["a", 1]}).encode(),
    "has 1 choices": json.dumps(GOOD | {"choices": ["a"]}).encode(),
    "has 1001 choices": json.dumps(GOOD | {"choices": ["a"] * 1001}).encode(),
    "answer must be the index": json.dumps(GOOD | {"answer": 2}).encode(),
    "from 0 to 1": json.dumps(GOOD | {"answer": -1}).encode(),
    "answer must": json.dumps(GOOD | {"answer": True}).encode(),
    "answer must be": json.dumps(GOOD | {"answer": 1.0}).encode(),
    "is longer than": b" " * LONGEST_LINE + b"{}",
    "is not JSON: Exceeds": b'{"answer": ' + b"9" * 5000 + b"}",
}


@pytest.mark.parametrize("complaint", BAD)
def test_what_is_no_question_is_refused_by_its_line(complaint: str) -> None:
    Path("questions.jsonl").write_bytes(json.dumps(GOOD).encode() + b"\n" + BAD[complaint] + b"\n")
    found = read_questions("questions.jsonl")
    assert next(found) == Question("2 + 2 =", (" 3", " 4"), 1)
    with pytest.raises(DataError, match=rf"questions.jsonl, line 2.*{complaint.strip()}"):
        next(found)


def test_the_largest_and_the_first_are_read() -> None:
    """As many choices and bytes as there may be, and the first choice."""
    choices = ["a"] * MOST_CHOICES
    line = json.dumps(GOOD | {"choices": choices, "answer": 0}).encode()
    Path("questions.jsonl").write_bytes(line + b" " * (LONGEST_LINE - len(line) - 1) + b"\n")
    assert list(read_questions("questions.jsonl")) == [Question("2 + 2 =", tuple(choices), 0)]
    Path("questions.jsonl").write_text(json.dumps(GOOD | {"choices": ["a", "b", "c"], "answer": 3}))
    with pytest.raises(DataError, match="the index of the right choice, from 0 to 2"):
        list(read_questions("questions.jsonl"))


def test_other_members_are_ignored() -> None:
    Path("questions.jsonl").write_text(json.dumps(GOOD | {"source": "a book"}) + "\r\n")
    assert len(list(read_questions("questions.jsonl"))) == 1


def test_what_is_no_file_is_refused() -> None:
    os.mkfifo("pipe")
    for path in ("pipe", "nowhere.jsonl", "."):
        with pytest.raises(FileError):
            next(read_questions(path))
