"""The audit's numbers against formulas and chance; a model that saw a secret often, and a private one."""

from __future__ import annotations

import json
import math
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.audit import Exposure, auc_interval, audit_run, exposures, extract, membership
from minitrain.audit.extraction import matching
from minitrain.audit.membership import found_at
from minitrain.cli import main
from minitrain.data import ByteTokenizer, CharTokenizer, make_canaries, plant, read_corpus
from minitrain.data.tokens.canaries import DIGITS, random_secrets
from minitrain.errors import ConfigError, DataError
from minitrain.models import GPT, GPTConfig
from minitrain.random import Key
from minitrain.runs import recipe, start_run

SCORES = st.lists(st.integers(-3, 3).map(float), min_size=2, max_size=30)


class Remembering:
    """A language model that writes one text, and is even about what it does not know."""

    def __init__(self, text: np.ndarray, vocabulary: int, sharpness: float = 20.0) -> None:
        self.text, self.vocabulary, self.sharpness = text, vocabulary, sharpness
        self.config = GPTConfig(vocab_size=vocabulary, block_size=64, n_layer=1, n_head=1, n_embd=2)
        self.after = {tuple(text[i - 4 : i].tolist()): int(text[i]) for i in range(4, len(text))}

    def forward(self, ids: Any, **options: Any) -> tuple[Any, None]:
        logits = np.zeros((*ids.shape, self.vocabulary), np.float32)
        for row, place in product(range(ids.shape[0]), range(3, ids.shape[1])):
            known = self.after.get(tuple(ids[row, place - 3 : place + 1].tolist()))
            if known is not None:
                logits[row, place, known] = self.sharpness
        return logits, None


@given(SCORES, SCORES)
def test_the_auc_counts_pairs_with_ties_by_half_and_has_delongs_interval(positive, negative):
    found = auc_interval(np.array(positive), np.array(negative))
    wins = np.array([[(p > n) + 0.5 * (p == n) for n in negative] for p in positive])
    assert found.value == pytest.approx(wins.mean())
    variance = wins.mean(1).var(ddof=1) / len(positive) + wins.mean(0).var(ddof=1) / len(negative)
    reach = 1.959963984540054 * math.sqrt(variance)
    assert found.low == pytest.approx(max(0, wins.mean() - reach), abs=1e-12)
    assert found.high == pytest.approx(min(1, wins.mean() + reach), abs=1e-12)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(1000):
        found = auc_interval(rng.normal(1, 1, 80), rng.normal(0, 2, 60))
        held += found.low <= 0.6726396 <= found.high  # Phi(1 / sqrt(1 + 4))
    assert 920 <= held <= 975


def test_the_auc_is_that_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(1)
    positive, negative = rng.normal(0.5, 1, 70).round(1), rng.normal(0, 1, 50).round(1)
    expected = metrics.roc_auc_score([1] * 70 + [0] * 50, [*positive, *negative])
    assert auc_interval(positive, negative).value == pytest.approx(expected)


def test_what_is_found_is_above_all_but_the_share_of_false_alarms():
    negative = np.arange(100.0)
    assert found_at(np.array([98.5, 99.5, 10.0, 200.0]), negative, 0.01) == 0.75
    assert found_at(np.array([98.5, 99.5, 10.0, 200.0]), negative, 0.0) == 0.5
    assert found_at(negative, negative, 0.1) == 0.1


@pytest.mark.parametrize("wrong", [([1.0], [0.0, 1.0]), ([1.0, math.nan], [0.0, 1.0])])
def test_scores_that_have_no_auc_are_refused(wrong):
    with pytest.raises(DataError, match="an AUC needs"):
        auc_interval(*map(np.array, wrong))


@given(st.integers(0, 40), st.integers(0, 6), st.integers(1, 4), st.integers(0, 1000))
def test_planting_adds_each_canary_and_takes_nothing_out(size, count, repeats, seed):
    text = np.arange(size) + 1000
    canaries = [np.array([10 * number, 10 * number + 1, 10 * number + 2]) for number in range(count)]
    planted = plant(text, canaries, repeats, Key.from_seed(seed))
    assert planted.size == size + 3 * repeats * count
    assert planted[planted >= 1000].tolist() == text.tolist()
    for number in range(count):
        starts = np.flatnonzero(planted == 10 * number)
        assert len(starts) == repeats
        assert all(planted[start : start + 3].tolist() == canaries[number].tolist() for start in starts)


def test_places_are_even_over_the_text():
    places = np.flatnonzero(plant(np.zeros(999, int), [np.array([7])], 2000, Key.from_seed(3)) == 7) / 2999
    assert abs(places.mean() - 0.5) < 0.02 and places.min() < 0.01 and places.max() > 0.99


def test_secrets_differ_and_are_functions_of_the_key():
    secrets = random_secrets(3000, Key.from_seed(1))
    assert len(set(secrets)) == 3000 and {len(one) for one in secrets} == {DIGITS}
    assert secrets == random_secrets(3000, Key.from_seed(1)) != random_secrets(3000, Key.from_seed(2))
    digits = np.array([[int(digit) for digit in one] for one in secrets])
    assert abs(digits.mean() - 4.5) < 4 * math.sqrt(8.25 / digits.size)
    canaries = make_canaries(5, Key.from_seed(1))
    assert len({one.prefix for one in canaries}) == 5 == len({one.secret for one in canaries})


