"""Pictures of cosines, of features in a plane, and of attention over patches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitrain.errors import DataError
from minitrain.plotting.embeddings import plot_embeddings, plot_similarities
from minitrain.plotting.patches import plot_patches

rng = np.random.default_rng(0)
IMAGE = rng.integers(0, 255, (3, 8, 8), dtype=np.uint8)


def test_they_are_drawn_whatever_the_names(tmp_path: Path) -> None:
    plot_similarities(rng.standard_normal((3, 3)), ["a $x", "<b>", "x" * 99], tmp_path / "a.png")
    plot_embeddings({"one": rng.standard_normal((6, 2)), "two": np.zeros((6, 2))}, 3, tmp_path / "b.png")
    plot_patches([IMAGE, IMAGE[:1]], [[("$a", np.ones(16)), ("end", np.zeros(16))], []], tmp_path / "c.png")
    assert all((tmp_path / f"{name}.png").read_bytes()[:4] == b"\x89PNG" for name in "abc")


@pytest.mark.parametrize(
    ("draw", "says"),
    [
        (lambda path: plot_similarities(np.ones((2, 3)), ["a", "b"], path), r"cosines of 2 pairs are \(2, 2\)"),
        (lambda path: plot_similarities(np.ones((0, 0)), [], path), r"cosines of 0 pairs"),
        (lambda path: plot_embeddings({"x": np.ones((3, 2))}, 2, path), r"x has coordinates \(3, 2\) for 2 images"),
        (lambda path: plot_patches([], [], path), "attention needs images"),
        (lambda path: plot_patches([IMAGE], [[("a", np.ones(3))]], path), "3 weights are no square"),
    ],
)
def test_what_does_not_fit_is_told(tmp_path: Path, draw: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        draw(tmp_path / "x.png")
