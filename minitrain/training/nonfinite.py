"""Where a NaN or an infinity came from, and what to do: the first bad activation by name, advice for the user."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..backend.arrays import Array, array_module, is_array, is_cupy, to_numpy
from ..backend.deferred import watch
from ..backend.precision import wide
from ..checkpoint.manifest import Location
from ..errors import BadSampleError, DataError, NonFiniteError
from ..nn.core.nonfinite import first_bad, first_bad_parameter

NOTHING_COUNTS = "no target of this batch counts: all are masked out, there is nothing to learn from it"


def first_bad_activation(cache: Any) -> str | None:
    """The first array of a forward's cache that is not finite, by its path in the cache, e.g. ``blocks.0.norm1.x``.

    A cache mirrors the model and lists its arrays in order of computation, so this names the layer at fault.
    """
    return first_bad((f"activation {path}", array) for path, array in named_arrays(cache))


def first_bad_sample(batch: Any, first_sample: int = 0) -> str | None:
    """The first array of a batch that is not finite, and the first sample in it that is not; ``None`` if all are.

    Args:
        batch: any nested arrays, samples along their first axis.
        first_sample: the number of the first one, if this is a part of a larger batch.
    """
    for path, array in named_arrays(batch):
        name = path if path and not path[0].isdigit() else f"array {path}".strip()
        if array.ndim and (found := first_bad([(f"{name} of the batch", array)])) is not None:
            rows = array_module(array).isfinite(wide(array)).reshape(len(array), -1).all(axis=1)  # (B,)
            return f"{found}, first in its sample {first_sample + int(to_numpy(~rows).argmax())}"
    return None


def why_not_finite(loss: float, model: Any, batch: Any, cache: Any, first_sample: int) -> NonFiniteError:
    """The error for a loss that is not finite: names a parameter, a sample or an activation, whichever comes first."""
    if (bad := first_bad_parameter(model)) is None and (sample := first_bad_sample(batch, first_sample)) is not None:
        return BadSampleError(f"the loss is {loss}: {sample}")
    return NonFiniteError(f"the loss is {loss}: {bad or first_bad_activation(cache) or 'no single array is at fault'}")


def named_arrays(cache: Any, path: str = "") -> Iterator[tuple[str, Array]]:
    """The arrays inside nested named tuples, tuples, lists and dictionaries, with their dotted paths."""
    if is_array(cache):
        yield path, cache
    elif isinstance(cache, dict):
        for name, value in cache.items():
            yield from named_arrays(value, f"{path}.{name}" if path else str(name))
    elif isinstance(cache, (tuple, list)):
        for name, value in zip(getattr(cache, "_fields", range(len(cache))), cache, strict=True):
            yield from named_arrays(value, f"{path}.{name}" if path else str(name))


def with_advice(error: NonFiniteError, kept: Location | None) -> NonFiniteError:
    """The error that ends a training: with what is left, and what to try.

    Args:
        error: says what is not finite.
        kept: the newest checkpoint; ``None`` without one.
    """
    last = "there is no checkpoint yet" if kept is None else f"the last checkpoint, {kept}, is intact"
    advice = "Try a lower optimizer.learning_rate, more scheduler.warmup_steps, or a smaller trainer.max_grad_norm"
    if isinstance(error, BadSampleError):
        advice = "Repair or remove that sample; no learning rate would help. NaNGuard skips such batches"
    advised = type(error)(f"{error}; {last}. {advice}")
    advised.__cause__ = error
    return advised


def as_double(x: Any) -> Any:
    """An array () of a GPU as float64, which stays there; anything else as a Python float."""
    return x.astype("float64") if is_cupy(x) else float(x)


def check_total(total: Any, count: Any) -> None:
    """Raise an error if nothing counts, or the loss is not finite; for arrays of a GPU, with the next transfer.

    Raises:
        DataError: if ``count`` is 0.
    """
    if is_cupy(count):
        missing = (count == 0).astype("int64")
        watch(array_module(count), "no target", missing, 0, lambda _: DataError(NOTHING_COUNTS))
    elif not count:
        raise DataError(NOTHING_COUNTS)
    if is_cupy(total):
        xp = array_module(total)
        message = (
            "the loss was NaN or infinite in an update since the GPU was last waited for, and the weights were updated "
            "with it; with trainer.log_every=1, or on a CPU, the error names the array"
        )
        watch(xp, "the loss", (~xp.isfinite(total)).astype("int64"), 0, lambda _: NonFiniteError(message))
