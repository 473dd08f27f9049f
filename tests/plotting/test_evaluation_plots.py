"""The pictures of an evaluation: what is drawn, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitrain.errors import DataError
from minitrain.files import FileError
from minitrain.measures import Calibration
from minitrain.plotting import evaluation as plots
from minitrain.plotting import gallery, plot_confusion, plot_gallery, plot_reliability


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that would be saved."""
    figures: list[Any] = []
    monkeypatch.setattr(plots, "save_figure", lambda figure, path: figures.append(figure))
    return figures


def calibration() -> Calibration:
    made = Calibration(4)
    made.add(np.array([0.3, 0.6, 0.7, 0.9, 1.0]), np.array([True, True, False, True, True]))
    return made


def test_pictures_are_png_files(tmp_path: Path) -> None:
    from matplotlib import image

    plot_confusion(np.diag([3, 4]) + 1, tmp_path / "confusion.png", names=["no [red]", "yes"])
    plot_reliability(calibration().table(), tmp_path / "reliability.png")
    for name in ("confusion.png", "reliability.png"):
        assert image.imread(tmp_path / name)[..., :3].std() > 0.02
    with pytest.raises(FileError):
        plot_confusion(np.eye(2), tmp_path / "confusion.png" / "x.png")


def test_rows_of_the_matrix_are_shares_and_cells_have_counts(drawn: list[Any]) -> None:
    matrix = np.array([[6, 2], [0, 12_345]])
    plot_confusion(matrix, "x", names=["a", "b"], title="Of photos")
    axes = drawn[0].axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.75, 0.25], [0, 1]])
    assert [text.get_text() for text in axes.texts] == ["6", "2", "12.3k"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("prediction", "target")
    assert axes.get_title("left") == "Of photos, 100.0 % right"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]


def test_many_classes_have_no_numbers_and_few_names(drawn: list[Any]) -> None:
    plot_confusion(np.eye(90), "x")
    axes = drawn[0].axes[0]
    assert not axes.texts
    assert [label.get_text() for label in axes.get_xticklabels()] == [str(i) for i in range(0, 90, 3)]


def test_a_class_without_targets_is_an_empty_row(drawn: list[Any]) -> None:
    plot_confusion(np.array([[0, 0], [1, 1]]), "x")
    np.testing.assert_allclose(drawn[0].axes[0].images[0].get_array(), [[0, 0], [0.5, 0.5]])


@pytest.mark.parametrize("matrix", [np.zeros((2, 2)), np.ones((2, 3)), np.ones(4)])
def test_what_is_no_matrix_is_refused(matrix: Any) -> None:
    with pytest.raises(DataError, match="a confusion matrix is"):
        plot_confusion(matrix, "x")


def test_names_are_one_for_each_class() -> None:
    with pytest.raises(DataError, match="has 2 classes, and there are 1 names"):
        plot_confusion(np.eye(2), "x", names=["a"])


def test_bars_are_accuracies_of_bins_with_predictions(drawn: list[Any]) -> None:
    plot_reliability(calibration().table(), "x")
    upper, lower = drawn[0].axes
    right, gap = upper.containers
    assert [bar.get_x() for bar in right] == [0.25, 0.5, 0.75]
    assert [bar.get_height() for bar in right] == [1, 0.5, 1]
    np.testing.assert_allclose([bar.get_height() for bar in gap], [-0.7, 0.15, -0.05])
    np.testing.assert_allclose([bar.get_height() for bar in lower.containers[0]], [0, 0.2, 0.4, 0.4])
    assert upper.get_title("left") == f"Reliability, calibration error {100 * calibration().expected_error:.1f} %"


def test_without_predictions_there_is_nothing_to_draw() -> None:
    with pytest.raises(DataError, match="no bin of the calibration has a prediction"):
        plot_reliability(Calibration(3).table(), "x")


@pytest.mark.parametrize(
    ("count", "text"),
    [(7, "7"), (999, "999"), (1000, "1k"), (45_678, "45.7k"), (123_456, "123k"), (2e6, "2M"), (3e9, "3G")],
)
def test_large_counts_are_short(count: float, text: str) -> None:
    assert plots._short(count) == text


def test_a_gallery_of_grey_and_coloured_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of classes are shown as they are, formulas and long lines too."""
    images = [np.zeros((1 + 2 * (i % 2), 4 + i, 5), np.uint8) for i in range(8)]
    captions = ["$x", *["a"] * 6, "y" * 100 + "\nz"]
    plot_gallery(images, captions, tmp_path / "gallery.png", title="Worst")
    assert (tmp_path / "gallery.png").stat().st_size > 1000
    figures: list[Any] = []
    monkeypatch.setattr(gallery, "save_figure", lambda figure, path: figures.append(figure))
    plot_gallery(images, captions, "x")
    axes = figures[0].axes
    wrapped = "\n".join([*["y" * 30] * 3, "y" * 10, "z"])
    assert [one.get_xlabel() for one in axes] == [r"\$x", *["a"] * 6, wrapped]
    plot_gallery(images, captions, "x", right=[True, False] * 4)
    frames = [one.spines["left"].get_edgecolor() for figure in figures for one in figure.axes]
    assert len(set(frames[:8])) == 1, "grey without a judgement"
    assert frames[8] == frames[10] != frames[9] == frames[11]
    assert [one.images[0].get_array().shape for one in axes[:2]] == [(4, 5), (5, 5, 3)]
    for wrong in ([], captions[:3]):
        with pytest.raises(DataError, match="needs images with a caption each; there are"):
            plot_gallery(images if wrong else [], wrong, "x")
