"""Images with a class each: a run learns, goes on with the same bytes, and says what is wrong with its data."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.cli import main
from minitrain.cli.compose import compose_config
from minitrain.data import ImageArrays, LabelledImages, Normalize
from minitrain.errors import ConfigError, DataError
from minitrain.folder import RunFolder
from minitrain.runs import compare_evaluations, evaluate_run, load_run, plot_run, recipe, start_run
from minitrain.tasks.outcome import Measured
from minitrain.tasks.records.classes import ImageProcessor, load_processor
from minitrain.tasks.records.labelled import EvaluationSamples
from tests.helpers.measuring.classes import FORMS, NAMES, as_folder, as_npz, png, small, stripes
from tests.helpers.small_runs import killed_and_continued, outcome


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    start_run(small(folder / "run", as_npz(folder, *stripes(80)))).train()
    return folder / "run"


def test_it_learns(tmp_path: Path) -> None:
    """Averaged weights, smoothed labels and class weights together; the classes are of very different sizes."""
    images, classes = stripes(900)
    kept = (classes != 2) | (np.arange(900) % 8 == 0)
    config = small(
        tmp_path / "run",
        as_npz(tmp_path, images[kept], classes[kept]),
        data={"shift": 0, "val_fraction": 0.2},
        loss={"name": "cross_entropy", "weight": [1.0, 1.0, 8.0], "label_smoothing": 0.1},
        optimizer={"learning_rate": 3e-3},
        callbacks=[{"name": "ema", "decay": 0.9}],
        trainer={"max_steps": 120, "batch_size": 32, "validation_frequency": 40},
    )
    result = start_run(config).train()
    found = result.validation
    assert isinstance(found, Measured)
    assert found.averaged_by == "EMA"
    assert found.values["accuracy %"] > 0.95
    assert found.values["macro F1 %"] > 0.9
    assert found.others["always left"]["accuracy %"] < 0.6 or found.others["always right"]["accuracy %"] < 0.6
    assert found.others["all classes alike"] == {"loss": pytest.approx(np.log(3))}
    assert "top-5 %" not in found.values, "there are three classes"
    assert [name for name in NAMES if any(note.startswith(name) for note in found.notes)] == list(NAMES)
    assert {"confusion.png", "reliability.png", "worst.png"} <= {path.name for path in result.pictures}
    assert all(path.exists() for path in result.pictures)


@pytest.mark.parametrize("steps", [1, 3, 5])
def test_a_continued_run_ends_with_the_same_bytes(
    trained: Path, tmp_path: Path, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With other numbers of workers and of batches ahead, too."""
    ahead = {"workers": 2, "prefetch": 2}
    run = start_run(small(tmp_path / "run", trained.parent / "images.npz", data=ahead))
    killed_and_continued(run, steps, monkeypatch)
    assert outcome(tmp_path / "run", 6) == outcome(trained, 6)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_images_gives_the_same_run(trained: Path, tmp_path: Path, form: str) -> None:
    """Numbers in place of names are the same classes in the same order; a folder has another order of samples."""
    path, npz = FORMS[form](tmp_path, *stripes(80)), trained.parent / "images.npz"
    run = start_run(small(tmp_path / "run", path, data={"val_path": str(path)}))
    names = [str(i) for i in range(3)] if form in ("idx", "shards") else list(NAMES)
    assert list(run.prepared.processor.classes) == names
    assert [len(part) for part in run.prepared.data[1:]] == [80, 80, 80]
    whole = start_run(small(tmp_path / "npz", npz, data={"val_path": str(npz)}))
    assert run.prepared.processor.pictures.normalize == whole.prepared.processor.pictures.normalize
    batch, expected = run.prepared.data.train.collate([run.prepared.data.train[7]]), whole.prepared.data.train
    same = [i for i in range(80) if np.array_equal(expected.collate([expected[i]]).inputs, batch.inputs)]
    assert [expected.targets[i] for i in same] == batch.targets.tolist()


def test_an_evaluation_says_what_the_end_of_the_training_said(trained: Path, tmp_path: Path) -> None:
    found = evaluate_run(trained)
    assert isinstance(found, Measured)
    assert set(found.values) == {"accuracy %", "macro F1 %", "calibration error %"}
    assert found.samples is not None
    assert set(found.samples.by("class")) <= set(NAMES)
    before = (trained / "report.html").read_text()
    assert plot_run(trained)
    after = (trained / "report.html").read_text()
    assert "accuracy %" in before  # of the last validation, at the top
    assert after.count("<img") == before.count("<img")
    assert (trained / "summary.txt").read_text().strip() in html.unescape(after)
    other = evaluate_run(trained, text=as_folder(tmp_path, *stripes(20, seed=1)))
    assert isinstance(other, Measured)
    assert other.counted == "20 images"


