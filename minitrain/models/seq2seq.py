"""The encoder-decoder transformer (Vaswani et al., 2017, arXiv:1706.03762), for translation and similar tasks.

In the encoder, every source token attends to every other. The decoder generates the target: each position attends to
the target before it and, through cross-attention, to the whole source. Blocks are pre-norm, which is stable without a
warm-up (Xiong et al., 2020, arXiv:2002.04745), so each stack ends with a norm. Positions are sinusoids, and the token
embeddings are scaled by sqrt(C), as in the paper; rotary positions are a setting.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..backend.arrays import Array, array_module
from ..errors import ShapeError
from ..nn.attention.heads import Rope
from ..nn.attention.past import KeyValues
from ..nn.attention.positions import SinusoidalPositions
from ..nn.blocks.block import PreNormBlockCache, TransformerBlock
from ..nn.blocks.branch import drop_path_rates
from ..nn.blocks.decoder_block import DecoderBlock, DecoderBlockCache
from ..nn.blocks.recompute import backward_keeping
from ..nn.core.init import generator, residual_std
from ..nn.core.parameter import into
from ..nn.layers.embedding import Embedding
from ..nn.layers.layer_norm import LayerNorm
from ..nn.layers.linear import Linear
from ..nn.layers.pointer_head import PointerHead, PointerHeadCache
from ..ops.contract.op import Into
from ..ops.linear.linear import LinearCache, linear_backward, linear_forward
from ..ops.norms.layer_norm import LayerNormCache
from ..random import Key, fold
from .batches import BatchFields
from .common.blocks import backward_blocks, check_unused, forward_blocks
from .common.config import check_config
from .common.continuation import Continuation, write_greedily
from .common.cross_entropy import CrossEntropyModel
from .common.embedding import EmbedCache, check_tokens, embed_backward, embed_forward, unpadded_lengths
from .flops import Flops, attention_flops, linear_flops, visible_pairs
from .seq2seq_config import Seq2SeqConfig


class EncodeCache(NamedTuple):
    """Saved for the backward of the encoder."""

    embedding: EmbedCache
    blocks: list[PreNormBlockCache]
    norm: list[LayerNormCache]


class DecodeCache(NamedTuple):
    """Saved for the backward of the decoder."""

    embedding: EmbedCache
    blocks: list[DecoderBlockCache]
    norm_and_head: list[LayerNormCache | LinearCache | PointerHeadCache]


class Seq2SeqCache(NamedTuple):
    """Saved for the backward, which pops the lists. So a cache serves one backward."""

    encoder: EncodeCache
    decoder: DecodeCache


class Seq2Seq(CrossEntropyModel):
    """An encoder-decoder transformer.

    Its batches have ``source`` (B, S) and ``target`` (B, T + 1), both padded at the end with ``pad_idx``. The target
    begins with a start token, and usually ends with an end token.

    Args:
        config: the shape.
        seed: of the initial weights: normal with standard deviation 0.02, and 0.02 / sqrt(k n_layer) where one of the k
            branches of a block writes to the residual stream, 2 in the encoder and 3 in the decoder.
        dtype: float32, or float64 for gradient checks.
    """

    config: Seq2SeqConfig
    config_type = Seq2SeqConfig
    batch_fields = BatchFields(("source", "target"))
    counts = "tokens"

    def __init__(self, config: Seq2SeqConfig, *, seed: int = 0, dtype: Any = np.float32) -> None:
        check_config(self, config)
        self.config = config
        init_rng = generator(seed)
        C = config.n_embd
        self.scale = math.sqrt(C)
        options: dict[str, Any] = {"dropout": config.dropout, "dtype": dtype}
        options["rope"] = Rope() if config.positions == "rotary" else None
        rates = drop_path_rates(config.drop_path, config.n_layer)
        encoder_std, decoder_std = (residual_std(0.02, config.n_layer, writes) for writes in (2, 3))
        self.source_emb = Embedding(config.vocab_size, C, init_rng, dtype=dtype)
        self.target_emb = (
            self.source_emb if config.share_embeddings else Embedding(config.n_targets, C, init_rng, dtype=dtype)
        )
        self.positions = None if config.positions == "rotary" else SinusoidalPositions(C)
        self.encoder = [
            TransformerBlock(C, config.n_head, init_rng, causal=False, out_std=encoder_std, drop_path=rate, **options)
            for rate in rates
        ]
        self.encoder_norm = LayerNorm(C, dtype=dtype)
        self.decoder = [
            DecoderBlock(C, config.n_head, init_rng, out_std=decoder_std, drop_path=rate, **options) for rate in rates
        ]
        self.decoder_norm = LayerNorm(C, dtype=dtype)
        self.head = Linear(C, config.n_targets, init_rng, bias=False, dtype=dtype)
        if config.tie_weights:
            self.head.weight = self.target_emb.weight
        self.pointer = PointerHead(C, init_rng, dtype=dtype) if config.pointer else None

    def encode(self, source: Array, *, key: Key | None = None) -> tuple[Array, Array, EncodeCache]:
        """Encode the source.

        Arguments and errors are those of ``forward``.

        Returns:
            memory (B, S, C), the lengths (B,) of its rows, and the cache.
        """
        check_tokens("Seq2Seq.forward: source", source, self.config.block_size)
        lengths = unpadded_lengths("Seq2Seq.forward: source", source, self.config.pad_idx)
        x, embedding = self._embed(self.source_emb, source, key)
        x, blocks = forward_blocks(self.encoder, x, key_lengths=lengths, key=key)
        memory, norm = self.encoder_norm.forward(x)
        return memory, lengths, EncodeCache(embedding, blocks, [norm])

    def decode(
        self,
        target: Array,
        memory: Array,
        memory_lengths: Array,
        *,
        source: Array | None = None,
        key: Key | None = None,
    ) -> tuple[Array, DecodeCache]:
        """Predict the target's next token at every position.

        Arguments and errors are those of ``forward``. ``memory`` (B, S, C) and ``memory_lengths`` (B,) come from
        ``encode``. Only a pointer reads ``source``.

        Returns:
            logits (B, T, V) and the cache.
        """
        check_tokens("Seq2Seq.forward: target", target, self.config.block_size)
        lengths = unpadded_lengths("Seq2Seq.forward: target", target, self.config.pad_idx)
        x, embedding = self._embed(self.target_emb, target, key)
        options: dict[str, Any] = {"memory": memory, "key_lengths": lengths, "memory_lengths": memory_lengths}
        x, blocks = forward_blocks(self.decoder, x, key=key, **options)
        x, norm = self.decoder_norm.forward(x)
        logits, head = linear_forward(x, self.head.weight.data)  # (B, T, V)
        top: list[Any] = [norm, head]
        if self.pointer is not None:
            source = self._to_copy(source)
            logits, pointer = self.pointer.forward(logits, x, memory, source, key_lengths=memory_lengths, key=key)
            top.append(pointer)
        return logits, DecodeCache(embedding, blocks, top)

    def decode_next(
        self,
        target: Array,
        memory: Array | None,
        memory_lengths: Array | None,
        past: list[tuple[KeyValues, KeyValues]],
        *,
        source: Array | None = None,
    ) -> Array:
        """Predict what follows the next tokens of each target, in evaluation.

        Args:
            target: (B, T) integers without padding, the tokens after those that ``past`` has seen.
            memory: (B, S, C) from ``encode``; without a pointer it is not needed after the first call.
            memory_lengths: (B,) the lengths of its rows, or ``None`` if none is padded.
            past: the keys and values of each block, see `new_past`; the new tokens' keys and values are added.
            source: (B, S) the sources, which a pointer copies from.

        Returns:
            logits (B, T, V).

        Raises:
            ShapeError: if the targets get longer than ``block_size``.
            TokenError: if a token is outside its vocabulary.
        """
        own = past[0][0]
        check_tokens("Seq2Seq.decode_next: target", target, self.config.block_size - own.length)
        x, _ = self._embed(self.target_emb, target, None, own.positions(target.shape[1]))
        x, _ = forward_blocks(self.decoder, x, memory=memory, memory_lengths=memory_lengths, past=past)
        x, _ = self.decoder_norm.forward(x)
        logits = linear_forward(x, self.head.weight.data)[0]  # (B, T, V)
        if self.pointer is None:
            return logits
        if memory is None:
            raise ShapeError("Seq2Seq.decode_next: a pointer needs the memory in every call; pass what encode returned")
        return self.pointer.forward(logits, x, memory, self._to_copy(source), key_lengths=memory_lengths)[0]

    def new_past(self, batch: int = 1) -> list[tuple[KeyValues, KeyValues]]:
        """Memory for the keys and values of targets and of their sources, for `decode_next`."""
        longest = self.config.block_size
        return [
            (block.attention.new_past(longest, batch), block.cross.new_past(longest, batch)) for block in self.decoder
        ]

    def forward(self, source: Array, target: Array, *, key: Key | None = None) -> tuple[Array, Seq2SeqCache]:
        """Predict the target's next token at every position.

        Args:
            source: (B, S) integers, padded at the end with ``pad_idx``.
            target: (B, T) integers, likewise: a start token and the target after it.
            key: random key of the dropout masks; ``None`` means evaluation.

        Returns:
            logits (B, T, V), with a pointer the logarithms of the probabilities, and the cache.

        Raises:
            ShapeError: if a sequence is longer than ``block_size``, or the numbers of sources and targets differ.
            DataError: if padding comes before a token.
            TokenError: if a token is outside its vocabulary.
        """
        memory, lengths, encoder = self.encode(source, key=fold(key, "encoder"))
        if len(target) != len(source):
            raise ShapeError(
                f"Seq2Seq.forward: source has {len(source)} rows and target {len(target)}; each source needs one target"
            )
        logits, decoder = self.decode(target, memory, lengths, source=source, key=fold(key, "decoder"))
        return logits, Seq2SeqCache(encoder, decoder)

    def backward(self, dlogits: Array, cache: Seq2SeqCache) -> None:
        """Add the gradients of all parameters.

        Args:
            dlogits: (B, T, V) gradient of the logits.
            cache: from the forward; it serves one backward.
        """
        encoder, decoder = cache
        check_unused(self, self.decoder, decoder.blocks)
        top: list[Any] = decoder.norm_and_head
        dmemory: Any = None  # (B, S, C): the pointer and all blocks read the memory, so their gradients add up
        copied: Any = None  # (B, T, C)
        if self.pointer is not None:
            dlogits, copied, dmemory = self.pointer.backward(dlogits, top.pop())
        dx = linear_backward(dlogits, top.pop(), into=(None, into(self.head.weight), None))[0]
        dx = self.decoder_norm.backward(dx if copied is None else dx + copied, top.pop())
        for block in reversed(self.decoder):
            target = None if dmemory is None else Into(dmemory, accumulate=True)
            dx, dmemory = backward_keeping(block, dx, decoder.blocks.pop(), dmemory=target)
        embed_backward(self.target_emb, self.positions, dx, decoder.embedding, scale=self.scale)
        dx = self.encoder_norm.backward(dmemory, encoder.norm.pop())
        dx = backward_blocks(self.encoder, dx, encoder.blocks)
        embed_backward(self.source_emb, self.positions, dx, encoder.embedding, scale=self.scale)

    @property
    def ignore_index(self) -> int:
        """The padding id: padding is ignored."""
        return self.config.pad_idx

    def logits_and_targets(self, batch: list[Any], *, key: Key | None) -> tuple[Array, Array, Seq2SeqCache]:
        """Logits (B, T, V), targets (B, T) and the forward's cache."""
        source, target = batch
        logits, cache = self.forward(source, target[:, :-1], key=key)
        return logits, target[:, 1:], cache

    def generate(self, source: Array, *, start: int, end: int | None, max_new_tokens: int) -> Array:
        """Generate the most likely token up to the end token, for each row of ``source``.

        `minitrain.generation.beam_search_targets` searches for likelier targets.

        Args:
            source: (B, S) integers, padded at the end.
            start: the token that targets begin with.
            end: the token that ends a target; the rest of the row is padding. ``None`` if there is none.
            max_new_tokens: largest number of tokens to generate, at most ``block_size``.

        Returns:
            (B, 1 + n) int32 with n at most ``max_new_tokens``: the start token and the generated ones.
        """
        xp = array_module(source)
        first = xp.full(len(source), start, dtype=xp.int32)
        return write_greedily(self.begin(source), first, end=end, pad=self.config.pad_idx, most=max_new_tokens)

    def begin(self, source: Array, *, copies: int = 1) -> Continuation:
        """Begin ``copies`` targets of each row of ``source`` (B, S), in evaluation: B * copies texts without a token.

        `minitrain.generation.beam_search_targets` chooses their tokens.
        """
        memory, lengths, _ = self.encode(source)
        memory, source = memory.repeat(copies, axis=0), source.repeat(copies, axis=0)  # (B * copies, S, C), (…, S)
        lengths = lengths.repeat(copies)
        past = self.new_past(len(source))
        return Continuation(
            lambda tokens: self.decode_next(tokens, memory, lengths, past, source=source), past, len(source)
        )

    def forward_flops(self) -> Flops:
        """Arithmetic of the forward of a source and a target of ``block_size`` tokens; see `minitrain.models.flops`."""
        T = self.config.block_size
        pointer = [] if self.pointer is None else [self.pointer]
        layers = linear_flops([*self.encoder, *self.decoder, self.head, *pointer], T)
        layers += 2 * self.config.n_embd * T * T * len(pointer)  # its scores
        pairs = self.config.n_layer * (T * T + visible_pairs(T) + T * T)  # encoder, decoder, cross-attention
        return Flops(tokens=2 * T, products=layers, attention=attention_flops(self.config.n_embd, pairs))

    def _to_copy(self, source: Array | None) -> Array:
        """The source that a pointer copies from."""
        if source is None:
            raise ShapeError("Seq2Seq: a pointer copies tokens of the source; pass source=")
        return source

    def _embed(
        self, table: Embedding, tokens: Array, key: Key | None, positions: Array | None = None
    ) -> tuple[Array, EmbedCache]:
        """Map tokens (B, T) to x (B, T, C)."""
        dropout, key = self.config.dropout, fold(key, "embedding")
        return embed_forward(
            table, self.positions, tokens, positions=positions, scale=self.scale, dropout=dropout, key=key
        )
