"""The least memory of a run, reckoned from its settings before anything is built.

`minitrain.training.estimate` measures the real need later, with a trial step. This one only has to notice a run that
cannot fit, in a moment, whatever the sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ...backend.memory import available_memory
from ...errors import ConfigError
from ...formats import size
from ...models.gpt import GPTConfig
from ...models.llama import LlamaConfig
from ...models.masked import MaskedEncoderConfig
from ...nn.core.module import Module
from ...nn.core.parameter import Parameter
from ...optim.factory import create_optimizer
from ..task import TaskSettings

FLOAT = 4  # bytes of a weight, a gradient, a moment, an activation


class Need(NamedTuple):
    """The least memory of a run.

    Attributes:
        parameters: number of weights.
        weights: bytes of the weights, their gradients and the optimizer's moments.
        activations: bytes of what a micro-batch leaves for its backward, and of its logits.
    """

    parameters: int
    weights: int
    activations: int

    @property
    def total(self) -> int:
        """Bytes of all."""
        return self.weights + self.activations


def least_need(config: TaskSettings, vocab_size: int) -> Need:
    """The least memory that a run of these settings takes.

    Args:
        config: the settings.
        vocab_size: number of token ids.
    """
    shape = config.model.shape(vocab_size=vocab_size, block_size=config.data.block_size)
    parameters = parameter_count(shape) or 0
    copies = 2 + _moments(config) if config.adapter is None else 1  # adapters are few: the frozen weights remain
    trainer = config.trainer
    rows = -(-trainer.batch_size // trainer.gradient_accumulation_steps) * config.data.block_size
    if not parameters:  # a model of your own: its batch alone is known
        return Need(0, 0, 2 * FLOAT * rows)
    block = _block_width(shape)
    kept = shape.n_layer * (shape.n_embd if trainer.activation_checkpointing else block)
    logits = vocab_size if getattr(shape, "loss_chunk", None) is None else 0
    # The backward of a block works with as much again as the block has kept.
    return Need(parameters, FLOAT * copies * parameters, FLOAT * rows * (kept + block + logits))


def refuse_impossible(config: TaskSettings, vocab_size: int) -> None:
    """Refuse a run that does not fit into the memory that is free.

    Raises:
        ConfigError: with the sizes, and the settings that would help.
    """
    free = available_memory()
    need = least_need(config, vocab_size)
    needed = need.total if config.device == "cpu" else FLOAT * need.parameters  # built here, trained on the GPU
    if free is None or needed <= free:
        return
    trainer, split = config.trainer, ""
    if trainer.gradient_accumulation_steps > 1:
        split = f" in {trainer.gradient_accumulation_steps} micro-batches"
    raise ConfigError(
        f"this run needs at least {size(needed)} of memory, and {size(free)} are free: {need.parameters:,} parameters "
        f"take {size(need.weights)} with gradients and moments, and a batch of {trainer.batch_size:,} blocks of "
        f"{config.data.block_size:,} tokens{split} takes {size(need.activations)}. Lower model.n_embd, model.n_layer, "
        "trainer.batch_size or data.block_size, or raise trainer.gradient_accumulation_steps"
    )


def refuse_impossible_model(config: TaskSettings, vocab_size: int) -> None:
    """Refuse a model whose weights alone do not fit into the memory that is free.

    Raises:
        ConfigError: with the sizes.
    """
    free = available_memory()
    count = parameter_count(config.model.shape(vocab_size=vocab_size, block_size=config.data.block_size))
    if free is not None and count is not None and FLOAT * count > free:
        raise ConfigError(
            f"the model has {count:,} parameters, which take {size(FLOAT * count)} of memory, and {size(free)} are free"
        )


def parameter_count(shape: Any) -> int | None:
    """The number of weights of a language model, from its configuration alone; ``None`` for a model of your own."""
    count = _COUNTS.get(type(shape))
    return None if count is None else count(shape)


def _gpt(shape: GPTConfig) -> int:
    C, bias = shape.n_embd, int(shape.bias)
    block = _attention(shape) + bias * (_query_width(shape) + 2 * _key_width(shape) + C)
    block += 8 * C * C + bias * 5 * C  # up to 4 C and back
    block += 2 * (1 + bias) * C  # two norms
    return _tables(shape) + (1 + bias) * C + shape.n_layer * block  # the last one: the final norm


def _llama(shape: LlamaConfig) -> int:
    C = shape.n_embd
    block = _attention(shape) + 3 * C * shape.hidden + 2 * C
    block += 2 * _head_width(shape) * shape.qk_norm
    block += (_query_width(shape) + 2 * _key_width(shape)) * shape.qkv_bias
    return _tables(shape) + C + shape.n_layer * block


def _masked(shape: MaskedEncoderConfig) -> int:
    C, bias = shape.n_embd, int(shape.bias)
    block = 12 * C * C + bias * 9 * C + 2 * (1 + bias) * C
    head = C * C + C + shape.vocab_size  # a linear layer, and the bias of the scores
    tables = (shape.vocab_size + shape.block_size) * C
    return tables + shape.n_layer * block + 2 * (1 + bias) * C + head  # two norms after the blocks


_COUNTS: dict[type, Callable[[Any], int]] = {GPTConfig: _gpt, LlamaConfig: _llama, MaskedEncoderConfig: _masked}


def _tables(shape: Any) -> int:
    """The embeddings of tokens and positions, and the head."""
    rows = (1 if shape.tie_weights else 2) * shape.vocab_size + shape.block_size * (shape.positions == "learned")
    return rows * shape.n_embd  # type: ignore[no-any-return]


def _head_width(shape: Any) -> int:
    return getattr(shape, "head_width", None) or shape.n_embd // shape.n_head  # type: ignore[no-any-return]


def _query_width(shape: Any) -> int:
    return _head_width(shape) * shape.n_head  # type: ignore[no-any-return]


def _key_width(shape: Any) -> int:
    return _head_width(shape) * (getattr(shape, "n_kv_head", None) or shape.n_head)  # type: ignore[no-any-return]


def _attention(shape: Any) -> int:
    return shape.n_embd * (2 * _query_width(shape) + 2 * _key_width(shape))  # type: ignore[no-any-return]


def _block_width(shape: Any) -> int:
    """Numbers that a block keeps for each token: inputs, queries, keys, values, attention's output, hidden layer."""
    hidden = getattr(shape, "hidden", 4 * shape.n_embd)
    return 2 * shape.n_embd + 2 * _query_width(shape) + 2 * _key_width(shape) + hidden  # type: ignore[no-any-return]


class _Probe(Module):
    """A model of one matrix, whose moments tell how many an optimizer keeps in full size."""

    def __init__(self) -> None:
        self.matrix = Parameter(np.zeros((2, 3), np.float32))


def _moments(config: TaskSettings) -> int:
    moments = create_optimizer(config.optimizer, _Probe()).state_dict().get("moments", {})
    return sum(array.shape == (2, 3) for array in moments.values())
