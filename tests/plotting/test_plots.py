"""The pictures of a run."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitrain.errors import DataError
from minitrain.files import FileError
from minitrain.plotting import by_kind, plot_learning_rate, plot_loss
from minitrain.plotting import curves as plots
from minitrain.plotting.style import new_figure, set_step_range


def records(falling_to: float) -> list[dict[str, Any]]:
    train = [{"step": s, "loss": falling_to + 3 * math.exp(-s / 9), "lr": 1e-3 * s / 100} for s in range(1, 101)]
    return [*train, {"step": 50, "val_loss": falling_to + 0.5}, {"step": 100, "val_loss": falling_to + 0.25}]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that would be saved."""
    figures: list[Any] = []
    monkeypatch.setattr(plots, "save_figure", lambda figure, path: figures.append(figure))
    return figures


def test_pictures_are_png_files_of_a_useful_size(tmp_path: Path) -> None:
    from matplotlib import image

    plot_loss(records(1.0), tmp_path / "loss.png", baselines={"uniform guess": 4.17}, title="Loss of x")
    plot_learning_rate(records(1.0), tmp_path / "rate.png")
    for name in ("loss.png", "rate.png"):
        pixels = image.imread(tmp_path / name)
        assert pixels.shape == (720, 1200, 4)
        assert pixels[..., :3].std() > 0.02  # something is on it
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loss.png", "rate.png"]


def test_the_loss_picture_says_what_it_shows(drawn: list[Any]) -> None:
    plot_loss(records(1.0), "x", baselines={"unigram frequencies": 3.3, "uniform guess": 4.17}, title="Loss of x")
    (axes,) = drawn[0].axes
    assert axes.get_title("left") == "Loss of x"
    assert axes.get_xlabel() == "step"
    assert "nats" in axes.get_ylabel()
    assert axes.get_yscale() == "linear"
    raw, smooth, validation, *dashed = axes.lines
    np.testing.assert_array_equal(raw.get_xdata(), np.arange(1, 101))
    assert raw.get_alpha() < 0.5 < smooth.get_linewidth()
    np.testing.assert_array_equal(validation.get_xdata(), [50, 100])
    np.testing.assert_array_equal(validation.get_ydata(), [1.5, 1.25])
    assert validation.get_marker() == "o"
    assert [line.get_linestyle() for line in dashed] == ["--", "--"]
    assert [line.get_ydata()[0] for line in dashed] == [3.3, 4.17]
    assert [text.get_text() for text in axes.texts] == ["unigram frequencies 3.300", "uniform guess 4.170"]


def test_evaluations_of_a_part_and_of_all_are_told_apart(drawn: list[Any]) -> None:
    some = [{"step": s, "val_loss": 3.0 - s / 100, "val_tokens": 40} for s in (10, 20)]
    plot_loss([*some, {"step": 30, "val_loss": 2.5, "val_tokens": 999}], "x")
    part, whole = drawn[0].axes[0].lines
    np.testing.assert_array_equal(part.get_xdata(), [10, 20])
    np.testing.assert_array_equal(whole.get_xdata(), [30])
    assert part.get_linestyle() == "-"
    assert whole.get_linestyle() == "None"
    assert "all (last 2.500)" in whole.get_label()


def test_a_loss_that_falls_far_gets_a_logarithmic_axis(drawn: list[Any]) -> None:
    plot_loss(records(0.01), "x")
    assert drawn[0].axes[0].get_yscale() == "log"


def test_the_learning_rate_starts_at_zero(drawn: list[Any]) -> None:
    plot_learning_rate(records(1.0), "x")
    assert drawn[0].axes[0].get_ylim()[0] == 0


def test_smoothing_keeps_constants_lines_and_the_first_value() -> None:
    np.testing.assert_allclose(plots.smooth(np.full(200, 3.0)), 3.0)
    line = np.arange(200.0)
    np.testing.assert_allclose(plots.smooth(line)[:190], line[:190])
    noise = np.random.default_rng(0).standard_normal(400)
    assert plots.smooth(noise).std() < 0.5 * noise.std()
    assert plots.smooth(noise)[0] == noise[0]
    np.testing.assert_array_equal(plots.smooth(noise[:5]), noise[:5])


