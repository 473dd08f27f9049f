"""A model that writes a text about an image: a `ViT`'s encoder, and a decoder with attention to the image's patches.

The parts are those of the vision transformer (Dosovitskiy et al., 2021, arXiv:2010.11929) and of the encoder-decoder
(Vaswani et al., 2017, arXiv:1706.03762), see `Seq2Seq`. Blocks are pre-norm.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..backend.arrays import Array, array_module
from ..errors import ConfigError, ShapeError
from ..nn.attention.past import KeyValues
from ..nn.attention.positions import LearnedPositions
from ..nn.blocks.block import PreNormBlockCache, TransformerBlock
from ..nn.blocks.branch import drop_path_rates
from ..nn.blocks.decoder_block import DecoderBlock, DecoderBlockCache
from ..nn.blocks.recompute import backward_keeping
from ..nn.core.init import generator, residual_std
from ..nn.core.parameter import into
from ..nn.layers.embedding import Embedding
from ..nn.layers.layer_norm import LayerNorm
from ..nn.layers.linear import Linear
from ..ops.contract.op import Into
from ..ops.linear.linear import LinearCache, linear_backward, linear_forward
from ..ops.norms.layer_norm import LayerNormCache
from ..random import Key, fold
from .batches import BatchFields
from .common.blocks import backward_blocks, check_unused, forward_blocks
from .common.config import TransformerConfig, check_config
from .common.continuation import Continuation, write_greedily
from .common.cross_entropy import CrossEntropyModel
from .common.embedding import EmbedCache, check_tokens, embed_backward, embed_forward, unpadded_lengths
from .common.image_embedding import EmbedsImages, ImageEmbedCache, check_patches
from .flops import Flops, attention_flops, linear_flops, visible_pairs


@dataclass(frozen=True)
class CaptionerConfig(TransformerConfig):
    """Shape of a captioner; see also `TransformerConfig`.

    Attributes:
        vocab_size: number V of token ids.
        image_size: height and width of an image, in pixels.
        patch: height and width of a patch; divides ``image_size``.
        channels: number of channels of an image, 1 for grey and 3 for colour.
        block_size: longest text, with its end token.
        n_layer: number of blocks of the encoder.
        decoder_layer: number of blocks of the decoder.
        stem: how a patch becomes a vector: ``"patch"`` by one linear map, ``"conv"`` by strided convolutions.
        stem_depth: convolutions of the stem after each that halves the image, which keep its size.
        drop_path: probability that the last block of each stack drops its branches for a sample, in [0, 1).
        tie_weights: whether the output layer shares the table of tokens.
        pad_idx: id of the padding at the end of short rows.
    """

    vocab_size: int
    image_size: int
    patch: int = 4
    channels: int = 3
    block_size: int = 32
    n_layer: int = field(default=3, kw_only=True)
    decoder_layer: int = 2
    stem: str = "patch"
    stem_depth: int = 0
    drop_path: float = 0.0
    tie_weights: bool = True
    pad_idx: int = 0

    def check_together(self) -> None:
        """Check the patches and the padding."""
        check_patches(self)
        if not 0 <= self.pad_idx < self.vocab_size:
            raise ConfigError(f"pad_idx = {self.pad_idx} is not in the vocabulary: use an id that is, such as 0")

    @property
    def pool(self) -> str:
        """The decoder reads all patches; there is no class token."""
        return "mean"


class EncodeCache(NamedTuple):
    """Saved for the backward of the encoder."""

    embedding: ImageEmbedCache
    blocks: list[PreNormBlockCache]
    norm: list[LayerNormCache]


class DecodeCache(NamedTuple):
    """Saved for the backward of the decoder."""

    embedding: EmbedCache
    blocks: list[DecoderBlockCache]
    norm_and_head: list[LayerNormCache | LinearCache]


class CaptionerCache(NamedTuple):
    """Saved for the backward, which pops the lists. So a cache serves one backward."""

    encoder: EncodeCache
    decoder: DecodeCache


class Captioner(EmbedsImages, CrossEntropyModel):
    """Writes a text about an image.

    Its batches have ``images`` (B, channels, image_size, image_size) and ``texts`` (B, T + 1), padded at the end with
    ``pad_idx``. A text begins with a start token, and usually ends with an end token.

    Args:
        config: the shape.
        seed: of the initial weights: normal with standard deviation 0.02, and 0.02 / sqrt(k n) where one of the k
            branches of n blocks writes to the residual stream, 2 in the encoder and 3 in the decoder.
        dtype: float32, or float64 for gradient checks.
    """

    config: CaptionerConfig
    config_type = CaptionerConfig
    batch_fields = BatchFields(("images", "texts"))
    counts = "tokens"

    def __init__(self, config: CaptionerConfig, *, seed: int = 0, dtype: Any = np.float32) -> None:
        check_config(self, config)
        self.config = config
        init_rng = generator(seed)
        C, heads = config.n_embd, config.n_head
        self.make_embedding(init_rng, dtype)
        options: dict[str, Any] = {"dropout": config.dropout, "dtype": dtype}
        encoder_std, decoder_std = residual_std(0.02, config.n_layer, 2), residual_std(0.02, config.decoder_layer, 3)
        self.encoder = [
            TransformerBlock(C, heads, init_rng, causal=False, out_std=encoder_std, drop_path=rate, **options)
            for rate in drop_path_rates(config.drop_path, config.n_layer)
        ]
        self.encoder_norm = LayerNorm(C, dtype=dtype)
        self.tok_emb = Embedding(config.vocab_size, C, init_rng, dtype=dtype)
        self.text_pos_emb = LearnedPositions(config.block_size, C, init_rng, dtype=dtype)
        self.decoder = [
            DecoderBlock(C, heads, init_rng, out_std=decoder_std, drop_path=rate, **options)
            for rate in drop_path_rates(config.drop_path, config.decoder_layer)
        ]
        self.decoder_norm = LayerNorm(C, dtype=dtype)
        self.head = Linear(C, config.vocab_size, init_rng, bias=False, dtype=dtype)
        if config.tie_weights:
            self.head.weight = self.tok_emb.weight

    def encode(self, images: Array, *, key: Key | None = None) -> tuple[Array, EncodeCache]:
        """Encode images (B, channels, image_size, image_size) as memory (B, patches, C)."""
        x, embedding = self.embed(images, key=fold(key, "embedding"))
        x, blocks = forward_blocks(self.encoder, x, key=key)
        memory, norm = self.encoder_norm.forward(x)
        return memory, EncodeCache(embedding, blocks, [norm])

    def decode(self, texts: Array, memory: Array, *, key: Key | None = None) -> tuple[Array, DecodeCache]:
        """Predict the next token at every position of texts (B, T); arguments and errors are those of ``forward``.

        Returns:
            logits (B, T, V) and the cache.
        """
        config = self.config
        check_tokens("Captioner.forward: texts", texts, config.block_size)
        lengths = unpadded_lengths("Captioner.forward: texts", texts, config.pad_idx)
        x, embedding = embed_forward(
            self.tok_emb, self.text_pos_emb, texts, dropout=config.dropout, key=fold(key, "embedding")
        )
        x, blocks = forward_blocks(self.decoder, x, key=key, memory=memory, key_lengths=lengths)
        x, norm = self.decoder_norm.forward(x)
        logits, head = linear_forward(x, self.head.weight.data)  # (B, T, V)
        return logits, DecodeCache(embedding, blocks, [norm, head])

    def decode_next(self, texts: Array, memory: Array | None, past: list[tuple[KeyValues, KeyValues]]) -> Array:
        """Predict what follows the next tokens (B, T) of each text, in evaluation.

        Args:
            texts: (B, T) integers without padding, the tokens after those that ``past`` has seen.
            memory: (B, patches, C) from ``encode``; not needed after the first call.
            past: the keys and values of each block, see `new_past`; the new tokens' keys and values are added.

        Returns:
            logits (B, T, V).

        Raises:
            ShapeError: if the texts get longer than ``block_size``.
            TokenError: if a token is outside the vocabulary.
        """
        own = past[0][0]
        check_tokens("Captioner.decode_next: texts", texts, self.config.block_size - own.length)
        places = own.positions(texts.shape[1])
        x, _ = embed_forward(self.tok_emb, self.text_pos_emb, texts, positions=places, dropout=0.0, key=None)
        x, _ = forward_blocks(self.decoder, x, memory=memory, past=past)
        x, _ = self.decoder_norm.forward(x)
        return linear_forward(x, self.head.weight.data)[0]  # (B, T, V)

    def new_past(self, batch: int = 1) -> list[tuple[KeyValues, KeyValues]]:
        """Memory for the keys and values of texts and of images, for `decode_next`."""
        longest, patches = self.config.block_size, self.image_length
        return [
            (block.attention.new_past(longest, batch), block.cross.new_past(patches, batch)) for block in self.decoder
        ]

    def forward(self, images: Array, texts: Array, *, key: Key | None = None) -> tuple[Array, CaptionerCache]:
        """Predict the next token at every position of the texts.

        Args:
            images: (B, channels, image_size, image_size).
            texts: (B, T) integers, padded at the end with ``pad_idx``: a start token and the text after it.
            key: random key of the dropout masks; ``None`` means evaluation.

        Returns:
            logits (B, T, V) and the cache.

        Raises:
            ShapeError: if a text is longer than ``block_size``, images are of another size, or the numbers of images
                and texts differ.
            DataError: if padding comes before a token.
            TokenError: if a token is outside the vocabulary.
        """
        if len(texts) != len(images):
            raise ShapeError(
                f"Captioner.forward: there are {len(images)} images and {len(texts)} texts; each image needs one text"
            )
        memory, encoder = self.encode(images, key=fold(key, "encoder"))
        logits, decoder = self.decode(texts, memory, key=fold(key, "decoder"))
        return logits, CaptionerCache(encoder, decoder)

    def backward(self, dlogits: Array, cache: CaptionerCache) -> None:
        """Add the gradients of all parameters; images have none.

        Args:
            dlogits: (B, T, V) gradient of the logits.
            cache: from the forward; it serves one backward.
        """
        encoder, decoder = cache
        check_unused(self, self.decoder, decoder.blocks)
        top: list[Any] = decoder.norm_and_head
        dx = linear_backward(dlogits, top.pop(), into=(None, into(self.head.weight), None))[0]
        dx = self.decoder_norm.backward(dx, top.pop())
        dmemory: Any = None  # (B, patches, C): all blocks read the memory, so their gradients add up
        for block in reversed(self.decoder):
            target = None if dmemory is None else Into(dmemory, accumulate=True)
            dx, dmemory = backward_keeping(block, dx, decoder.blocks.pop(), dmemory=target)
        embed_backward(self.tok_emb, self.text_pos_emb, dx, decoder.embedding)
        dx = self.encoder_norm.backward(dmemory, encoder.norm.pop())
        dx = backward_blocks(self.encoder, dx, encoder.blocks)
        self.embed_backward(dx, encoder.embedding)

    @property
    def ignore_index(self) -> int:
        """The padding id: padding is ignored."""
        return self.config.pad_idx

    def logits_and_targets(self, batch: list[Any], *, key: Key | None) -> tuple[Array, Array, CaptionerCache]:
        """Logits (B, T, V), targets (B, T) and the forward's cache."""
        images, texts = batch
        logits, cache = self.forward(images, texts[:, :-1], key=key)
        return logits, texts[:, 1:], cache

    def generate(self, images: Array, *, start: int, end: int | None, max_new_tokens: int) -> Array:
        """Write the most likely token up to the end token, for each image.

        `minitrain.generation.beam_search_targets` searches for likelier texts.

        Args:
            images: (B, channels, image_size, image_size).
            start: the token that texts begin with.
            end: the token that ends a text; the rest of the row is padding. ``None`` if there is none.
            max_new_tokens: largest number of tokens to write, at most ``block_size``.

        Returns:
            (B, 1 + n) int32 with n at most ``max_new_tokens``: the start token and the written ones.
        """
        xp = array_module(images)
        first = xp.full(len(images), start, dtype=xp.int32)
        return write_greedily(self.begin(images), first, end=end, pad=self.config.pad_idx, most=max_new_tokens)

    def begin(self, images: Array, *, copies: int = 1) -> Continuation:
        """Begin ``copies`` texts about each of B images, in evaluation: B * copies texts without a token.

        `minitrain.generation.beam_search_targets` chooses their tokens.
        """
        memory = self.encode(images)[0].repeat(copies, axis=0)  # (B * copies, patches, C)
        past = self.new_past(len(memory))
        return Continuation(lambda tokens: self.decode_next(tokens, memory, past), past, len(memory))

    def forward_flops(self) -> Flops:
        """Arithmetic of the forward of an image and a text of ``block_size`` tokens; see `minitrain.models.flops`."""
        S, T = self.image_length, self.config.block_size
        encoder = self.embedding_flops() + linear_flops(self.encoder, S)
        decoder = linear_flops([*self.decoder, self.head], T)
        keys_of_memory = sum(
            linear_flops(block.cross.kv, S) - linear_flops(block.cross.kv, T) for block in self.decoder
        )
        pairs = len(self.encoder) * S * S + len(self.decoder) * (visible_pairs(T) + T * S)
        return Flops(S + T, encoder + decoder + keys_of_memory, attention_flops(self.config.n_embd, pairs))
