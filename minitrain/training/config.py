"""The settings of a training: how long, in which batches, and what happens how often."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from ..backend.precision import PRECISIONS
from ..errors import ConfigError
from ..settings.section import Section, setting


class TrainingConfig(Section):
    """How long to train, in which batches, and how often to validate, save and log.

    All frequencies count steps, that is updates. Settings can be assigned, and are checked then too.

    Example:
        >>> config = TrainingConfig(epochs=3, gradient_accumulation_steps=4)
        >>> config.total_steps(steps_per_epoch=100)
        300
        >>> config.epochs = 5
    """

    former: ClassVar[Mapping[str, str | None]] = {
        "accumulation_steps": "gradient_accumulation_steps",
        "eval_every": "validation_frequency",
    }

    epochs: int = setting(10, "Passes over the training data, if max_steps is null.", at_least=1)
    max_steps: int | None = setting(None, "Updates in all; null trains for the given epochs.", at_least=1)
    batch_size: int = setting(32, "Samples in one update; for a text, blocks of data.block_size tokens.", at_least=1)
    gradient_accumulation_steps: int = setting(
        1,
        "Micro-batches that a batch is split into, to save memory. The gradient is still that of the whole batch.",
        at_least=1,
    )
    gradient_sum: str | None = setting(
        None,
        "How gradients of micro-batches add up: tree gives the same bytes for any number of ranks; in_place needs less "
        "memory, on one rank alone. null is in_place in one process and tree in several.",
        one_of=("tree", "in_place"),
    )
    zero: int = setting(
        0,
        "What each rank keeps only its share of (the stage of ZeRO): 1 the optimizer's moments, 2 the gradients too. "
        "Saves memory; the result has the same bytes.",
        at_least=0,
        at_most=2,
    )
    overlap: bool = setting(
        True, "Whether ranks add their gradients while the backward is still running, or after it: the same bytes."
    )
    reduce_dtype: str = setting(
        "float32",
        "How gradients travel between ranks. bfloat16 halves the traffic and rounds every sum of gradients.",
        one_of=("float32", "bfloat16"),
    )
    max_grad_norm: float | None = setting(
        1.0, "A gradient with a larger norm is scaled down to this norm; null never clips.", above=0
    )
    validation_frequency: int = setting(100, "Steps between evaluations; 0 evaluates only at the end.", at_least=0)
    eval_batches: int | None = setting(
        None, "Batches of an evaluation during training, spread over the validation data; null takes all.", at_least=1
    )
    save_every: int = setting(1000, "Steps between checkpoints; 0 saves only at the end.", at_least=0)
    keep_checkpoints: int = setting(3, "How many of the newest checkpoints to keep.", at_least=1)
    keep_best_checkpoints: int = setting(
        0,
        "How many of the best checkpoints to keep besides; an evaluation among the best saves one.",
        at_least=0,
    )
    best_metric: str = setting("val_loss", "The metric that decides which checkpoints are best.")
    best_mode: str = setting("min", "Whether a smaller or a larger metric is better.", one_of=("min", "max"))
    async_checkpoints: bool = setting(
        False, "Write checkpoints in the background; takes memory for a copy of the state."
    )
    checkpoint_url: str | None = setting(
        None, "Where checkpoints go instead of the run folder, such as s3://bucket/run."
    )
    log_every: int = setting(10, "Steps between records of the metrics.", at_least=1)
    log_gradients: bool = setting(False, "Log the gradient norm of each parameter too.")
    activation_checkpointing: bool = setting(
        False, "Keep one array per block and recompute the other activations in the backward: less memory, more time."
    )
    precision: str = setting(
        "float32",
        "Precision of matrix products and of the activations kept for the backward; the rest stays float32. float8 is "
        "bfloat16 with the products of feed-forward layers in 8 bits, on a GPU of compute capability 8.9 or newer.",
        one_of=PRECISIONS,
    )
    graphs: str = setting(
        "auto",
        "On a GPU: whether a step is launched as one CUDA graph. auto does so where it gains and changes nothing, and "
        "says once why not; on does so with models, losses and callbacks of your own and for large steps too; off "
        "never does.",
        one_of=("auto", "on", "off"),
    )
    use_mixed_precision: bool = setting(False, "The same as precision=bfloat16.")
    sample_tokens: int = setting(500, "Tokens that a language model writes at the end; 0 writes none.", at_least=0)
    learning_rate: float = setting(
        1e-4, "Learning rate of the optimizer that a Trainer makes if it gets none.", above=0, python_only=True
    )
    checkpoint_dir: str | None = setting(None, "The run folder, if the Trainer gets no run_dir.", python_only=True)
    resume_from: str | None = setting(None, "A checkpoint to start from.", python_only=True)

    def check(self) -> None:
        """Check the settings that have to fit each other."""
        url = self.checkpoint_url
        self.require(url is None or "://" in url, "checkpoint_url", "null or a URL such as s3://bucket/run")
        rule = f"at most batch_size ({self.batch_size}), which it splits"
        fits = not self.use_mixed_precision or self.precision in ("float32", "bfloat16")
        self.require(fits, "use_mixed_precision", f"false with precision={self.precision}: it means bfloat16")
        self.require(self.gradient_accumulation_steps <= self.batch_size, "gradient_accumulation_steps", rule)

    def product_precision(self) -> str:
        """The precision of products: ``precision``, or what ``use_mixed_precision`` stands for."""
        return "bfloat16" if self.use_mixed_precision else self.precision

    def total_steps(self, steps_per_epoch: int | None) -> int:
        """Number of updates in all.

        Args:
            steps_per_epoch: batches in an epoch; ``None`` if nobody knows.

        Raises:
            ConfigError: if neither this nor ``max_steps`` is known.
        """
        if self.max_steps is not None:
            return self.max_steps
        if steps_per_epoch is None:
            raise ConfigError("the length of an epoch is not known: set max_steps, or give the training data a len()")
        return self.epochs * steps_per_epoch