@pytest.mark.parametrize("loss", [math.nan, -1.0, 0.0])
def test_strange_losses_can_be_drawn(tmp_path: Path, loss: float) -> None:
    plot_loss([{"step": 1, "loss": 2.0}, {"step": 2, "loss": loss}], tmp_path / "loss.png")
    plot_loss([{"step": 1, "loss": loss}], tmp_path / "loss.png")
    plot_loss([{"step": 1, "val_loss": 2.0}], tmp_path / "loss.png")


def test_nothing_to_draw_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no loss"):
        plot_loss([{"step": 1}], tmp_path / "loss.png")
    with pytest.raises(DataError, match="no learning rate"):
        plot_learning_rate([], tmp_path / "rate.png")
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match=r"folder .*file: a file of that name is in the way"):
        plot_loss(records(1.0), tmp_path / "file" / "loss.png")


def test_the_users_own_pyplot_is_left_alone(tmp_path: Path) -> None:
    script = (
        "import sys; from minitrain.plotting import plot_loss; assert 'matplotlib' not in sys.modules; "
        "plot_loss([{'step': 1, 'loss': 2.0}], sys.argv[1]); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "loss.png")], check=True, timeout=120)


def drawn_by_kind(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    figures: list[Any] = []
    monkeypatch.setattr(by_kind, "save_figure", lambda figure, path: figures.append(figure))
    return figures


def labels(figure: Any) -> list[str]:
    figure.canvas.draw()
    (axes,) = figure.axes
    low, high = axes.get_ylim()
    return [t.get_text() for t in axes.get_yticklabels() if low <= t.get_position()[1] <= high and t.get_text()]


@pytest.mark.parametrize("values", [[0.9, 1.4], [0.2, 3.0], [0.97, 1.02], [1e-3, 80.0], [0.3, 0.4]])
def test_a_logarithmic_axis_has_plain_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: list[float]
) -> None:
    figures = drawn_by_kind(monkeypatch)
    by_kind.draw_kind("grad_norm", {"grad_norm": ([1, 2], values)}, tmp_path / "x.png")
    texts = labels(figures[0])
    assert len(texts) >= 2, texts
    assert len(set(texts)) == len(texts)
    assert not [text for text in texts if "e" in text or "^" in text]


def test_a_plot_of_one_record_is_around_its_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drawn: list[Any]
) -> None:
    figures = drawn_by_kind(monkeypatch)
    by_kind.draw_kind("accuracy", {"accuracy": ([7], [0.5])}, tmp_path / "x.png")
    plot_loss([{"step": 7, "loss": 2.0}], "x")
    plot_learning_rate([{"step": 7, "lr": 0.1}], "x")
    for figure in [*figures, *drawn]:
        (axes,) = figure.axes
        assert axes.get_xlim() == (6.5, 7.5)
        assert any(line.get_marker() == "o" for line in axes.lines), "a single point shows"


def test_a_histograms_axis_ends_with_its_last_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = drawn_by_kind(monkeypatch)
    for steps, ends in (([10, 20, 60], (10, 60)), ([5], (4.5, 5.5))):
        by_kind.plot_histograms(
            steps, {"w": [0.0, 1.0, 2.0]}, {"w": [np.array([1, 2])] * len(steps)}, tmp_path / "x.png"
        )
        assert figures[-1].axes[0].get_xlim() == ends


@pytest.mark.parametrize("steps", [[6], [1, 3], [10, 250], [100, 100_000]])
def test_ticks_of_a_step_axis_are_whole_steps(steps: list[int]) -> None:
    _, axes = new_figure("loss", "nats")
    set_step_range(axes, steps)
    ticks = axes.get_xticks()
    assert len(ticks) >= 1
    assert all(tick == round(tick) for tick in ticks)
