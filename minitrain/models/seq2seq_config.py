"""The shape of an encoder-decoder transformer."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import ConfigError
from .common.config import TransformerConfig, check_positions

SEQ2SEQ_POSITIONS = ("sinusoidal", "rotary")


@dataclass(frozen=True)
class Seq2SeqConfig(TransformerConfig):
    """Shape of an encoder-decoder transformer; see also `TransformerConfig`.

    Attributes:
        vocab_size: number V of token ids, of the source and, by default, of the target.
        target_vocab_size: number of token ids of the target; ``None`` for ``vocab_size``.
        block_size: longest source, and longest input of the decoder.
        n_layer: number of blocks in each stack.
        n_embd: model width C, even.
        positions: ``"sinusoidal"`` adds waves to the vectors of the tokens, as in the paper; ``"rotary"`` rotates
            queries and keys, in the attention to the source too, so that a target finds its place in a source that it
            follows step by step.
        drop_path: probability that the last block drops its branches for a sample (stochastic depth), in [0, 1);
            it grows from block to block in proportion to the depth.
        share_embeddings: whether source and target share one table of tokens.
        tie_weights: whether the output layer shares the target's table.
        pointer: whether the next token may be copied from the source (a pointer-generator, arXiv:1704.04368): text that
            mostly stays as it is. It needs one vocabulary for both sides.
        pad_idx: id of the padding at the end of short rows.
        label_smoothing: share of each target spread over all tokens in training, in [0, 1); the paper has 0.1.
    """

    vocab_size: int
    target_vocab_size: int | None = None
    block_size: int = 64
    n_layer: int = field(default=2, kw_only=True)
    positions: str = field(default="sinusoidal", kw_only=True)
    drop_path: float = 0.0
    share_embeddings: bool = True
    tie_weights: bool = True
    pointer: bool = field(default=False, kw_only=True)
    pad_idx: int = 0

    def check_together(self) -> None:
        """Check the positions, the shared table and the padding."""
        if self.positions not in SEQ2SEQ_POSITIONS:
            raise ConfigError(f"positions = {self.positions!r}: an encoder-decoder has 'sinusoidal' or 'rotary'")
        check_positions(self)
        if self.share_embeddings and self.n_targets != self.vocab_size:
            raise ConfigError(
                f"share_embeddings = True, but target_vocab_size = {self.target_vocab_size} differs from vocab_size = "
                f"{self.vocab_size}: set share_embeddings=False, or give both languages one vocabulary"
            )
        if self.pointer and not self.share_embeddings:
            raise ConfigError(
                "pointer = True copies tokens of the source: both sides need one vocabulary and share_embeddings = True"
            )
        if not 0 <= self.pad_idx < min(self.vocab_size, self.n_targets):
            raise ConfigError(f"pad_idx = {self.pad_idx} is not in both vocabularies: use an id that is, such as 0")

    @property
    def n_targets(self) -> int:
        """Number of token ids of the target."""
        return self.target_vocab_size or self.vocab_size
