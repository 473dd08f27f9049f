"""BLEU, chrF and TER: sacrebleu's own corpus scores, signatures, and a clear message without it."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.errors import ConfigError, DataError
from minitrain.measures import Bleu, Chrf, Ter
from tests.helpers.measuring.measured import cuts, measured, value_of

WORDS = st.lists(st.sampled_from(["the", "cat", "sat", "Mat,", "on."]), min_size=0, max_size=6).map(" ".join)


def sacrebleu() -> Any:
    return pytest.importorskip("sacrebleu.metrics")


@pytest.mark.parametrize(
    ("measure", "name", "options"),
    [
        (Bleu, "BLEU", {}),
        (Bleu, "BLEU", {"lowercase": True, "tokenize": "char"}),
        (Chrf, "CHRF", {}),
        (Chrf, "CHRF", {"word_order": 2}),
        (Ter, "TER", {}),
    ],
)
@settings(max_examples=20)
@given(data=st.data())
def test_the_corpus_score_and_signature(measure: Any, name: str, options: Any, data: Any) -> None:
    scorer = getattr(sacrebleu(), name)(**options)
    several = st.lists(WORDS, min_size=2, max_size=2)
    texts = data.draw(st.lists(st.tuples(WORDS, several), min_size=1, max_size=6))
    found, references = [one for one, _ in texts], [wanted for _, wanted in texts]
    expected = scorer.corpus_score(found, [list(one) for one in zip(*references, strict=True)]).score
    made = measure(**options)
    assert measured(made, found, references, data.draw(cuts(len(texts)))) == {"m": expected}
    assert made.signature == scorer.get_signature().format()
    assert measure(**made.settings()).value(made.sums(made.rows(found, references))) == {"": expected}


def test_numbers_of_references_may_differ() -> None:
    sacrebleu()
    bleu = Bleu()
    assert value_of(bleu, ["a b c d", "a b c d e"], [["x", "a b c d"], "a b c d e"]) == {"": pytest.approx(100)}
    assert "nrefs:var|" in bleu.signature
    assert "nrefs:1|case:mixed|" in (one := Bleu(), value_of(one, ["a"], ["a"]), one.signature)[2]
    elsewhere = Bleu(references=lambda batch: batch["target"])
    assert value_of(elsewhere, ["a b c d"], {"target": ["a b c d"]}) == {"": pytest.approx(100)}


def test_mistakes_are_named() -> None:
    sacrebleu()
    with pytest.raises(DataError, match="sample 0 of the batch has no reference"):
        Bleu().rows(["a"], [[]])
    with pytest.raises(ConfigError, match=r"sacrebleu.BLEU does not take these options: .*nonsense"):
        Bleu(nonsense=1)


def test_without_sacrebleu_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(ConfigError, match=r"TER needs sacrebleu.*pip install 'minitrain\[evaluation\]'"):
        Ter()
