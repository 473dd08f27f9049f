"""Text in, batches out: corpora, tokenizers, memory-mapped token files, the loader, and baselines to beat."""

from .baselines import bits, uniform_nats, unigram_nats
from .bpe import BPETokenizer, train_bpe_tokenizer, train_joint_bpe_tokenizer
from .corpus import read_corpus
from .loader import Batch, TokenLoader, evaluation_batches
from .token_file import TokenFile, write_tokens
from .tokenizers import (
    TOKENIZERS,
    ByteTokenizer,
    CharTokenizer,
    Tokenizer,
    build_tokenizer,
    tokenizer_from_json,
)

__all__ = [
    "TOKENIZERS",
    "BPETokenizer",
    "Batch",
    "ByteTokenizer",
    "CharTokenizer",
    "TokenFile",
    "TokenLoader",
    "Tokenizer",
    "bits",
    "build_tokenizer",
    "evaluation_batches",
    "read_corpus",
    "tokenizer_from_json",
    "train_bpe_tokenizer",
    "train_joint_bpe_tokenizer",
    "uniform_nats",
    "unigram_nats",
    "write_tokens",
]
