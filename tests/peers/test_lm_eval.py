"""lm-evaluation-harness evaluates minitrain's models on tasks from local files, and agrees with minitrain's scores."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

from minitrain.data import CharTokenizer
from minitrain.errors import ConfigError
from minitrain.evaluation import Question, score_choices, score_text
from minitrain.generation import SamplingParams, generate_text_sampling, session_for
from minitrain.generation.sessions.weights import with_weights
from minitrain.runs import load_run, start_run
from tests.helpers.decoding.tiny_language_models import TableModel
from tests.helpers.places import ROOT
from tests.helpers.small_runs import small_config

pytest.importorskip("lm_eval")
pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]  # of the harness's many packages

QUESTIONS = [
    Question("the quick", (" brown", " lazy dog", " x"), 0),
    Question("jumps over the lazy", (" fox", " dog"), 1),
    Question("the", (" quick brown fox", " dog", " cat"), 2),
]
TEXTS = ["the quick brown fox jumps over the lazy dog " * 4, "over the fox"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small trained run."""
    folder = tmp_path_factory.mktemp("run")
    started = start_run(small_config(folder, data_block_size=32))
    started.trainer.train()
    return Path(started.run_dir)


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A manager of three tasks that lie in a folder, with their data."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    from lm_eval.tasks import TaskManager

    def task(name: str, lines: list[dict[str, Any]], **settings: Any) -> None:
        data = tmp_path / f"{name}.jsonl"
        data.write_text("".join(json.dumps(line) + "\n" for line in lines))
        source = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(data)}}}
        (tmp_path / f"{name}.yaml").write_text(
            yaml.safe_dump({"task": name, "test_split": "test", **source, **settings})
        )

    task(
        "questions",
        [question._asdict() for question in QUESTIONS],
        output_type="multiple_choice",
        doc_to_text="{{context}}",
        doc_to_choice="{{choices}}",
        doc_to_target="{{answer}}",
        target_delimiter="",
    )
    task(
        "texts",
        [{"text": text} for text in TEXTS],
        output_type="loglikelihood_rolling",
        doc_to_text="",
        doc_to_target="{{text}}",
        metric_list=[{"metric": name} for name in ("bits_per_byte", "byte_perplexity")],
    )
    task(
        "writing",
        [{"text": "the quick", "answer": "?"}],
        output_type="generate_until",
        doc_to_text="{{text}}",
        doc_to_target="{{answer}}",
        generation_kwargs={"until": ["o", "\n\n"], "max_gen_toks": 12},
        metric_list=[{"metric": "exact_match"}],
    )
    return TaskManager(include_path=str(tmp_path), include_defaults=False)


def evaluated(model: Any, tasks: Any, name: str, **settings: Any) -> Any:
    import lm_eval

    import minitrain.evaluation.harness  # noqa: F401  # registers the model

    return lm_eval.simple_evaluate(model, tasks=[name], task_manager=tasks, bootstrap_iters=0, **settings)


@pytest.mark.parametrize("weights", ["float32", "int8"])
def test_questions_have_the_same_answers(run: Path, tasks: Any, weights: str) -> None:
    """The model is named by its registered name, as on the harness's command line."""
    found = evaluated(
        "minitrain",
        tasks,
        "questions",
        model_args=f"pretrained={run},weights={weights}",
        batch_size=2,
        log_samples=True,
    )
    loaded = load_run(run)
    score = score_choices(session_for(loaded.model, 4, weights=weights), loaded.tokenizer, QUESTIONS)
    assert found["results"]["questions"]["acc,none"] == pytest.approx(score.accuracy("sum"))
    assert found["results"]["questions"]["acc_norm,none"] == pytest.approx(score.accuracy("byte"))
    assert len(found["samples"]["questions"]) == len(QUESTIONS)


def test_texts_have_the_same_bits_per_byte(run: Path, tasks: Any) -> None:
    """After a line break, which stands for the start of a text; the windows are the harness's."""
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

    from minitrain.evaluation.harness import MinitrainLM

    loaded = load_run(run)
    model, tokenizer = loaded.model, loaded.tokenizer
    found = evaluated(MinitrainLM(model, tokenizer=tokenizer), tasks, "texts")["results"]["texts"]
    scores = [score_text(model, tokenizer, "\n" + text, stride=model.config.block_size) for text in TEXTS]
    bits = sum(s.nats for s in scores) / math.log(2) / sum(len(text.encode()) for text in TEXTS)
    assert found["bits_per_byte,none"] == pytest.approx(bits)
    assert found["byte_perplexity,none"] == pytest.approx(2**bits)
    start, nats = int(tokenizer.encode("\n")[0]), 0.0
    ids = tokenizer.encode(TEXTS[0]).tolist()
    for pair in get_rolling_token_windows(ids, start, model.config.block_size, 1):
        before, after = make_disjoint_window(pair)
        row = model.forward(np.array([before + after])[:, :-1])[0][0, -len(after) :]
        nats -= float((row - np.log(np.exp(row).sum(axis=1, keepdims=True)))[np.arange(len(after)), after].sum())
    assert scores[0].nats == pytest.approx(nats, rel=1e-4)


