"""From text to batches: tokenizers, token files and shards, data sets, loaders, and baselines to beat."""

from .loading.batches import IGNORED, Batch, Loader, PaddedBatch, split_batch
from .loading.prefetch import Prefetch, PrefetchLoader
from .loading.stream import Batches, BatchIterator
from .samples.bucketing import BucketLoader
from .samples.collate import Pair, pad_collate, pair_collate, stack_collate
from .samples.datasets import ArrayDataset, Dataset, PairDataset, SampleDataset
from .samples.mixture import Mixture
from .samples.packing import PackedBatch, PackedDataset, document_offsets
from .samples.samples import SampleLoader, ShuffledSamples
from .text.bpe import BPETokenizer, train_bpe_tokenizer, train_joint_bpe_tokenizer
from .text.corpus import read_corpus
from .text.tokenizers import TOKENIZERS, ByteTokenizer, CharTokenizer, Tokenizer, build_tokenizer, tokenizer_from_json
from .tokens.baselines import bits, uniform_nats, unigram_nats
from .tokens.loader import TokenLoader, evaluation_batches
from .tokens.shards import TokenShards, build_token_shards
from .tokens.text_stream import TextStream
from .tokens.token_array import JoinedTokens, TokenArray
from .tokens.token_file import TokenFile, write_tokens

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
