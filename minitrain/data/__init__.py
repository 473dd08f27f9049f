"""Text in, batches out: tokenizers, token files and shards, data sets, loaders that resume, and baselines to beat."""

from .baselines import bits, uniform_nats, unigram_nats
from .batches import IGNORED, Batch, Loader, PaddedBatch, split_batch
from .bpe import BPETokenizer, train_bpe_tokenizer, train_joint_bpe_tokenizer
from .bucketing import BucketLoader
from .collate import Pair, pad_collate, pair_collate, stack_collate
from .corpus import read_corpus
from .datasets import ArrayDataset, Dataset, PairDataset, SampleDataset
from .loader import TokenLoader, evaluation_batches
from .mixture import Mixture
from .packing import PackedBatch, PackedDataset, document_offsets
from .prefetch import Prefetch, PrefetchLoader
from .samples import SampleLoader, ShuffledSamples
from .shards import TokenShards, build_token_shards
from .stream import Batches, BatchIterator, TextStream
from .token_array import JoinedTokens, TokenArray
from .token_file import TokenFile, write_tokens
from .tokenizers import TOKENIZERS, ByteTokenizer, CharTokenizer, Tokenizer, build_tokenizer, tokenizer_from_json

__all__ = [
    "IGNORED",
    "TOKENIZERS",
    "ArrayDataset",
    "BPETokenizer",
    "Batch",
    "BatchIterator",
    "Batches",
    "BucketLoader",
    "ByteTokenizer",
    "CharTokenizer",
    "Dataset",
    "JoinedTokens",
    "Loader",
    "Mixture",
    "PackedBatch",
    "PackedDataset",
    "PaddedBatch",
    "Pair",
    "PairDataset",
    "Prefetch",
    "PrefetchLoader",
    "SampleDataset",
    "SampleLoader",
    "ShuffledSamples",
    "TextStream",
    "TokenArray",
    "TokenFile",
    "TokenLoader",
    "TokenShards",
    "Tokenizer",
    "bits",
    "build_token_shards",
    "build_tokenizer",
    "document_offsets",
    "evaluation_batches",
    "pad_collate",
    "pair_collate",
    "read_corpus",
    "split_batch",
    "stack_collate",
    "tokenizer_from_json",
    "train_bpe_tokenizer",
    "train_joint_bpe_tokenizer",
    "uniform_nats",
    "unigram_nats",
    "write_tokens",
]
