"""Text in, batches out: corpora, tokenizers, memory-mapped token files, the loader, and baselines to beat."""

from .baselines import bits, uniform_nats, unigram_nats
from .batches import IGNORED, Batch, Loader, PaddedBatch, split_batch
from .bpe import BPETokenizer, train_bpe_tokenizer, train_joint_bpe_tokenizer
from .corpus import read_corpus
from .loader import TokenLoader, evaluation_batches
from .shards import TokenShards, build_token_shards
from .token_array import JoinedTokens, TokenArray
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
    "IGNORED",
    "TOKENIZERS",
    "BPETokenizer",
    "Batch",
    "ByteTokenizer",
    "CharTokenizer",
    "JoinedTokens",
    "Loader",
    "PaddedBatch",
    "TokenArray",
    "TokenFile",
    "TokenLoader",
    "TokenShards",
    "Tokenizer",
    "bits",
    "build_token_shards",
    "build_tokenizer",
    "evaluation_batches",
    "read_corpus",
    "split_batch",
    "tokenizer_from_json",
    "train_bpe_tokenizer",
    "train_joint_bpe_tokenizer",
    "uniform_nats",
    "unigram_nats",
    "write_tokens",
]
