"""The gradient of a batch is put together from the gradients of its samples."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from ...backend.arrays import to_numpy
from ..differences import largest
from ..gradients import functions_of
from ..pairs import argument_names
from ..report import ArgumentReport, GradientCheckError, GradientMismatch, GradientReport, Mismatch
from ..settings import DEFAULT, CheckSettings
from .calls import copied, drawn_like, gradients_of, moves, run

DIGITS = 1e-10  # relative to the largest element: sums in another order


def check_batches(
    pair: Any, *inputs: Any, batched: Collection[str], settings: CheckSettings = DEFAULT, **options: Any
) -> GradientReport:
    """Check that no sample of a batch changes the gradient of another.

    The batch runs whole, and each sample as a batch of one, with the same gradient of its output. The gradient of a
    batched input is then the samples' side by side; that of any other input, such as a weight, their sum. It holds for
    every operation that treats samples alike, and needs no finite difference. Batch norm does not, on purpose.

    Args:
        pair: ``(forward, backward)`` or an object with both. Each output has the batch as its first axis, or is a sum
            over it (a 0-d array).
        inputs: of the forward.
        batched: names of the inputs whose first axis is the batch.
        settings: the seed, and ``no_gradient``.
        options: keyword arguments of the forward.

    Returns:
        The worst error of each input, relative to its largest element.

    Raises:
        GradientMismatch: if a sample changes another's gradient.
        GradientCheckError: if there is no batch, or an output has another first axis.

    Example:
        >>> pair = (lambda x: (x**3, x)), (lambda dout, x: 3 * x**2 * dout)
        >>> check_batches(pair, np.ones((4, 2)), batched=["x"]).worst
        0.0
    """
    rng = np.random.default_rng([settings.seed, 6])
    values = copied(inputs)
    names = argument_names(functions_of(pair)[0], len(inputs))
    if unknown := [name for name in batched if name not in names]:
        raise GradientCheckError(f"check_batches: there is no input {unknown[0]}; there are {', '.join(names)}")
    sizes = {len(x) for name, x in zip(names, values, strict=True) if name in batched}
    if len(sizes) != 1 or not all(sizes):
        raise GradientCheckError(
            f"check_batches: the batched inputs have {sorted(sizes) or 'no'} samples: give one size"
        )
    count = sizes.pop()
    outputs, cache, backward = run(pair, values, options)
    if odd := [np.shape(out) for out in outputs if np.shape(out) and np.shape(out)[0] != count]:
        raise GradientCheckError(f"check_batches: an output has shape {odd[0]}, but the batch has {count} samples")
    douts = [drawn_like(out, rng) for out in outputs]
    whole = gradients_of(backward, douts, cache, len(values))
    parts: list[list[Any]] = []
    for i in range(count):
        sample = [x[i : i + 1].copy() if name in batched else x for name, x in zip(names, values, strict=True)]
        _, cache, backward = run(pair, sample, options)
        given = [dout[i : i + 1].copy() if np.shape(dout) else dout for dout in douts]
        parts.append(gradients_of(backward, given, cache, len(values)))
    passed: list[ArgumentReport] = []
    wrong: list[Mismatch] = []
    for place, (name, x) in enumerate(zip(names, values, strict=True)):
        if not moves(x) or name in settings.no_gradient or whole[place] is None:
            continue
        alone = [to_numpy(part[place]) for part in parts]
        expected = np.concatenate(alone) if name in batched else np.sum(alone, axis=0)
        gaps = abs(to_numpy(whole[place]) - expected)
        error = largest(gaps) / max(largest(expected), np.finfo(float).tiny)
        if error <= DIGITS:
            passed.append(ArgumentReport(name, x.shape, error))
            continue
        index = tuple(int(i) for i in np.unravel_index(int(gaps.argmax()), x.shape))
        of_batch, of_samples = float(to_numpy(whole[place])[index]), float(expected[index])
        summary = (
            f"{name} {x.shape}: at {list(index)} the gradient of the batch is {of_batch:.10g}, and that of its "
            f"{count} samples {of_samples:.10g}"
        )
        hint = (
            "a mean over the batch in place of a sum" if np.allclose(to_numpy(whole[place]) * count, expected) else ""
        )
        wrong.append(Mismatch(name, x.shape, index, of_batch, of_samples, error, summary, hint))
    if wrong:
        raise GradientMismatch(tuple(wrong), tuple(passed))
    return GradientReport(tuple(passed))
