"""Llama 2 and 3, SmolLM, Mistral, Qwen2 and Qwen3 as transformers writes them.

One table of weights serves all. They differ in their settings: Mistral has a window, Qwen2 biases of queries, keys and
values, Qwen3 norms of queries and keys.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ...models.llama import Llama, LlamaConfig
from ..family import Family, Values
from ..table import Part, Row, row
from .rope import read_rope, write_rope

SETTINGS = {
    "vocab_size": "vocab_size",
    "max_position_embeddings": "block_size",
    "hidden_size": "n_embd",
    "intermediate_size": "n_hidden",
    "num_hidden_layers": "n_layer",
    "num_attention_heads": "n_head",
    "num_key_value_heads": "n_kv_head",
    "rms_norm_eps": "eps",
    "tie_word_embeddings": "tie_weights",
}
DEFAULTS = {"rms_norm_eps": 1e-6, "tie_word_embeddings": False}


def rows(config: LlamaConfig) -> list[Row]:
    """The weights, those of biases and norms of queries and keys if the model has them."""
    layer = "layers.{i}."
    attention, ours = layer + "self_attn.", "blocks.{i}.attention."
    found = [
        row("tok_emb.weight", "embed_tokens.weight", "V C"),
        row("norm.weight", "norm.weight", "C"),
        row("blocks.{i}.norm1.weight", layer + "input_layernorm.weight", "C"),
        Row(ours + "qkv.weight", _qkv(attention, "weight", " C")),
        row(ours + "out.weight", attention + "o_proj.weight", "C Q"),
        row("blocks.{i}.norm2.weight", layer + "post_attention_layernorm.weight", "C"),
        row("blocks.{i}.feed_forward.gate.weight", layer + "mlp.gate_proj.weight", "F C"),
        row("blocks.{i}.feed_forward.up.weight", layer + "mlp.up_proj.weight", "F C"),
        row("blocks.{i}.feed_forward.down.weight", layer + "mlp.down_proj.weight", "C F"),
    ]
    if config.qkv_bias:
        found.append(Row(ours + "qkv.bias", _qkv(attention, "bias", "")))
    if config.qk_norm:
        found += [row(f"{ours}{name}_norm.weight", f"{attention}{name}_norm.weight", "D") for name in "qk"]
    return found


def _qkv(attention: str, what: str, columns: str) -> tuple[Part, ...]:
    """Queries, keys and values, which minitrain has as one matrix."""
    return tuple(
        Part(f"{attention}{name}_proj.{what}", size + columns) for name, size in zip("qkv", "QKK", strict=True)
    )


def read(
    values: Values,
    ours: Values,
    *,
    base: float,
    head_width: int | None = None,
    window: Callable[..., int | None],
    **own: Any,
) -> Values:
    """Positions, the width of a head and the window.

    Args:
        values: settings of the file; what is read is taken out.
        ours: the settings so far.
        base: of the rotation, if the file does not say.
        head_width: width of a head, if the file does not say; ``None`` for C / H.
        window: reads the window from the values.
        own: minitrain's settings of this family.
    """
    D = values.pop("head_dim", head_width)
    if D is not None and not isinstance(D, int):
        raise ValueError(f"head_dim = {D!r:.100} must be a whole number")
    if D is not None and D * ours["n_head"] == ours["n_embd"]:
        D = None
    return own | {"head_width": D, "window": window(values, ours)} | read_rope(values, base)


def no_window(values: Values, ours: Values) -> None:
    """Llama has none, whatever its relatives' settings say."""


def mistral_window(values: Values, ours: Values) -> int | None:
    """Every block has it, or none."""
    window: int | None = values.pop("sliding_window", 4096)
    return window if _all_slide(values, ours, window is not None) else None


def qwen_window(values: Values, ours: Values) -> int | None:
    """It counts from block ``max_window_layers`` on, if it is used at all."""
    window, first = values.pop("sliding_window", 4096), values.pop("max_window_layers", 28)
    layers = ours["n_layer"]
    if not values.pop("use_sliding_window", False) or window is None or first >= layers:
        slides = False
    elif first > 0 and "layer_types" not in values:
        raise ValueError(f"max_window_layers = {first}: a window in some of the blocks is not possible here")
    else:
        slides = True
    return window if _all_slide(values, ours, slides) else None


