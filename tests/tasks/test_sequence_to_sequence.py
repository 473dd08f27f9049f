"""Pairs of texts: a run learns, goes on with the same bytes, and says what is wrong with its data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.cli import main
from minitrain.data import MemoryRecords
from minitrain.data.encoded.pairs import TextPairs
from minitrain.errors import ConfigError, DataError
from minitrain.folder import RunFolder
from minitrain.generation import beam_search_targets
from minitrain.inside import capture
from minitrain.plotting import plot_alignment
from minitrain.runs import (
    RunConfig,
    compare_evaluations,
    evaluate_run,
    load_run,
    plot_run,
    recipe,
    resume_run,
    start_run,
)
from minitrain.tasks import SequenceToSequence, align
from minitrain.tasks.outcome import Measured
from minitrain.tasks.records.pairs import PairProcessor, build_processor
from minitrain.tasks.records.translations import EvaluationPairs, measures_of
from minitrain.tasks.settings.records import PairsConfig
from tests.helpers.small_runs import killed_and_continued, outcome

PAIRS = [("ab", "b a"), ("abc", "c b a"), ("ca", "a c"), ("bbb", "b b b"), ("c", "c"), ("acb", "b c a")] * 8


def table(folder: Path, pairs: Any = PAIRS, name: str = "pairs.tsv") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text("source\ttarget\n" + "".join(f"{source}\t{target}\n" for source, target in pairs))
    return path


def small(folder: Path, path: Path, **changes: Any) -> RunConfig:
    """A run of six steps, with dropout, separate vocabularies and batches by tokens."""
    values: dict[str, Any] = {
        "task": "sequence_to_sequence",
        "run_dir": str(folder),
        "model": {"n_layer": 1, "n_head": 2, "n_embd": 16, "dropout": 0.1, "label_smoothing": 0.1},
        "data": {
            "path": str(path),
            "tokenizer": "char",
            "target_tokenizer": "word",
            "block_size": 6,
            "max_tokens": 60,
            **changes.pop("data", {}),
        },
        "trainer": {"max_steps": 6, "batch_size": 8, "validation_frequency": 3, "save_every": 2, "log_every": 1},
        "scheduler": {"warmup_steps": 2},
    }
    return RunConfig.from_dict(values | changes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    start_run(small(folder / "run", table(folder))).train()
    return folder / "run"


def test_it_learns_to_copy(tmp_path: Path) -> None:
    """After training, most sequences that it never saw are copied without an error."""
    rng = np.random.default_rng(0)
    words = sorted({"".join(rng.choice(list("abcdef"), rng.integers(1, 6))) for _ in range(1500)})
    config = recipe(
        "copy",
        run_dir=str(tmp_path / "run"),
        data={"dataset": None, "path": str(table(tmp_path, zip(words, words, strict=True)))},
        model={"n_layer": 1, "n_embd": 32},
        trainer={"max_steps": 350, "batch_size": 64, "save_every": 0, "validation_frequency": 0},
        optimizer={"learning_rate": 5e-3},
    )
    result = start_run(config).train()
    assert isinstance(result.validation, Measured)
    assert result.validation.values["right %"] > 0.8
    assert result.validation.others["copying the source"]["right %"] == 1
    assert "written " in result.sample and "errors of characters %" in result.describe()


@pytest.mark.parametrize("steps", [1, 3, 5])
def test_a_continued_run_ends_with_the_same_bytes(
    trained: Path, tmp_path: Path, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = trained.parent / "pairs.tsv"
    run = start_run(small(tmp_path / "run", path))
    killed_and_continued(run, steps, monkeypatch)
    assert outcome(tmp_path / "run", 6) == outcome(trained, 6)


def test_an_evaluation_says_what_the_end_of_the_training_said(trained: Path) -> None:
    found = evaluate_run(trained)
    assert isinstance(found, Measured)
    assert set(found.values) == {"errors of words %", "right %"}
    assert found.others == {}, "a copied source is no target where the vocabularies differ"
    assert found.samples is not None
    assert found.describe() in (trained / "report.html").read_text() or found.loss > 0
    assert plot_run(trained)


def test_a_model_answers(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", str(trained), "--prompt", "ab"]) == 0
    words = capsys.readouterr().out.split()
    assert set(words) <= {"a", "b", "c"}
    loaded = load_run(trained)
    assert loaded.tokenizer is None
    assert loaded.config is not None
    assert SequenceToSequence().answer(loaded.config, loaded.model, loaded.processor, "ab").split() == words
    for prompt, says in {"xyz": "'x' in the text 'xyz' is not among", "abcabca": "the text has 7 tokens"}.items():
        assert main(["generate", str(trained), "--prompt", prompt]) == 2
        assert says in capsys.readouterr().err


def test_beams(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Samples, answers and evaluations write by beam search; ``minitrain eval --beams`` does it for a finished run."""
    path = table(tmp_path)
    beams = {"num_beams": 3, "length_penalty": 0.5}
    run = start_run(small(tmp_path / "run", path, generation=beams, optimizer={"learning_rate": 0.03}))
    run.train()
    config, model, processor = run.config, run.trainer.model, run.prepared.processor
    begin, end = processor.target.special_id("<bos>"), processor.target.special_id("<eos>")
    texts = [pair for pair, _ in dict.fromkeys(PAIRS)]
    for text in texts:
        source = np.array([processor.source.encode(text)], np.int32)
        search: dict[str, Any] = {"max_new_tokens": 6, "num_beams": 3, "length_penalty": 0.5}
        ((best,),) = beam_search_targets(model, source, start=begin, end=end, **search)
        written = processor.target.decode([token for token in best.tokens if token != end])
        assert config.the_task.answer(config, model, processor, text) == written
    searched = evaluate_run(tmp_path / "run")
    assert evaluate_run(tmp_path / "run", beams=3).values == searched.values
    greedy = evaluate_run(tmp_path / "run", beams=1)
    assert greedy.loss == searched.loss
    assert greedy.values != searched.values
    assert main(["eval", str(tmp_path / "run")]) == 0
    assert searched.describe().split("\n")[1] in capsys.readouterr().out
    kept = (tmp_path / "run" / "evaluation.jsonl").read_bytes()
    assert main(["eval", str(tmp_path / "run"), "--beams", "1"]) == 0
    assert greedy.describe().split("\n")[1] in capsys.readouterr().out
    assert (tmp_path / "run" / "evaluation.jsonl").read_bytes() == kept, "compare takes what the settings write"
    assert main(["eval", str(tmp_path / "run"), "--beams", "0"]) == 2
    assert "generation.num_beams must be between 1 and 64" in capsys.readouterr().err
    assert main(["eval", str(tmp_path / "run"), "--beams", "2", "--stride", "4"]) == 2
    assert "--beams is for a run that writes" in capsys.readouterr().err


