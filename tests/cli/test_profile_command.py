"""``minitrain profile``: the table, the picture, the figures in JSON, and what it says to mistakes."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread

from minitrain import cli, profiling
from minitrain.backend.cpu.products.sgemm import instructions
from minitrain.backend.memory import page_faults
from minitrain.kernels.cpu import peak
from minitrain.profiling import Machine, Report, Row, describe, draw, measure_machine
from minitrain.profiling.labels import label_points
from minitrain.profiling.machine import memory_bandwidth, tile_peak
from minitrain.profiling.report import REST
from minitrain.runs import run as training_run
from minitrain.training.callbacks.monitors.utilisation import sgemm_peak

TEXT = "".join(f"{n} green bottles, hanging on the wall; take {n % 7} down.\n" for n in range(200))
SETTINGS = ["recipe=tiny", "data.path=text.txt", "data.block_size=16", "model.n_embd=8", "trainer.batch_size=4"]
FEW = ["--steps", "2", "--warmup", "1"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, 80 columns, and a machine whose speeds are known."""
    (tmp_path / "text.txt").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(profiling, "measure_machine", lambda precision: Machine(1e11, 1e10, 2, precision))
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(["profile", *arguments])
    return code, *capsys.readouterr()


def test_a_recipe_gives_a_table_and_a_picture(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    code, out, err = run(capsys, *SETTINGS, *FEW, "--json", "figures.json")
    assert (code, err) == (0, "")
    assert out.startswith("tiny: ")
    assert "4 sequences of 16 tokens a step" in out
    lines = out.splitlines()
    rows = {tuple(line.split()[:2]): line for line in lines}
    for operation in (("linear", "backward"), ("attention", "forward"), ("adam", "optimizer")):
        assert operation in rows
    header = next(line for line in lines if "operation" in line)
    for column in ("calls", "ms", "share", "FLOP/B", "GFLOP/s", "GB/s", "limit", "of bound"):
        assert column in header
    total = next(line for line in lines if line.split()[:1] == ["total"])
    assert "100.0%" in total
    assert (
        "this machine: 100 GFLOP/s in first-level cache and 10.0 GB/s in a triad, measured just now on 2 threads" in out
    )
    assert "page faults: " in out or page_faults() is None
    assert "buffer pool: " in out
    assert "picture: profile.png" in out
    height, width, _ = imread(here / "profile.png").shape
    assert width > 1500 < 2 * height
    found = json.loads((here / "figures.json").read_text())
    assert found["steps"] == 2
    assert found["machine"]["flops"] == 1e11
    by_op = {(r["op"], r["direction"]): r for r in found["ops"]}
    assert by_op["attention", "forward"]["calls"] == 2
    assert sum(r["seconds"] for r in found["ops"]) == pytest.approx(found["seconds"])
    assert sum(r["share"] for r in found["ops"]) == pytest.approx(1)
    assert sorted(p.name for p in here.iterdir()) == ["figures.json", "profile.png", "text.txt"], "a run was left"


def test_no_figure_is_cut_off_on_a_narrow_screen(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "gpt-nano", "--batch-size", "2", *FEW, "--by-layer")
    assert code == 0
    assert "…" not in out
    assert "blocks.*.feed_forward.up" in out
    assert "(the model itself)" in out


def test_a_preset_trains_on_random_tokens(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    code, out, err = run(capsys, "gpt-nano", "--batch-size", "3", "--length", "4", *FEW, "--picture", "nano.png")
    assert (code, err) == (0, "")
    assert out.startswith("gpt-nano: ")
    assert "3 sequences of 4 tokens a step" in out
    assert (here / "nano.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gpt-nanno"], "'gpt-nanno' is neither a setting, key=value, nor a preset; did you mean gpt-nano?"),
        (["vit-digits"], "vit-digits is not a language model"),
        (["gpt-nano", "seed=1"], "give the preset gpt-nano alone, or settings such as preset=gpt-nano"),
        (["gpt-nano", "gpt2"], "give the preset gpt-nano alone"),
        (["gpt-nano", "--length", "7"], "length = 7: gpt-nano takes sequences of 1 to 6 tokens"),
        (["gpt-nano", "--batch-size", "0"], "batch size = 0: give 1 or more"),
        (["recipe=tiny", "--length", "7"], "--length goes with a preset; with settings write data.block_size=..."),
        (["recipe=tiny", "--batch-size", "7"], "with settings write trainer.batch_size=..."),
        (["gpt-nano", "--steps", "0"], "--steps 0: give 1 or more"),
        (["gpt-nano", "--warmup", "-1"], "--warmup -1: give 0 or more"),
        (["gpt-nano", "--steps", "many"], "invalid int value: 'many'"),
        (["recipe=tinny"], "there is no such recipe; did you mean tiny?"),
        (["recipe=tiny", "device=cuda"], "device=cuda: a profile times calls on the CPU; use device=cpu"),
        (["gpt-nano", *FEW, "--picture", "/dev/null/x.png"], "/dev/null: a file of that name is in the way"),
    ],
)
def test_a_mistake_is_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


