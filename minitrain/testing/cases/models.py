"""Cases of transformer blocks."""

from __future__ import annotations

from ...nn.block import TransformerBlock
from ...random import Key
from .layer import layer_case

layer_case("block", lambda rng: TransformerBlock(8, 2, rng))
layer_case("block with dropout", lambda rng: TransformerBlock(8, 4, rng, dropout=0.4, bias=False), rng=Key.from_seed(8))
