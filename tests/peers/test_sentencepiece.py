"""Our SentencePiece tokenizer against the library that trained the vocabulary."""

from __future__ import annotations

import io
import random
from typing import Any

import pytest

sentencepiece = pytest.importorskip("sentencepiece")

from minitrain.data import SentencePieceTokenizer  # noqa: E402
from minitrain.data.text.sentencepiece import BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED  # noqa: E402
from tests.helpers.texts.adversarial import TRAINING, adversarial_text  # noqa: E402

pytestmark = pytest.mark.peers
DEFINED = ["<|tool|>", "aa▁bb"]


@pytest.fixture(scope="module", params=[True, False], ids=["prefix", "no prefix"])
def both(request: pytest.FixtureRequest) -> tuple[Any, SentencePieceTokenizer]:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*TRAINING.split("\n"), "aaaa aaaaaaa  ==== ====== --------", "aa aaa aaaaa     x"] * 5),
        model_writer=model,
        model_type="bpe",
        vocab_size=700,
        byte_fallback=True,
        character_coverage=0.98,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=request.param,
        split_by_whitespace=False,
        user_defined_symbols=DEFINED,
        allow_whitespace_only_pieces=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    library = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    size = library.get_piece_size()
    pieces = [library.id_to_piece(n) for n in range(size)]
    kinds = [
        CONTROL
        if library.is_control(n)
        else UNKNOWN
        if library.is_unknown(n)
        else BYTE
        if library.is_byte(n)
        else USER_DEFINED
        if pieces[n] in DEFINED
        else NORMAL
        for n in range(size)
    ]
    scores = [library.get_score(n) for n in range(size)]
    return library, SentencePieceTokenizer(pieces, scores, kinds, space_prefix=request.param, begin=1, end=[2])


def test_ids_and_texts(both: tuple[Any, SentencePieceTokenizer]) -> None:
    library, tokenizer = both
    numbers = random.Random(3)
    texts = [adversarial_text(numbers) for _ in range(3000)]
    texts += ["".join(numbers.choices("aax= b-▁", k=numbers.randint(0, 40))) for _ in range(3000)]
    for text in (*texts, "", " ", "<|tool|>x<|tool|>", "aa bb aa▁bb"):
        text = text.replace("\0", "")  # which ends a text for the library
        ids = library.encode(text)
        assert tokenizer.encode(text).tolist() == ids
        assert tokenizer.decode(ids) == library.decode(ids)