def test_beams_are_for_tasks_that_search() -> None:
    with pytest.raises(
        ConfigError, match=r"num_beams=2 must be 1 with task=classification; beams are for .*captioning"
    ):
        RunConfig.from_dict({"task": "classification", "data": {"path": "x"}, "generation": {"num_beams": 2}})


def test_more_buckets_less_padding(tmp_path: Path) -> None:
    """Pairs of similar lengths are together, so the batches are fewer."""
    path = table(tmp_path, PAIRS * 20)
    steps = []
    for buckets in (1, 8):
        run = start_run(small(tmp_path / str(buckets), path, data={"buckets": buckets}))
        steps.append(run.config.the_task.loader(run.config, run.prepared).steps_per_epoch)
    assert steps[1] < steps[0]


def test_two_runs_are_compared(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start_run(
        small(tmp_path / "other", trained.parent / "pairs.tsv", model={"n_layer": 1, "n_head": 1, "n_embd": 8})
    ).train()
    for run in (trained, tmp_path / "other"):
        assert main(["eval", str(run)]) == 0
    said = capsys.readouterr().out
    assert "perplexity" not in said
    noise = compare_evaluations([trained, tmp_path / "other"])
    assert set(noise.differences) == {"loss", "errors of words %", "right %"}


def test_a_run_goes_on_with_its_own_pairs_alone(trained: Path, tmp_path: Path) -> None:
    path = table(tmp_path)
    run = start_run(small(tmp_path / "run", path))
    assert run.config.data.path == str(path.resolve())
    path.write_text(path.read_text() + "a\ta\n")
    with pytest.raises(DataError, match="the train data is not that which the run"):
        resume_run(tmp_path / "run")
    path.unlink()
    with pytest.raises(DataError, match=r"pairs\.tsv"):
        resume_run(tmp_path / "run")


def test_weights_are_taken_over(trained: Path, tmp_path: Path) -> None:
    other = table(tmp_path, [("ba", "a b"), ("cb", "b c")] * 12)
    run = start_run(small(tmp_path / "run", other, init_from=str(trained)))
    assert run.prepared.processor.target.symbols == load_run(trained).processor.target.symbols
    assert run.trainer.total_steps == 6
    with pytest.raises(DataError, match="'z' in the text 'z' is not among"):
        start_run(small(tmp_path / "no", table(tmp_path, [("z", "a")] * 20, "z.tsv"), init_from=str(trained)))


WRONG = {
    "no file": ({"path": "nowhere.tsv"}, DataError, "nowhere.tsv"),
    "no column": ({"source": "from"}, ConfigError, "has no column 'from'"),
    "no data": ({"path": None}, ConfigError, "data.path must be given, unless data.dataset is"),
    "unknown set": ({"path": None, "dataset": "cmudct"}, DataError, "did you mean 'cmudict'"),
    "too long": ({"block_size": 3}, DataError, "tokens"),
    "odd ending": ({"path": "pairs.txt"}, ConfigError, "cannot tell the format"),
    "unknown tokenizer": ({"tokenizer": "chars"}, ConfigError, "did you mean 'char'"),
    "another's setting": ({"val_fraction": 0.2, "shards": 3}, ConfigError, "unknown setting data.shards"),
}


@pytest.mark.parametrize("name", WRONG)
def test_mistakes_are_told(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes, kind, says = WRONG[name]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs.txt").write_text("a\tb\n")
    with pytest.raises(kind, match=says):
        start_run(small(tmp_path / "run", table(tmp_path), data=changes))
    assert not (tmp_path / "run").exists()


def test_pairs_that_cannot_be_used_are_left_out_and_told(tmp_path: Path) -> None:
    path = table(tmp_path, [*PAIRS, ("ab", ""), ("abcabcabc", "a")])
    how = {"broken": "skip", "max_broken": 0.1, "overlong": "skip"}
    run = start_run(small(tmp_path / "run", path, data=how))
    assert "2 left out" in run.describe()
    with pytest.raises(DataError, match=r"pairs.tsv:50: column 'target' is empty"):
        start_run(small(tmp_path / "no", path, data=how | {"broken": "refuse"}))


def test_the_wrong_model_or_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"model.name=gpt is for task=language_model; task=sequence_to_sequence trains"
    ):
        small(tmp_path / "run", tmp_path, model={"name": "gpt"})
    with pytest.raises(ConfigError, match=r"data.name=text is not for task=sequence_to_sequence, which takes pairs"):
        RunConfig.from_dict({"task": "sequence_to_sequence", "data": {"name": "text"}})


def test_files_side_by_side_and_a_shared_vocabulary(tmp_path: Path) -> None:
    sources, targets = ["ab a", "b", "a b ab"] * 8, ["ab", "b", "a"] * 8
    for name, lines in {
        "train.src": sources,
        "train.tgt": targets,
        "val.src": sources[:5],
        "val.tgt": targets[:5],
    }.items():
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines))
    data = {
        "target_path": str(tmp_path / "train.tgt"),
        "val_path": str(tmp_path / "val.src"),
        "val_target_path": str(tmp_path / "val.tgt"),
        "target_tokenizer": None,
        "max_tokens": None,
    }
    run = start_run(small(tmp_path / "run", tmp_path / "train.src", data=data))
    assert run.trainer.model.source_emb is run.trainer.model.target_emb
    assert [len(part) for part in run.prepared.data.records] == [24, 5, 5]
    result = run.train()
    assert isinstance(result.validation, Measured)
    assert result.validation.others["copying the source"]["right %"] == 0.4