def test_a_training_that_blows_up_is_a_failed_run(capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["optimizer=sgd", "optimizer.learning_rate=1e30", "scheduler=constant", "trainer.max_grad_norm=null"]
    code, _, err = run(capsys, *SETTINGS, *settings, "--steps", "5")
    assert code == 1
    assert err.startswith("minitrain: error: ")
    assert profiling.recorder.observe(None) is None


def test_callbacks_of_the_recipe_have_no_part(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []
    monkeypatch.setattr(training_run, "create_callbacks", lambda names: made.extend(names) or [])
    code, _, err = run(capsys, *SETTINGS, *FEW, "callbacks=[throughput]")
    assert (code, err, made) == (0, "", [])


def report(count: int, machine: Machine | None) -> Report:
    """Rows of all directions, whose points crowd together."""
    rows = [
        Row(f"operation_{i}", ("forward", "backward", "optimizer", "clip")[i % 4], "", 1, 0.01, 1e6 + 1e4 * i, 1e5)
        for i in range(count)
    ]
    return Report((*rows, Row(REST, "", "", 0, 0.01, None, 0)), 1, 0.01 * (count + 1), 2.0, 10**7, machine)


@pytest.mark.parametrize(("count", "machine"), [(0, Machine(1e11, 1e10, 1)), (1, None), (30, Machine(1e11, 1e10, 1))])
def test_any_report_can_be_drawn(here: Path, count: int, machine: Machine | None) -> None:
    assert imread(draw(report(count, machine), here / "x.png", "a title")).std() > 0.01


def test_lines_below_the_table_say_what_there_is() -> None:
    lines = "\n".join(describe(report(3, Machine(1e11, 1e10, 1))))
    assert "a step takes 40.00 ms (mean of 1); operations, clipping and the optimizer account for 75.0% of it" in lines
    assert "on 1 thread;" in lines
    assert "above 10.0 FLOP/B arithmetic is the limit" in lines
    assert "page faults: 2.0 per step; buffer pool: 10.0 MB at most" in lines
    assert len(describe(report(3, None))) == 2


def test_labels_do_not_cover_each_other() -> None:
    figure = Figure(figsize=(6, 5))
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot(xlim=(0, 1), ylim=(0, 1))
    points = np.random.default_rng(0).uniform(0.3, 0.7, (2, 25))
    names = [f"point {i}" for i in range(25)]
    axes.plot([0, 1], [0, 1])
    radius = 6.0  # typographic points
    label_points(axes, names, *points.tolist(), [radius] * 25)
    figure.draw_without_rendering()
    from matplotlib.text import Text

    boxes = [Text.get_window_extent(text, canvas.get_renderer()) for text in axes.texts]
    assert len(boxes) > 20
    reach = 0.7 * radius * figure.dpi / 72  # pixels
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i])
        assert not any(box.padded(reach).contains(*axes.transData.transform(point)) for point in points.T)


def test_the_machine_is_measured() -> None:
    machine = measure_machine(side=128, length=1 << 16)
    assert machine.sgemm == sgemm_peak("cpu", 128)
    assert machine.bandwidth == memory_bandwidth(1 << 16)
    assert machine.flops == machine.float32_flops == max(machine.sgemm, tile_peak("float32") or 0)
    assert 1e8 < machine.flops < 1e14
    assert 1e8 < machine.bandwidth < 1e13
    assert machine.threads >= 1


@pytest.mark.skipif(instructions() is None, reason="needs AVX2")
def test_a_peak_of_its_own_for_a_precision_that_has_units(monkeypatch: pytest.MonkeyPatch) -> None:
    tile_peak.cache_clear()
    assert 1e9 < peak.product_peak("bfloat16") < 1e13
    monkeypatch.setitem(peak.PEAKS, "bfloat16", lambda: 7e15)
    machine = measure_machine(side=128, length=1 << 16, precision="bfloat16")
    assert (machine.flops, machine.precision) == (7e15, "bfloat16")
    assert machine.float32_flops == max(machine.sgemm or 0, tile_peak("float32") or 0)
    tile_peak.cache_clear()


@pytest.mark.skipif(instructions() is None, reason="needs AVX2")
def test_the_peak_is_about_a_tile_in_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice as many tiles take twice as long, so that the loop is not optimised away."""
    few, many = (min(_seconds(tiles) for _ in range(5)) for tiles in (4_000, 40_000))
    assert 4 < many / few < 25


def _seconds(tiles: int) -> float:
    began = time.process_time()
    peak._tiles(tiles, 1)
    return time.process_time() - began


def test_the_triad_is_what_it_says() -> None:
    from minitrain.kernels.cpu.triad import triad

    a, b = np.random.default_rng(0).standard_normal((2, 1003), dtype=np.float32)
    expected = a + np.float32(0.5) * b
    triad(a, b, 0.5)
    np.testing.assert_allclose(a, expected, rtol=1e-6)
