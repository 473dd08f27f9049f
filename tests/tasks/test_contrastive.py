"""Images and texts: a run learns to find one by the other, any split of a batch is the same, and mistakes are told."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minitrain.cli import main
from minitrain.errors import ConfigError, DataError
from minitrain.folder import RunFolder
from minitrain.folder.names import PROCESSOR
from minitrain.measures.retrieval import ranks
from minitrain.models import Clip, ClipConfig
from minitrain.random import Key
from minitrain.runs import compare_evaluations, evaluate_run, load_run, plot_run, recipe, resume_run, start_run
from minitrain.tasks.outcome import Measured
from minitrain.tasks.records.captions import CaptionProcessor, EvaluationCaptions
from minitrain.tasks.records.retrieval import (
    features_of_texts,
    guess_loss,
    nearest,
    nearest_texts,
    principal_components,
)
from minitrain.training import train_step
from tests.helpers.measuring.captions import FORMS, as_rows, class_number, halves, small
from tests.helpers.measuring.classes import png
from tests.helpers.small_runs import killed_and_continued, outcome


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    start_run(small(folder / "run", as_rows(folder, halves(60)), "contrastive", data={"label": "label"})).train()
    return folder / "run"


def test_it_learns(tmp_path: Path) -> None:
    """Every text is found by its image and the reverse, and the classes by prompts; the loss goes to its floor."""
    config = small(
        tmp_path / "run",
        as_rows(tmp_path, halves(300)),
        "contrastive",
        data={"label": "label", "prompts": ["{} on the left", "{} on the right"], "shift": 0, "val_fraction": 0.2},
        model={"dropout": 0.0},
        optimizer={"learning_rate": 5e-3},
        trainer={"max_steps": 120, "batch_size": 32, "validation_frequency": 60, "save_every": 0},
    )
    result = start_run(config).train()
    found = result.validation
    assert isinstance(found, Measured)
    assert found.values["text R@1 %"] == found.values["image R@1 %"] == found.values["zero-shot %"] == 1
    assert found.loss < 0.05 < 1 < found.others["all alike"]["loss"]
    assert {"texts_of_images.png", "images_of_texts.png", "cosines.png", "features.png"} <= {
        path.name for path in result.pictures
    }
    assert all(path.exists() for path in result.pictures)


def test_of_equal_texts_the_nearest_stands_for_all() -> None:
    angles = np.array([0.3, 0.1, 0.2, 0.0, 0.4])
    found = nearest_texts(np.array([[1.0, 0.0]]), np.stack([np.cos(angles), np.sin(angles)], axis=1), list("abacb"), 2)
    assert found.rows == [3, 1]
    np.testing.assert_allclose(found.cosines, np.cos([0.0, 0.1]))
    every = nearest_texts(np.array([[1.0, 0.0]]), np.stack([np.cos(angles), np.sin(angles)], axis=1), list("abacb"), 9)
    assert every.rows == [3, 1, 2], "in the order of the cosines"


@pytest.mark.parametrize("contrast", ["info_nce", "siglip"])
@pytest.mark.parametrize("parts", [2, 3, 7])
def test_any_split_of_a_batch_has_the_gradient_of_the_whole(contrast: str, parts: int) -> None:
    """With dropout, padding and equal texts."""
    rng = np.random.default_rng(0)
    text: dict[str, Any] = {"text_layer": 1, "text_head": 2, "text_embd": 8}
    config = ClipConfig(9, 4, 2, 1, 5, 6, 1, 2, 8, contrast=contrast, dropout=0.2, **text)
    batch: tuple[Any, ...] = (
        rng.standard_normal((7, 1, 4, 4)),
        rng.integers(0, 9, (7, 5)),
        rng.integers(1, 6, 7),
        np.array([1, 2, 3, 1, 4, 5, 1]),
    )
    model = Clip(config, dtype=np.float64)

    class Keeps:
        """An optimizer that updates nothing."""

        def set_lr(self, lr: float) -> None: ...

        def zero_grad(self) -> None:
            model.zero_grad()

        def step(self, scale: float) -> None: ...

    found = []
    for cuts in ([0, 7], np.linspace(0, 7, parts + 1).astype(int).tolist()):
        split = [(a, tuple(x[a:b] for x in batch)) for a, b in pairwise(cuts)]
        update = train_step(model, Keeps(), split, lr=0.1, key=Key.from_seed(1))
        found.append((update.loss, {name: one.grad.copy() for name, one in model.named_parameters()}))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-12)
    for name, gradient in found[0][1].items():
        np.testing.assert_allclose(found[1][1][name], gradient, rtol=1e-9, atol=1e-12, err_msg=name)


def test_a_run_with_accumulation_ends_as_one_without(trained: Path, tmp_path: Path) -> None:
    path, split = trained.parent / "texts.tsv", {"gradient_accumulation_steps": 4}
    run = start_run(small(tmp_path / "run", path, "contrastive", data={"label": "label"}, trainer=split))
    run.trainer.train()
    other = load_run(trained).model.state_dict()
    for name, value in run.trainer.model.state_dict().items():
        np.testing.assert_allclose(value, other[name], atol=2e-4, err_msg=name)


@pytest.mark.parametrize("steps", [1, 5])
def test_a_continued_run_ends_with_the_same_bytes(
    trained: Path, tmp_path: Path, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = {"workers": 2, "prefetch": 2, "label": "label"}
    run = start_run(small(tmp_path / "run", trained.parent / "texts.tsv", "contrastive", data=ahead))
    killed_and_continued(run, steps, monkeypatch)
    assert outcome(tmp_path / "run", 6) == outcome(trained, 6)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_images_with_texts(tmp_path: Path, form: str) -> None:
    pairs = halves(20)
    path = FORMS[form](tmp_path, pairs)
    config = small(tmp_path / "run", path, "contrastive", data={"label": "label", "val_path": str(path)})
    run = start_run(config)
    samples = run.prepared.data.train
    assert len(samples) == 20
    for i, (image, texts) in enumerate(pairs):
        np.testing.assert_array_equal(samples[i].image, image.transpose(2, 0, 1))
        assert samples[i].texts == (texts[:1] if form == "shards" else texts)
        label = class_number(texts) if form == "shards" else texts[0].split()[0]
        assert str(samples.records.without_image(i)["label"]) == label
    groups = samples.collate([samples[i] for i in range(20)]).groups
    firsts = [texts[0] for _, texts in pairs]
    assert [[a == b for b in groups] for a in groups] == [[a == b for b in firsts] for a in firsts]


def test_training_sees_all_texts_and_an_evaluation_the_first(tmp_path: Path) -> None:
    run = start_run(small(tmp_path / "run", as_rows(tmp_path, halves(30)), "contrastive"))
    decode = run.prepared.processor.tokenizer.decode
    loader = run.trainer.setup.data
    seen = {decode(row[:length]) for step in range(20) for row, length in zip(*loader.batch(step)[1:3], strict=True)}
    assert seen == {text for i in range(len(run.prepared.data.train)) for text in run.prepared.data.train[i].texts}
    for batch in EvaluationCaptions(run.prepared.data.val, 4):
        assert [decode(row[:n]) for row, n in zip(batch.texts, batch.lengths, strict=True)] == [
            texts[0] for texts in batch.references
        ]


def test_an_evaluation_says_what_the_end_of_the_training_said(trained: Path) -> None:
    found = evaluate_run(trained)
    assert isinstance(found, Measured)
    assert set(found.values) == {
        *(f"{way} {what}" for way in ("text", "image") for what in ("R@1 %", "R@5 %", "rank")),
        "zero-shot %",
    }
    assert found.samples is not None
    assert len(found.samples) == 6
    assert found.describe() in (trained / "report.html").read_text()
    assert plot_run(trained)
    other = evaluate_run(trained, text=trained.parent / "texts.tsv")
    assert other.samples is not None
    assert len(other.samples) == 60


def test_a_text_finds_images_and_an_image_finds_texts(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", str(trained), "--prompt", "red on the left"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6, "so many are held out"
    assert all(".png" in line for line in lines)
    cosines = [float(line.split()[0]) for line in lines]
    assert cosines == sorted(cosines, reverse=True)
    image = trained.parent / "one.png"
    image.write_bytes(png(halves(1)[0][0]))
    assert main(["generate", str(trained), "--prompt", str(image)]) == 0
    texts = [line.split(maxsplit=1)[1] for line in capsys.readouterr().out.splitlines()]
    assert len(texts) == len(set(texts))
    assert all("on the" in text or text.startswith("the ") for text in texts)
    for prompt, says in {"violet": "'violet' in the text", " ": "empty"}.items():
        assert main(["generate", str(trained), "--prompt", prompt]) == 2
        assert says in capsys.readouterr().err


def test_two_runs_are_compared(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, smaller = trained.parent / "texts.tsv", {"n_embd": 8}
    start_run(small(tmp_path / "other", path, "contrastive", data={"label": "label"}, model=smaller)).trainer.train()
    for run in (trained, tmp_path / "other"):
        assert main(["eval", str(run)]) == 0
    assert "perplexity" not in capsys.readouterr().out
    assert "zero-shot %" in compare_evaluations([trained, tmp_path / "other"]).differences


def test_what_a_run_keeps_makes_the_same_arrays(trained: Path) -> None:
    loaded = load_run(trained)
    assert isinstance(loaded.processor, CaptionProcessor)
    folder = RunFolder(trained)
    assert CaptionProcessor.load(folder).to_json() == loaded.processor.to_json()
    one = features_of_texts(loaded.model, loaded.processor, ["red on the left"], "cpu")
    two = features_of_texts(loaded.model, loaded.processor, ["red on the left", "the right is blue"], "cpu")
    np.testing.assert_allclose(one[0], two[0], atol=1e-5)


@pytest.mark.parametrize("damage", [b"{}", b"[", b'{"size": 8, "mean": [0.1], "std": [1], "block_size": true}'])
def test_a_damaged_processor_is_told(tmp_path: Path, damage: bytes) -> None:
    folder = RunFolder(tmp_path)
    folder.write(PROCESSOR, damage)
    with pytest.raises(DataError, match="is damaged"):
        CaptionProcessor.load(folder)


def test_mistakes_are_told(tmp_path: Path) -> None:
    path = as_rows(tmp_path, halves(20))

    def start(**changes: Any) -> None:
        start_run(small(tmp_path / "run", path, "contrastive", **changes))

    with pytest.raises(ConfigError, match=r"loss must be null with task=contrastive"):
        start(loss="focal")
    with pytest.raises(ConfigError, match=r"patch = 3 does not divide image_size = 8"):
        start(model={"patch": 3})
    with pytest.raises(ConfigError, match=r"model.text_embd = 16 is not a multiple of text_head = 3"):
        start(model={"text_head": 3})
    with pytest.raises(ConfigError, match=r"data.prompts must be texts with \{\} in each"):
        start(data={"prompts": ["a picture"]})
    with pytest.raises(DataError, match=r"caption.*has 4 tokens, more than 3"):
        start(data={"block_size": 3, "overlong": "refuse"})
    with pytest.raises(DataError, match=r"has 0 of the files captions.tsv"):
        (tmp_path / "empty").mkdir()
        start(data={"path": str(tmp_path / "empty")})
    with pytest.raises(ConfigError, match=r"cannot tell what .*001.png is: give a table"):
        start(data={"path": str(tmp_path / "001.png")})
    (tmp_path / "004.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"004.png"):
        start()
    run = start_run(small(tmp_path / "skips", path, "contrastive", data={"broken": "skip", "max_broken": 0.2}))
    assert "1 left out" in run.describe()
    (tmp_path / "texts.tsv").write_text((tmp_path / "texts.tsv").read_text().replace("red on the left", "red"))
    with pytest.raises(DataError, match="is not that which the run"):
        resume_run(tmp_path / "skips")


def test_one_pair_in_a_batch_has_nothing_to_tell_apart(tmp_path: Path) -> None:
    path = as_rows(tmp_path, halves(20))
    result = start_run(small(tmp_path / "run", path, "contrastive", trainer={"batch_size": 1, "max_steps": 3})).train()
    assert result.validation.loss == 0


class _Groups:
    def __init__(self, *groups: int) -> None:
        self.groups = np.array(groups)


def test_the_loss_of_guessing_counts_what_is_a_candidate() -> None:
    found = guess_loss([_Groups(1, 2, 3, 4), _Groups(5, 5, 6)])
    assert found == pytest.approx((4 * np.log(4) + 2 * np.log(2) + np.log(3)) / 7)


def test_nearest_are_those_of_the_ranks() -> None:
    rng = np.random.default_rng(0)
    images, texts = rng.standard_normal((2, 9, 4))
    for i, place in enumerate(ranks(images, texts)):
        found = nearest(images[i : i + 1], texts, 9)
        assert found.rows[place] == i
        assert found.cosines == sorted(found.cosines, reverse=True)


def test_principal_components_keep_distances_and_order_by_spread() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((12, 2)) * [5, 1] @ np.linalg.qr(rng.standard_normal((2, 2)))[0]
    found = principal_components(vectors)
    between = [np.linalg.norm(x[:, None] - x[None], axis=-1) for x in (vectors, found)]
    np.testing.assert_allclose(*between, atol=1e-12)
    assert found[:, 0].std() > found[:, 1].std()
    assert not principal_components(np.ones((3, 1)))[:, 1].any()


@pytest.mark.slow
def test_the_recipe_reaches_its_aim(tmp_path: Path) -> None:
    found = start_run(recipe("shapes", run_dir=str(tmp_path / "run"))).train().validation
    assert isinstance(found, Measured)
    assert found.values["zero-shot %"] == found.values["text R@1 %"] == 1
    assert found.loss < 0.01