@pytest.mark.parametrize(
    "damage",
    [
        lambda kept: kept.pop("source"),
        lambda kept: kept.update(block_size="long"),
        lambda kept: kept.update(source={"name": "byte"}),
        lambda kept: kept.update(target=[]),
        lambda kept: kept.update(target={"name": "symbols", "symbols": [1], "separator": ""}),
    ],
)
def test_a_damaged_processor_is_refused(trained: Path, tmp_path: Path, damage: Any) -> None:
    kept = json.loads((trained / "processor.json").read_text())
    damage(kept)
    (tmp_path / "processor.json").write_text(json.dumps(kept))
    with pytest.raises(DataError, match=r"processor.json is damaged"):
        PairProcessor.load(RunFolder(tmp_path))


@given(
    st.lists(
        st.tuples(st.text("abc", min_size=1, max_size=5), st.text("ab", min_size=1, max_size=5)), min_size=1, max_size=9
    ),
    st.integers(1, 10),
)
def test_every_held_out_pair_is_evaluated_once(pairs: list[tuple[str, str]], batch_size: int) -> None:
    records = MemoryRecords([{"source": source, "target": target} for source, target in pairs])
    processor = build_processor(PairsConfig(path="x", tokenizer="char", block_size=8), records)
    samples = TextPairs(records, processor.source)
    batches = list(EvaluationPairs(samples, batch_size))
    found = sorted(
        (processor.source.decode(source[source != 0]), references[0])
        for batch in batches
        for source, references in zip(batch.source, batch.references, strict=True)
    )
    assert found == sorted(pairs)
    lengths = [int((row != 0).sum()) for batch in batches for row in batch.source]
    assert len(lengths) == len(pairs)
    assert sum(len(batch.source) for batch in EvaluationPairs(samples, batch_size).spread(1)) <= batch_size


