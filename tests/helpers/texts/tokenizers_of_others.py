"""Small tokenizers of every kind that models come with, trained on the spot, as others would write them."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from tests.helpers.texts.adversarial import TRAINING

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
PATTERNS = {
    "llama-bpe": CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + REST,
    "qwen2": CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + REST,
}
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
BYTE_LEVEL = ("gpt-2", "smollm", "llama-bpe", "qwen2")
KINDS = (*BYTE_LEVEL, "sentencepiece-like", "bert")


@cache
def library_tokenizer(kind: str) -> Tokenizer:
    """A tokenizer of the library."""
    if kind == "bert":
        return _bert()
    if kind == "sentencepiece-like":
        return _byte_fallback()
    made = Tokenizer(models.BPE(ignore_merges=kind == "llama-bpe"))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=kind in ("gpt-2", "smollm"))
    if kind == "smollm":
        made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
    elif kind in PATTERNS:
        split = pre_tokenizers.Split(Regex(PATTERNS[kind]), behavior="isolated", invert=False)
        made.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    else:
        made.pre_tokenizer = byte_level
    if kind == "qwen2":
        made.normalizer = normalizers.NFC()
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator([TRAINING], trainer)
    if kind == "llama-bpe":
        made.post_processor = processors.TemplateProcessing(
            single=f"{SPECIAL[0]} $A",
            pair=f"{SPECIAL[0]} $A {SPECIAL[0]}:1 $B:1",
            special_tokens=[(SPECIAL[0], made.token_to_id(SPECIAL[0]))],
        )
    return made


def described(kind: str) -> dict[str, Any]:
    """The ``tokenizer.json`` of a kind, parsed."""
    return json.loads(library_tokenizer(kind).to_str())  # type: ignore[no-any-return]


def gguf_metadata(kind: str) -> dict[str, Any]:
    """What a GGUF file says of a byte-level tokenizer."""
    description = described(kind)
    vocab = description["model"]["vocab"]
    tokens = sorted(vocab, key=vocab.__getitem__)
    special = {token["content"] for token in description["added_tokens"]}
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": kind,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3 if token in special else 1 for token in tokens],
        "tokenizer.ggml.merges": [" ".join(pair) for pair in description["model"]["merges"]],
        "tokenizer.ggml.bos_token_id": vocab[SPECIAL[0]],
        "tokenizer.ggml.eos_token_id": vocab[SPECIAL[2]],
        "tokenizer.chat_template": "{{ messages[0].content }}",
    }


def _bert() -> Tokenizer:
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=500, special_tokens=special, show_progress=False)
    made.train_from_iterator([TRAINING], trainer)
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, made.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )
    return made


def _byte_fallback() -> Tokenizer:
    """As the fast tokenizer of Llama 2: spaces become ▁, and unknown characters bytes."""
    learned = Tokenizer(models.BPE())
    learned.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    learned.pre_tokenizer = pre_tokenizers.Split(Regex("(?=▁)"), behavior="isolated")
    learned.train_from_iterator([TRAINING], trainers.BpeTrainer(vocab_size=400, show_progress=False))
    model = json.loads(learned.to_str())["model"]
    first = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    vocab = {token: number for number, token in enumerate([*first, *model["vocab"]])}
    merges = [tuple(pair) for pair in model["merges"]]
    made = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    made.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in first[:3]])
    return made
