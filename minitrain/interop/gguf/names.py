"""Settings and names of weights of the model families in GGUF, as llama.cpp and its converters write them.

One table is a row for each weight, as in `minitrain.interop.families`. Llama's queries and keys have their rows in
another order there, see `minitrain.interop.table.permuted`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...models.bert import Bert, BertConfig
from ...models.gpt import GPT, GPTConfig
from ...models.llama import Llama, LlamaConfig
from ..families.llama import family_name
from ..table import Part, Row, row

TOKENS, POSITIONS, TYPES = "token_embd.weight", "position_embd.weight", "token_types.weight"
OUTPUT, OUTPUT_NORM, ROPE = "output.weight", "output_norm", "rope_freqs.weight"
EMBEDDING_NORM = "token_embd_norm"


@dataclass(frozen=True)
class Architecture:
    """A family in GGUF.

    Attributes:
        name: ``general.architecture``; the names of its settings begin with it.
        model: the class of minitrain.
        config: the class of its configuration.
        settings: minitrain's settings by those of the file, without the architecture.
        defaults: settings that may be missing.
        rows: the weights of a configuration.
        fits: whether a configuration of minitrain is of this family.
        own: minitrain's settings that the family stands for.
    """

    name: str
    model: type[Any]
    config: type[Any]
    settings: Mapping[str, str]
    defaults: Mapping[str, Any]
    rows: Callable[[Any], Sequence[Row]]
    fits: Callable[[Any], bool]
    own: Mapping[str, Any]


SETTINGS = {
    "context_length": "block_size",
    "embedding_length": "n_embd",
    "block_count": "n_layer",
    "feed_forward_length": "n_hidden",
    "attention.head_count": "n_head",
}
LLAMA_SETTINGS = SETTINGS | {
    "attention.head_count_kv": "n_kv_head",
    "attention.layer_norm_rms_epsilon": "eps",
    "rope.freq_base": "rope_base",
}
KNOWN = {
    "vocab_size": "V",
    "rope.dimension_count": "D",
    "attention.key_length": "D",
    "attention.value_length": "D",
    "embedding_length_out": "C",
}
"""Settings that repeat a size, whose letter they must agree with (see `minitrain.interop.table.decoder_sizes`)."""
FIXED: dict[str, tuple[Any, ...]] = {
    "attention.causal": (True,),
    "expert_count": (0,),
    "expert_used_count": (0,),
    "use_parallel_residual": (False,),
    "tensor_data_layout": ("Meta AI original pth",),
    "attention.max_alibi_bias": (0.0,),
    "attention.clamp_kqv": (0.0,),
    "logit_scale": (0.0, 1.0),
    "nextn_predict_layers": (0,),
}
"""Other settings, with the values that minitrain's models stand for."""


def _llama_rows(permute: bool) -> Callable[[LlamaConfig], list[Row]]:
    def rows(config: LlamaConfig) -> list[Row]:
        block, ours = "blk.{i}.", "blocks.{i}."
        heads = {"q": "H", "k": "G", "v": ""} if permute else dict.fromkeys("qkv", "")

        def qkv(what: str, columns: str) -> tuple[Part, ...]:
            sizes = zip("qkv", "QKK", strict=True)
            return tuple(Part(f"{block}attn_{name}.{what}", size + columns, heads[name]) for name, size in sizes)

        found = [
            row("tok_emb.weight", TOKENS, "V C"),
            row("norm.weight", f"{OUTPUT_NORM}.weight", "C"),
            row(ours + "norm1.weight", block + "attn_norm.weight", "C"),
            Row(ours + "attention.qkv.weight", qkv("weight", " C")),
            row(ours + "attention.out.weight", block + "attn_output.weight", "C Q"),
            row(ours + "norm2.weight", block + "ffn_norm.weight", "C"),
            row(ours + "feed_forward.gate.weight", block + "ffn_gate.weight", "F C"),
            row(ours + "feed_forward.up.weight", block + "ffn_up.weight", "F C"),
            row(ours + "feed_forward.down.weight", block + "ffn_down.weight", "C F"),
        ]
        if config.qkv_bias:
            found.append(Row(ours + "attention.qkv.bias", qkv("bias", "")))
        if config.qk_norm:
            found += [row(f"{ours}attention.{z}_norm.weight", f"{block}attn_{z}_norm.weight", "D") for z in "qk"]
        return _with_head(found, config)

    return rows