def test_a_model_that_never_saw_them_exposes_secrets_as_chance_does():
    tokenizer = CharTokenizer.from_text("".join(one.text for one in make_canaries(40, Key.from_seed(0))) + "0123456789")
    model = GPT(GPTConfig(vocab_size=tokenizer.vocab_size, block_size=64, n_layer=1, n_head=2, n_embd=8), seed=4)
    found = exposures(model, tokenizer, make_canaries(40, Key.from_seed(0)), others=255, samples=0)
    bits = [one.bits for one in found]
    assert abs(np.mean(bits) - 1 / math.log(2)) < 4 / math.log(2) / math.sqrt(40)
    assert all(1 <= one.rank <= 256 == one.among and one.chance == pytest.approx(2**-one.bits) for one in found)


def test_a_model_that_remembers_a_secret_exposes_it_fully_and_writes_it():
    tokenizer = ByteTokenizer()
    seen, unseen = make_canaries(2, Key.from_seed(0))
    model = Remembering(np.asarray(tokenizer.encode(seen.text)), tokenizer.vocab_size)
    first, second = exposures(model, tokenizer, [seen, unseen], others=63, samples=3, slots=8)
    assert (first.rank, first.bits, first.greedy, first.sampled) == (1, 6.0, True, 3)
    assert (second.greedy, second.sampled) == (False, 0)
    assert second.rank == 64  # all are equally likely, and ties count against exposure


def test_extraction_finds_what_is_remembered_and_no_more():
    text = np.random.default_rng(0).integers(0, 50, 400)
    model = Remembering(text, 50)
    known = extract(model, text, attempts=6, prefix=8, length=8, samples=2, slots=4)
    other = extract(model, text[::-1].copy(), attempts=6, prefix=8, length=8, samples=2, slots=4)
    assert (known.greedy, known.sampled, known.mean_match) == (6, 6, 8.0)
    assert (other.greedy, other.sampled) == (0, 0) and other.mean_match < 1
    with pytest.raises(DataError, match="too short for 8 tokens and 8 to follow"):
        extract(model, text[:15], prefix=8, length=8)
    with pytest.raises(ConfigError, match="attempts = 0 must be 1 or more"):
        extract(model, text, attempts=0)


@given(st.lists(st.integers(0, 2), max_size=6), st.lists(st.integers(0, 2), max_size=6))
def test_matching_counts_to_the_first_difference(one, two):
    expected = next((i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))
    assert matching(np.array(one, int), np.array(two, int)) == expected


def test_membership_compares_the_losses_of_windows():
    text = np.random.default_rng(0).integers(0, 11, 200)
    model = GPT(GPTConfig(vocab_size=11, block_size=8, n_layer=1, n_head=2, n_embd=8), seed=4)
    found = membership(model, text, text, 8, windows=10**6, batch_size=7)
    assert found.auc.value == 0.5 and found.train_loss == pytest.approx(found.held_out_loss)
    assert found.train_windows == 24 == found.held_out_windows
    assert membership(model, text, text, 8, windows=5).train_windows == 5
    with pytest.raises(DataError, match="fewer than two windows"):
        membership(model, text, text[:9], 8)


def run_with_canaries(folder: Path, privacy: dict[str, Any] | None) -> Path:
    text = folder / "text.txt"
    text.write_text(read_corpus(None)[:12_000])
    config = recipe(
        "tiny",
        data={"path": str(text), "block_size": 40, "canaries": 4, "canary_repeats": 20},
        model={"n_layer": 1, "n_embd": 48, "n_head": 2, "dropout": 0.0},
        optimizer={"name": "adamw", "learning_rate": 1e-2},
        trainer={"max_steps": 400, "batch_size": 16, "validation_frequency": 0, "sample_tokens": 0, "save_every": 0},
        run_dir=str(folder / "run"),
        privacy=privacy,
    )
    return start_run(config).train().run_dir


def test_a_repeated_canary_is_exposed_by_ordinary_training_and_the_report_says_so(tmp_path, capsys):
    run_dir = run_with_canaries(tmp_path, None)
    audit = audit_run(run_dir, attempts=20, others=255, samples=2)
    assert audit.mean_exposure > 5  # of 8 bits; chance is 1.4
    assert audit.membership.auc.value > 0.5
    kept = json.loads((run_dir / "audit.json").read_text())
    assert [one["rank"] for one in kept["canaries"]] == [one.rank for one in audit.exposures]
    assert kept["membership"]["auc"]["value"] == audit.membership.auc.value
    capsys.readouterr()
    assert main(["audit", str(run_dir), "--attempts", "20", "--others", "255", "--samples", "2"]) == 0
    assert capsys.readouterr().out.strip() == audit.describe()
    page = (run_dir / "report.html").read_text()
    assert page.count("Memorisation audit</h2>") == 1 and "Mean exposure" in page and page.endswith("</html>\n")


@pytest.mark.slow
def test_differentially_private_training_leaves_the_same_canaries_unexposed(tmp_path):
    pytest.importorskip("dp_accounting")
    run_dir = run_with_canaries(tmp_path, {"name": "dp", "clip": 0.5, "noise_multiplier": 2.0, "seed": 1})
    audit = audit_run(run_dir, attempts=5, others=255, samples=0)
    assert audit.mean_exposure < 3.5  # chance is 1.4, with a standard deviation of 0.7 for four


def test_a_report_without_canaries_says_how_to_plant_some_and_other_runs_are_refused(tmp_path):
    assert Exposure(make_canaries(1, Key.from_seed(0))[0], 4, 64).bits == 4
    with pytest.raises(ConfigError, match="0 or more"):
        make_canaries(-1, Key.from_seed(0))
    with pytest.raises(ConfigError, match="once or more often"):
        plant(np.zeros(3, int), [np.array([1])], 0, Key.from_seed(0))
