"""A tokenizer of bytes, as transformers has them, with an end token and a chat template."""

from __future__ import annotations

from typing import Any

from minitrain.data import PretrainedTokenizer
from minitrain.data.text.byte_letters import byte_letters
from minitrain.models.llama import Llama, LlamaConfig

TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'assistant' and loop.first %}{{ raise_exception('who asks?') }}{% endif %}"
    "<{{ m.role }}>{{ m.content }}<end>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
END = 256
"""Its end token, ``<end>``."""


def description() -> dict[str, Any]:
    """What its ``tokenizer.json`` says."""
    byte_level = {"type": "ByteLevel", "trim_offsets": True, "use_regex": True}
    end = {"id": END, "content": "<end>", "special": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [end | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)],
        "normalizer": None,
        "pre_tokenizer": byte_level | {"add_prefix_space": False},
        "post_processor": None,
        "decoder": byte_level | {"add_prefix_space": True},
        "model": {
            "type": "BPE",
            **dict.fromkeys(("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix")),
            **dict.fromkeys(("fuse_unk", "byte_fallback", "ignore_merges"), False),
            "vocab": {letter: number for number, letter in enumerate(byte_letters())} | {"<end>": END},
            "merges": [],
        },
    }


def tokenizer() -> PretrainedTokenizer:
    """The tokenizer."""
    return PretrainedTokenizer(description(), end=["<end>"], chat_template=TEMPLATE)


def model() -> Llama:
    """A model for it, which has more tokens than the tokenizer, as published ones may."""
    shape = LlamaConfig(vocab_size=260, block_size=64, n_layer=2, n_head=2, n_embd=16)
    made = Llama(shape, seed=2)
    for parameter in made.parameters():
        parameter.data *= 4
    return made