def test_a_model_answers(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A large colour photo too: it is scaled, cut and made grey."""
    (tmp_path / "one.png").write_bytes(png(np.random.default_rng(0).integers(0, 255, (30, 50, 3), dtype=np.uint8)))
    assert main(["generate", str(trained), "--prompt", str(tmp_path / "one.png")]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert sorted(name for _, _, name in lines) == sorted(NAMES)
    shares = [float(share) for share, _, _ in lines]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(100, abs=0.03)
    (tmp_path / "bad.png").write_bytes(b"\x89PNG no more")
    for name, says in {"none.png": "there is no image", "bad.png": "cannot be decoded"}.items():
        assert main(["generate", str(trained), "--prompt", str(tmp_path / name)]) == 2
        assert says in capsys.readouterr().err


def test_two_runs_are_compared(trained: Path, tmp_path: Path) -> None:
    assert main(["eval", str(trained)]) == 0
    start_run(small(tmp_path / "again", trained.parent / "images.npz", optimizer={"learning_rate": 1e-5})).train()
    assert main(["eval", str(tmp_path / "again")]) == 0
    noise = compare_evaluations([trained, tmp_path / "again"])
    assert set(noise.differences) == {"loss", "accuracy %", "macro F1 %", "calibration error %"}


def test_weights_are_taken_over_with_their_classes(trained: Path, tmp_path: Path) -> None:
    images, classes = stripes(30, seed=2)
    run = start_run(small(tmp_path / "run", as_npz(tmp_path, images, classes % 2), init_from=str(trained)))
    assert list(run.prepared.processor.classes) == list(NAMES)
    assert run.prepared.processor.pictures.normalize == load_run(trained).processor.pictures.normalize
    np.savez(tmp_path / "new.npz", images=images, labels=["bottom"] * 30)
    with pytest.raises(DataError, match="the class 'bottom' is not one of the 3 classes"):
        start_run(small(tmp_path / "no", tmp_path / "new.npz", init_from=str(trained)))


def test_an_unseen_class_and_a_corrupt_image(trained: Path, tmp_path: Path) -> None:
    folder = as_folder(tmp_path, *stripes(40))
    (folder / "left" / "bad.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"bad\.png: the image cannot be decoded"):
        start_run(small(tmp_path / "no", folder, data={"val_path": str(folder)}))
    skip = {"broken": "skip", "max_broken": 0.1, "val_path": str(folder)}
    assert "2 left out" in start_run(small(tmp_path / "run", folder, data=skip)).describe()
    other = as_folder(tmp_path / "other", *stripes(40, seed=1))
    (other / "left").rename(other / "bottom")
    with pytest.raises(DataError, match="the class 'bottom' is not one of the 3 classes"):
        evaluate_run(trained, text=other)


def test_a_batch_of_one_and_a_held_out_sample_of_one(tmp_path: Path) -> None:
    path = as_npz(tmp_path, *stripes(12))
    config = small(tmp_path / "run", path, data={"val_fraction": 0.1}, trainer={"max_steps": 3, "batch_size": 1})
    result = start_run(config).train()
    assert isinstance(result.validation, Measured)
    assert result.validation.counted == "1 images"


WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "no file": ({"data": {"path": "nowhere"}}, DataError, "there is no nowhere"),
    "no data": ({"data": {"path": None}}, ConfigError, "data.path must be given, unless data.dataset is"),
    "no format": ({"data": {"path": "odd.txt"}}, ConfigError, "cannot tell what odd.txt is"),
    "no arrays": ({"data": {"path": "other.npz"}}, DataError, "has no array 'images'; it has 'pictures'"),
    "no numbers": ({"data": {"path": "objects.npz"}}, DataError, "'labels' is object"),
    "one class": ({"data": {"path": "one.npz"}}, DataError, "all training data is of the class '0'"),
    "no square": (
        {"data": {"path": "wide.npz"}},
        DataError,
        "8 x 9 pixels, .* squares: give data.size",
    ),
    "a set without files": ({"data": {"dataset": "shapes"}}, DataError, "which has no files: leave it out"),
    "no patch": ({"model": {"patch": 3}}, ConfigError, "model.patch = 3 does not divide image_size = 8"),
    "no power": ({"model": {"patch": 6, "stem": "conv"}}, ConfigError, "patch = 6 must be a power of 2"),
    "a stem": ({"model": {"stem": "con"}}, ConfigError, "did you mean 'conv'"),
    "texts": (
        {"model": {"name": "encoder"}, "data": {"name": "images"}},
        ConfigError,
        "model.name=encoder reads data=labelled_text",
    ),
    "zoom": ({"data": {"zoom": 2.0}}, ConfigError, "data.zoom must be 1 at most"),
}


@pytest.mark.parametrize("name", WRONG)
def test_mistakes_are_told(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes, kind, says = WRONG[name]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "odd.txt").write_text("odd")
    images, classes = stripes(20)
    np.savez("other.npz", pictures=images)
    np.savez("objects.npz", images=images, labels=np.array([{}] * 20, dtype=object))
    np.savez("one.npz", images=images, labels=np.zeros(20, int))
    np.savez("wide.npz", images=np.zeros((20, 8, 9), np.uint8) + np.arange(9, dtype=np.uint8), labels=classes)
    path = as_npz(tmp_path, images, classes)
    with pytest.raises(kind, match=says):
        start_run(small(tmp_path / "run", path, **changes))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda kept: kept.pop("classes"),
        lambda kept: kept.update(classes="abc"),
        lambda kept: kept.update(classes=["a", "a"]),
        lambda kept: kept.update(kind="sounds"),
        lambda kept: kept.update(kind=[]),
        lambda kept: kept.update(size=10**9),
        lambda kept: kept.update(size=True),
        lambda kept: kept.update(std=[0.0]),
        lambda kept: kept.update(mean=["x"]),
        lambda kept: kept.update(mean=[0.1, 0.2]),
        lambda kept: kept.update(kind="labelled_text"),
    ],
)
def test_a_damaged_processor_is_refused(trained: Path, tmp_path: Path, damage: Any) -> None:
    kept = json.loads((trained / "processor.json").read_text())
    damage(kept)
    (tmp_path / "processor.json").write_text(json.dumps(kept))
    with pytest.raises(DataError, match=r"processor.json is damaged"):
        load_processor(RunFolder(tmp_path))


def test_a_processor_is_the_same_after_loading(trained: Path) -> None:
    found = load_processor(RunFolder(trained))
    assert isinstance(found, ImageProcessor)
    assert (found.pictures.size, found.pictures.channels, list(found.classes)) == (8, 1, list(NAMES))
    run = start_run(small(trained.parent / "again", trained.parent / "images.npz"))
    assert found.pictures.normalize == run.prepared.processor.pictures.normalize


@given(st.integers(1, 30), st.integers(1, 7), st.integers(1, 5), st.sampled_from([1, 2]))
def test_every_held_out_image_is_evaluated_once(count: int, batch_size: int, part: int, workers: int) -> None:
    numbers = np.arange(count, dtype=np.uint8)[:, None, None]
    images = ImageArrays(np.repeat(numbers, 2, axis=1), label=[0] * count)
    samples = EvaluationSamples(LabelledImages(images, transform=Normalize((0.0,), (1 / 255,))), batch_size, workers)
    found = np.concatenate([batch.inputs[:, 0, 0, 0] for batch in samples])
    np.testing.assert_allclose(found, np.arange(count), atol=1e-3)
    some = np.concatenate([batch.inputs[:, 0, 0, 0] for batch in samples.spread(part)]).round().astype(int)
    assert len(set(some)) == len(some) == min(count, part * batch_size)
    assert {0, count - 1} <= {*some} or len(some) == 1


def test_presets_recipes_and_kinds_of_data_bring_what_belongs_to_them() -> None:
    config = compose_config(["task=classification"])
    assert (config.recipe, config.data.dataset, config.model.name) == ("digits", "digits", "vit")
    config = compose_config(["preset=vit-digits"])
    assert (config.model.patch, config.model.pool, config.data.dataset) == (4, "first", "digits")
    config = compose_config(["preset=encoder-tiny", "data.path=x.tsv"])
    assert (config.data.name, config.data.block_size, config.data.dataset) == ("labelled_text", 128, None)
    config = compose_config(["task=classification", "data=labelled_text", "data.path=x.tsv"])
    assert (config.model.name, config.data.dataset) == ("encoder", None)
    config = compose_config(["task=classification", "data.path=photos"])
    assert (config.data.path, config.data.dataset) == ("photos", None)
    config = recipe("fashion", data={"path": "folder"})
    assert (config.data.path, config.data.dataset) == ("folder", "fashion"), "the files of the chosen set"


@pytest.mark.slow
def test_the_recipe_of_digits(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    result = start_run(recipe("digits", run_dir=str(tmp_path / "run"))).train()
    assert isinstance(result.validation, Measured)
    assert result.validation.values["accuracy %"] > 0.95