def test_it_writes_up_to_a_stop_string(run: Path, tasks: Any) -> None:
    from minitrain.evaluation.harness import MinitrainLM

    found = evaluated(MinitrainLM(run), tasks, "writing", log_samples=True)
    loaded = load_run(run)
    params = SamplingParams(max_new_tokens=12, temperature=0, stop=("o", "\n\n"))
    ((expected,),) = generate_text_sampling(loaded.model, loaded.tokenizer, ["the quick"], params)
    assert found["samples"]["writing"][0]["resps"] == [[expected]]


def test_requests_are_answered_in_their_order(run: Path) -> None:
    from minitrain.evaluation.harness import MinitrainLM

    lm = MinitrainLM(run, batch_size="auto")
    pairs = [("the", " quick"), ("over", " x"), ("the", " dog"), ("", "the"), ("the", "")]
    together = lm.loglikelihood([SimpleNamespace(args=pair) for pair in pairs])
    for pair, found in zip(pairs, together, strict=True):
        ((nats, greedy),) = lm.loglikelihood([SimpleNamespace(args=pair)])
        assert found == (pytest.approx(nats, abs=1e-5), greedy)
    assert together[-1] == (0.0, True)
    assert lm.loglikelihood_rolling([SimpleNamespace(args=("",))]) == [0.0]
    (text,) = lm.generate_until([SimpleNamespace(args=("", {"until": "zz", "max_gen_toks": 3}))])
    assert len(text) == 3
    assert lm.tokenizer_name == run.name
    asked = SimpleNamespace(args=("the", {"do_sample": True, "temperature": 0.7, "top_k": 3, "seed": 5}))
    assert lm.generate_until([asked, asked])[0] == lm.generate_until([asked])[0]


def test_rounded_weights_are_used_everywhere(run: Path) -> None:
    from minitrain.evaluation.harness import MinitrainLM

    loaded = load_run(run)
    lm = MinitrainLM(loaded.model, tokenizer=loaded.tokenizer, weights="int8")
    asked = [SimpleNamespace(args=("\n" + TEXTS[1],))]
    score = score_text(with_weights(loaded.model, "int8"), loaded.tokenizer, "\n\n" + TEXTS[1], stride=8)
    assert lm.loglikelihood_rolling(asked)[0] == pytest.approx(-score.nats)
    plain = MinitrainLM(loaded.model, tokenizer=loaded.tokenizer)
    assert lm.loglikelihood_rolling(asked) != plain.loglikelihood_rolling(asked)


def test_tokens_without_text_are_not_written() -> None:
    """A published model may have more tokens than its tokenizer."""
    from minitrain.evaluation.harness import MinitrainLM

    lm = MinitrainLM(TableModel(9, 8), tokenizer=CharTokenizer("abc"))
    (text,) = lm.generate_until([SimpleNamespace(args=("a", {"max_gen_toks": 30, "do_sample": True}))])
    assert len(text) == 30
    assert set(text) <= set("abc")


def test_as_a_program_it_is_the_harness(run: Path, tasks: Any, tmp_path: Path) -> None:
    """The harness asks for ``cuda:0`` where nothing was said; without a GPU, the CPU does it."""
    command = [sys.executable, "-m", "minitrain.evaluation.harness", "run", "--model", "minitrain"]
    command += ["--model_args", f"pretrained={run}", "--tasks", "questions", "--include_path", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert re.search(r"\|questions *\|.*\|acc *\|", done.stdout), done.stdout


def test_mistakes_are_named(run: Path) -> None:
    from minitrain.evaluation.harness import MinitrainLM

    with pytest.raises(ConfigError, match="use one of float32"):
        MinitrainLM(run, weights="int4")
    with pytest.raises(ConfigError, match="text needs a tokenizer"):
        MinitrainLM(TableModel(11, 8))
    lm = MinitrainLM(TableModel(3, 8), tokenizer=CharTokenizer("abc"))
    with pytest.raises(ConfigError, match="generation_kwargs"):
        lm.generate_until([SimpleNamespace(args=("a", {"nonsense": 3}))])
