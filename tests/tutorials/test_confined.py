"""A confined call returns numbers or a reason, whatever the function does, and changes nothing here."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.tutorials.confined import AnswerError, Confined, _decoded, _encoded

seen: list[int] = []


def call(function, *arguments, seconds=10.0):
    return Confined(lambda: function, seconds)(*arguments)


def test_numbers_come_back_as_they_are():
    result = call(lambda x: (x, x.sum(), None, True, 2, x.astype(np.float32)[::-1]), np.arange(6.0).reshape(2, 3))
    assert result[0].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert result[1:5] == (15, None, True, 2)
    assert result[5].dtype == np.float32
    assert result[5].tolist() == [[3, 4, 5], [0, 1, 2]]
    assert call(lambda: [1.5, 2]).tolist() == [1.5, 2]
    assert call(lambda: None) is None


def test_nothing_here_changes():
    x = np.zeros(2)

    def spoil(x):
        x[:] = 1
        seen.append(1)
        os.environ["SPOILT"] = "1"
        os.chdir("/")
        print("never seen")
        return x

    place = os.getcwd()
    assert call(spoil, x).tolist() == [1, 1]
    assert x.tolist() == [0, 0]
    assert not seen
    assert "SPOILT" not in os.environ
    assert os.getcwd() == place


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda: 1 / 0, "ZeroDivisionError"),
        (lambda: os._exit(0), "process died"),
        (lambda: os.kill(os.getpid(), 9), "process died"),
        (lambda: exit(3), "SystemExit"),
        (lambda: np.ones(10**12), "MemoryError"),
        (lambda: Path("written").write_text("x" * 10), "File too large"),
        (lambda: {"dx": 1}, "returns a dict, not an array of numbers"),
        (lambda: ("text", 1), "returns a str"),
        (lambda: [1, [2]], "not an array of numbers|ValueError"),
    ],
)
def test_what_goes_wrong_is_told(function, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AnswerError, match=words):
        call(function)


def test_an_endless_loop_ends_with_its_children_and_later_calls_do_not_wait():
    def forever():
        if os.fork() == 0:
            time.sleep(60)
        while True:
            pass

    confined = Confined(lambda: forever, 0.3)
    start = time.monotonic()
    for _ in range(3):
        with pytest.raises(AnswerError, match=r"did not end within 0\.3 seconds"):
            confined()
    assert time.monotonic() - start < 20  # a busy machine


@given(st.binary(max_size=60) | st.sampled_from([b"{}", b'{"kind": "one", "shapes": [["<f8", [-1]]]}\n', b"[]\n"]))
def test_bytes_from_elsewhere_are_numbers_or_refused(data):
    try:
        _decoded(data)
    except AnswerError as error:
        assert str(error)


@pytest.mark.parametrize(
    "entry", ['["O", [1]]', '["<f8", [9]]', '["<f8", [1e9, 1e9]]', '["<f8,<f8", [1]]', "3", '["x", []]']
)
def test_types_and_sizes_from_elsewhere_are_checked(entry):
    with pytest.raises(AnswerError, match="something else than numbers"):
        _decoded(b'{"kind": "one", "shapes": [' + entry.encode() + b"]}\n" + bytes(8))


def test_whole_numbers_beyond_64_bits_count_as_numbers():
    assert _decoded(_encoded(2**70)) == 2.0**70