def _with_head(rows: list[Row], config: Any) -> list[Row]:
    return rows if config.tie_weights else [*rows, row("head.weight", OUTPUT, "V C")]


def _both(ours: str, theirs: str, shape: str) -> list[Row]:
    """A layer's weight and bias."""
    bias = shape.split()[0]
    return [row(f"{ours}.weight", f"{theirs}.weight", shape), row(f"{ours}.bias", f"{theirs}.bias", bias, zeros=True)]


def _gpt_rows(config: GPTConfig) -> list[Row]:
    block, ours = "blk.{i}.", "blocks.{i}."
    return _with_head(
        [
            row("tok_emb.weight", TOKENS, "V C"),
            row("pos_emb.weight", POSITIONS, "P C"),
            *_both("norm", OUTPUT_NORM, "C"),
            *_both(ours + "norm1", block + "attn_norm", "C"),
            *_both(ours + "attention.qkv", block + "attn_qkv", "A C"),
            *_both(ours + "attention.out", block + "attn_output", "C Q"),
            *_both(ours + "norm2", block + "ffn_norm", "C"),
            *_both(ours + "feed_forward.up", block + "ffn_up", "F C"),
            *_both(ours + "feed_forward.down", block + "ffn_down", "C F"),
        ],
        config,
    )


def _bert_rows(config: BertConfig) -> list[Row]:
    block, ours = "blk.{i}.", "blocks.{i}."
    qkv = [
        Row(
            f"{ours}attention.qkv.{what}",
            tuple(Part(f"{block}attn_{z}.{what}", size + columns) for z, size in zip("qkv", "QKK", strict=True)),
        )
        for what, columns in (("weight", " C"), ("bias", ""))
    ]
    return [
        row("tok_emb.weight", TOKENS, "V C"),
        row("pos_emb.weight", POSITIONS, "P C"),
        row("type_emb.weight", TYPES, "T C"),
        *_both("norm", EMBEDDING_NORM, "C"),
        *qkv,
        *_both(ours + "attention.out", block + "attn_output", "C Q"),
        *_both(ours + "norm1", block + "attn_output_norm", "C"),
        *_both(ours + "feed_forward.up", block + "ffn_up", "F C"),
        *_both(ours + "feed_forward.down", block + "ffn_down", "C F"),
        *_both(ours + "norm2", block + "layer_output_norm", "C"),
    ]


def _is_gpt(config: Any) -> bool:
    if not isinstance(config, GPTConfig):
        return False
    return config.positions == "learned" and config.n_kv_head in (None, config.n_head)


def _is_llama(*names: str) -> Callable[[Any], bool]:
    # llama.cpp has no window for these architectures: the model would not be the same
    return lambda config: isinstance(config, LlamaConfig) and family_name(config) in names and config.window is None


def _is_bert(config: Any) -> bool:
    return isinstance(config, BertConfig) and config.pooler == "absent" and config.normalize


def _llama(name: str, **own: Any) -> Architecture:
    return Architecture(
        name=name,
        model=Llama,
        config=LlamaConfig,
        settings=LLAMA_SETTINGS,
        defaults={"attention.head_count_kv": None, "rope.freq_base": 10000.0},
        rows=_llama_rows(permute=name == "llama"),
        fits=_is_llama(name),
        own=own,
    )


ARCHITECTURES = {
    architecture.name: architecture
    for architecture in (
        Architecture(
            name="gpt2",
            model=GPT,
            config=GPTConfig,
            settings={name: ours for name, ours in SETTINGS.items() if ours != "n_hidden"}
            | {"attention.layer_norm_epsilon": "eps"},
            defaults={},
            rows=_gpt_rows,
            fits=_is_gpt,
            own={"bias": True, "gelu": "tanh"},
        ),
        _llama("llama"),
        _llama("qwen2", qkv_bias=True),
        _llama("qwen3", qk_norm=True),
        Architecture(
            name="bert",
            model=Bert,
            config=BertConfig,
            settings=SETTINGS | {"attention.layer_norm_epsilon": "eps"},
            defaults={},
            rows=_bert_rows,
            fits=_is_bert,
            own={},
        ),
    )
}
"""The families by ``general.architecture``."""
