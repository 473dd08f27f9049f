"""GPT-2 as transformers writes it: its linear layers are ``Conv1D``, whose matrices are (in, out)."""

from __future__ import annotations

from typing import Any

from ...models.gpt import GPT, GPTConfig
from ..family import Family, Values
from ..table import Row, row

ACTIVATIONS = {"gelu_new": "tanh", "gelu_pytorch_tanh": "tanh", "gelu": "exact", "gelu_python": "exact"}
BLOCK = (
    ("norm1", "ln_1", "C", "C", False),
    ("attention.qkv", "attn.c_attn", "A C", "A", True),
    ("attention.out", "attn.c_proj", "C Q", "C", True),
    ("norm2", "ln_2", "C", "C", False),
    ("feed_forward.up", "mlp.c_fc", "F C", "F", True),
    ("feed_forward.down", "mlp.c_proj", "C F", "C", True),
)
"""Layers of a block: ours, theirs, the shapes of weight and bias, whether the weight is transposed."""


def rows(config: GPTConfig) -> list[Row]:
    """The weights; a model without biases is written with biases of zero."""
    found = [
        row("tok_emb.weight", "wte.weight", "V C"),
        row("pos_emb.weight", "wpe.weight", "P C"),
        row("norm.weight", "ln_f.weight", "C"),
        row("norm.bias", "ln_f.bias", "C", zeros=True),
    ]
    for ours, theirs, weight, bias, transposed in BLOCK:
        found.append(row(f"blocks.{{i}}.{ours}.weight", f"h.{{i}}.{theirs}.weight", weight, transposed=transposed))
        found.append(row(f"blocks.{{i}}.{ours}.bias", f"h.{{i}}.{theirs}.bias", bias, zeros=True))
    return found


def read(values: Values, ours: Values) -> Values:
    """The activation, and the width of the feed-forward layer, which must be 4 C."""
    activation = values.pop("activation_function", "gelu_new")
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation_function = {activation!r:.100}; known are {', '.join(ACTIVATIONS)}")
    inner = values.pop("n_inner", None)
    if inner is not None and inner != 4 * ours["n_embd"]:
        raise ValueError(f"n_inner = {inner!r:.100}; it can be 4 n_embd alone")
    context = values.pop("n_ctx", None)
    if context is not None and context != ours["block_size"]:
        raise ValueError(f"n_ctx = {context!r:.100} differs from n_positions = {ours['block_size']!r:.100}")
    for name in [name for name in values if name.startswith("summary_")]:  # of a head that is not read
        del values[name]
    return {"gelu": ACTIVATIONS[activation], "bias": True}


def write(config: GPTConfig) -> Values:
    """The activation."""
    return {"activation_function": "gelu_new" if config.gelu == "tanh" else "gelu", "n_inner": None}


def fits(config: Any) -> bool:
    """Whether it is a GPT with GPT-2's positions and heads."""
    heads = config.n_kv_head if isinstance(config, GPTConfig) else None
    return isinstance(config, GPTConfig) and config.positions == "learned" and heads in (None, config.n_head)


GPT2 = Family(
    name="gpt2",
    architectures=("GPT2LMHeadModel", "GPT2Model"),
    model=GPT,
    config=GPTConfig,
    settings={
        "vocab_size": "vocab_size",
        "n_positions": "block_size",
        "n_embd": "n_embd",
        "n_layer": "n_layer",
        "n_head": "n_head",
        "layer_norm_epsilon": "eps",
        "tie_word_embeddings": "tie_weights",
    },
    defaults={"layer_norm_epsilon": 1e-5, "tie_word_embeddings": True},
    fixed={
        "scale_attn_weights": (True,),
        "scale_attn_by_inverse_layer_idx": (False,),
        "reorder_and_upcast_attn": (False, True),  # another order of the same sums
    },
    dropouts=("attn_pdrop", "embd_pdrop", "resid_pdrop"),
    rows=rows,
    fits=fits,
    read=read,
    write=write,
    head=row("head.weight", "lm_head.weight", "V C"),
    prefix="transformer.",
    ignored=(r"(transformer\.)?h\.\d+\.attn\.(bias|masked_bias)",),
)
