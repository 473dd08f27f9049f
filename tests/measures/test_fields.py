"""Finding targets, keys and references in batches of any type."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

from minitrain.errors import DataError
from minitrain.measures.fields import field_of, inputs_and_targets, lengths_of, per_sample, references_of, targets_of


class Named(NamedTuple):
    inputs: Any
    targets: Any


BATCHES = [
    ("x", "y"),
    ["x", "y"],
    {"inputs": "x", "targets": "y", "z": 1},
    Named("x", "y"),
    SimpleNamespace(inputs="x", targets="y"),
]


@pytest.mark.parametrize("batch", BATCHES)
def test_inputs_and_targets(batch: Any) -> None:
    assert inputs_and_targets(batch) == ("x", "y")
    assert targets_of(batch) == "y"


def test_lengths_are_an_attribute_or_a_key_or_not_there() -> None:
    for batch in ({"lengths": "n"}, SimpleNamespace(lengths="n")):
        assert lengths_of(batch) == "n"
    for batch in BATCHES:
        assert lengths_of(batch) is None


def test_lengths_may_follow_in_a_plain_tuple() -> None:
    assert targets_of(("x", "y", "lengths")) == targets_of(["x", "y", "lengths"]) == "y"

    class Turned(NamedTuple):
        targets: Any
        inputs: Any

    assert targets_of(Turned("y", "x")) == "y"
    for batch in (("x", "y", "lengths"), {"inputs": 1}, SimpleNamespace(inputs=1), SimpleNamespace(targets=1), 3):
        with pytest.raises(DataError, match=f"a batch is a {type(batch).__name__}: give pairs"):
            inputs_and_targets(batch)


def test_fields_are_attributes_or_keys() -> None:
    assert field_of({"a": 1}, "a") == field_of(SimpleNamespace(a=1), "a") == 1
    with pytest.raises(DataError, match="the batch is a dict without items; it has a, b"):
        field_of({"a": 1, "b": 2}, "items")
    with pytest.raises(DataError, match="the batch is a Named without z; it has inputs, targets"):
        field_of(Named(1, 2), "z")
    with pytest.raises(DataError, match="the batch is a list without z; it has no named fields"):
        field_of([1], "z")


def test_references_are_a_field_or_the_batch() -> None:
    assert references_of({"references": "r"}) == "r"
    assert references_of(["a"]) == ["a"]
    assert references_of(("a",)) == ("a",)

    class Texts(NamedTuple):
        references: Any

    assert references_of(Texts("r")) == "r"


def test_sums_of_samples_are_float64() -> None:
    sums = per_sample(np.ones((2, 3, 4), bool))
    np.testing.assert_array_equal(sums, [12, 12])
    assert sums.dtype == np.float64
    np.testing.assert_array_equal(per_sample(np.array([1, 2])), [1, 2])
    assert per_sample(np.zeros((0, 3))).shape == (0,)