def _all_slide(values: Values, ours: Values, slides: bool) -> bool:
    """Whether ``layer_types`` makes all blocks slide; ``slides`` if it is not given."""
    types = values.pop("layer_types", None)
    if types is None:
        return slides
    kinds = set(types)
    if len(types) != ours["n_layer"] or len(kinds) != 1 or not kinds <= {"full_attention", "sliding_attention"}:
        raise ValueError("layer_types: all blocks must be 'full_attention', or all 'sliding_attention'")
    return kinds == {"sliding_attention"}


def write(config: LlamaConfig) -> Values:
    """Positions and the width of a head."""
    heads = {
        "num_key_value_heads": config.n_kv_head or config.n_head,
        "head_dim": config.head_width or config.n_embd // config.n_head,
        "intermediate_size": config.hidden,
    }
    return heads | write_rope(config)


def write_mistral(config: LlamaConfig) -> Values:
    """With the window."""
    return write(config) | {"sliding_window": config.window}


def write_qwen(config: LlamaConfig) -> Values:
    """With the window, which begins at the first block."""
    used = config.window is not None
    kinds = ["sliding_attention" if used else "full_attention"] * config.n_layer
    window = {"use_sliding_window": used, "sliding_window": config.window, "max_window_layers": 0 if used else 28}
    return write(config) | window | {"layer_types": kinds}


def _fits(name: str) -> Callable[[Any], bool]:
    return lambda config: isinstance(config, LlamaConfig) and family_name(config) == name


def family_name(config: LlamaConfig) -> str | None:
    """The family that has a Llama's biases, norms and window; ``None`` if none has."""
    if config.positions != "rotary" or (config.qk_norm and config.qkv_bias):
        return None
    if config.qk_norm:
        return "qwen3"
    if config.qkv_bias:
        return "qwen2" if config.head_width in (None, config.n_embd // config.n_head) else None
    return "llama" if config.window is None else "mistral"


def _family(
    name: str, architecture: str, reader: Callable[..., Values], writer: Callable[[Any], Values], **more: Any
) -> Family:
    return Family(
        name=name,
        architectures=(architecture, architecture.replace("ForCausalLM", "Model")),
        model=Llama,
        config=LlamaConfig,
        settings=SETTINGS,
        rows=rows,
        fits=_fits(name),
        read=reader,
        write=writer,
        head=row("head.weight", "lm_head.weight", "V C"),
        prefix="model.",
        ignored=(r"(model\.)?layers\.\d+\.self_attn\.rotary_emb\.inv_freq",),
        **more,
    )


PLAIN = {"hidden_act": ("silu",), "attention_dropout": (0.0,)}
LLAMA = _family(
    "llama",
    "LlamaForCausalLM",
    partial(read, base=10000.0, window=no_window),
    write,
    defaults=DEFAULTS | {"num_key_value_heads": None},
    fixed=PLAIN | {"mlp_bias": (False,), "attention_bias": (False,)},
)
MISTRAL = _family(
    "mistral",
    "MistralForCausalLM",
    partial(read, base=10000.0, window=mistral_window),
    write_mistral,
    defaults=DEFAULTS | {"num_key_value_heads": 8},
    fixed=PLAIN,
)
QWEN2 = _family(
    "qwen2",
    "Qwen2ForCausalLM",
    partial(read, base=10000.0, window=qwen_window, qkv_bias=True),
    write_qwen,
    defaults=DEFAULTS | {"num_key_value_heads": 32},
    fixed=PLAIN,
    words="qwen2",
)
QWEN3 = _family(
    "qwen3",
    "Qwen3ForCausalLM",
    partial(read, base=10000.0, head_width=128, window=qwen_window, qk_norm=True),
    write_qwen,
    defaults=DEFAULTS | {"num_key_value_heads": 32},
    fixed=PLAIN | {"attention_bias": (False,)},
)
