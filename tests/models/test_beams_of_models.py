"""Beam search with the encoder-decoders: that of the definition, without a cache, for each input alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from minitrain.generation import beam_search_targets
from minitrain.models import Captioner, CaptionerConfig, Seq2Seq, Seq2SeqConfig
from tests.helpers.decoding.plain_decoding import plain_beam_search

START, END, V, LONGEST = 1, 2, 12, 8


class Alone:
    """A model with one input, as a model of its targets, which runs them whole and never writes padding."""

    def __init__(self, model: Any, inputs: Any) -> None:
        self.model, self.inputs = model, inputs
        self.config = SimpleNamespace(vocab_size=V, block_size=LONGEST)

    def forward(self, tokens: Any) -> tuple[Any, None]:
        logits, _ = self.model.forward(self.inputs, tokens)
        logits = np.array(logits)
        logits[..., 0] = -np.inf
        return logits, None


def lively(model: Any) -> Any:
    """Larger weights, so that what it writes depends on the input."""
    rng = np.random.default_rng(7)
    for parameter in model.parameters():
        if parameter.data.ndim > 1:
            parameter.data[...] = 0.5 * rng.standard_normal(parameter.data.shape)
    return model


def translator(**options: Any) -> tuple[Any, Any, list[Any]]:
    """A model, padded sources, and each source alone."""
    config = Seq2SeqConfig(
        vocab_size=V, block_size=LONGEST, n_layer=2, n_head=2, n_embd=16, tie_weights=False, **options
    )
    rng = np.random.default_rng(0)
    sources = [rng.integers(3, V, length).astype(np.int32) for length in (8, 3, 1, 5)]
    padded = np.stack([np.pad(source, (0, 8 - len(source))) for source in sources])
    return lively(Seq2Seq(config, seed=3)), padded, [source[None] for source in sources]


def writer_about_images() -> tuple[Any, Any, list[Any]]:
    """The same with images."""
    config = CaptionerConfig(
        vocab_size=V, block_size=LONGEST, image_size=4, patch=2, channels=1, n_layer=1, n_head=2, n_embd=16
    )
    images = np.random.default_rng(0).standard_normal((4, 1, 4, 4)).astype(np.float32)
    return lively(Captioner(config, seed=1)), images, list(images[:, None])


MODELS: dict[str, Any] = {
    "sinusoidal": translator,
    "pointer": lambda: translator(pointer=True),
    "rotary": lambda: translator(positions="rotary"),
    "images": writer_about_images,
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("beams", [1, 4])
def test_models(name: str, beams: int) -> None:
    """The same texts and scores; one beam writes what ``generate`` does."""
    model, inputs, single = MODELS[name]()
    search: dict[str, Any] = {"num_beams": beams, "num_return_sequences": beams, "max_new_tokens": LONGEST}
    found = beam_search_targets(model, inputs, start=START, end=END, **search)
    assert len({row[0].tokens.tobytes() for row in found}) > 1
    for one, row in zip(single, found, strict=True):
        definition = {"beams": beams, "new": LONGEST, "length_penalty": 1.0, "early": False, "stops": (END,)}
        expected = plain_beam_search(Alone(model, one), [START], **definition).ended  # type: ignore[arg-type]
        assert [tuple(text.tokens.tolist()) for text in row] == [text.tokens for text in expected]
        assert [text.score for text in row] == pytest.approx([text.score for text in expected], rel=1e-5)
    if beams == 1:
        greedy = model.generate(inputs, start=START, end=END, max_new_tokens=LONGEST)[:, 1:]
        assert [best.tokens.tolist() for (best,) in found] == [row[row != 0].tolist() for row in greedy]