def test_any_of_several_targets_is_right() -> None:
    records = MemoryRecords([{"source": "ab", "target": ["x y", "y x"]}, {"source": "b", "target": ["y"]}])
    processor = build_processor(PairsConfig(path="x", tokenizer="char", target_tokenizer="word", block_size=8), records)
    assert processor.target.symbols == ("x", "y")
    batch = next(iter(EvaluationPairs(TextPairs(records, processor.source, processor.target), 2)))
    exact = measures_of(processor)["right %"]()  # type: ignore[operator]
    exact.update(["y", "y x"], batch)
    assert exact.result() == {"": 1.0}
    np.testing.assert_array_equal(batch.target[0], [1, 5, 2, 0])


def test_where_the_model_looks_is_shown(trained: Path, tmp_path: Path) -> None:
    """One row for each target token and its end; the weights are those of the tokens that are predicted there."""
    loaded = load_run(trained)
    given = align(loaded.model, loaded.processor, "abc", "c b a")
    assert given.source == ["a", "b", "c"]
    assert given.target == ["c", "b", "a", "<end>"]
    assert given.weights.shape == (1, 4, 3)
    np.testing.assert_allclose(given.weights.sum(axis=-1), 1, rtol=1e-5)
    with capture(loaded.model, "decoder.0.cross.weights") as seen:
        loaded.model.forward(np.array([[4, 5, 6]]), np.array([[1, 6, 5, 4]]))
    np.testing.assert_allclose(given.weights[0], seen["decoder.0.cross.weights"][0].mean(axis=0), rtol=1e-5)
    written = align(loaded.model, loaded.processor, "ab")
    assert loaded.config is not None
    assert "".join(written.target).removesuffix("<end>") == SequenceToSequence().answer(
        loaded.config, loaded.model, loaded.processor, "ab"
    ).replace(" ", "")
    plot_alignment([given, written, (["$x", " y"], ["\n"], [[0.0, 1.0]])], tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    assert (trained / "plots" / "alignments.png").exists()
    for texts, says in {("", "a"): "source has 0 tokens", ("a", "a b c a b c"): "target has 7 tokens"}.items():
        with pytest.raises(DataError, match=says):
            align(loaded.model, loaded.processor, *texts)
    for pairs, says in (([], "needs a pair"), ([(["a"], ["b"], np.ones((2, 1)))], r"weights are \(2, 1\) for 1")):
        with pytest.raises(DataError, match=says):
            plot_alignment(pairs, tmp_path / "b.png")
