"""``python -m benchmarks.error_table``: errors of the kernels and of PyTorch, in units in the last place (ulp).

The true value is that of the reference code in seventy digits (``tests/ops/proofs/big_numbers.py``), so neither side
judges itself. The inputs are chosen to hurt: a large mean with a small variance, long sums, near ties, extreme logits.
An error is the largest over all elements of an output or gradient, in ulps of that array's largest element: a gradient
that cancels to zero has no digits of its own in any library. In bfloat16 all inputs are bfloat16 numbers, so nothing is
lost before the operation begins.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minitrain.backend.info import processor_name
from minitrain.backend.precision import half_dtype, use_precision
from minitrain.ops import registry
from tests.ops.proofs.big_numbers import big, reference_code

TWICE = 2.0  # as many ulps as PyTorch's that need no reason
FLOOR = {"float32": 4.0, "bfloat16": 1.0}  # ulps that need no reason anyway
DIGITS = {"float32": 23, "bfloat16": 7}  # binary digits behind the first
REASONS: dict[tuple[str, str, str, str], str] = {}
"""By precision, operation, inputs and result: why an error is more than twice PyTorch's."""
PAGE = Path(__file__).resolve().parents[1] / "docs" / "float32_errors.md"
_TEXT = """\
# Errors in units in the last place

The largest error of each output and gradient, in units in the last place (ulp) of the array's largest element. The true
values come from the reference code in seventy digits, so neither side judges itself. The inputs are chosen to hurt.
`python -m benchmarks.error_table` made this page, with PyTorch {torch}, on {processor}.

Where one error is more than twice the other's, and more than {floor32:g} ulps in float32 or {floor16:g} in bfloat16,
the last column has the reason.

## float32

{float32}

Errors of hundreds are those of the inputs: at a mean of 1000, the deviation of a float32 number from the mean has three
digits less.

## bfloat16

All operations whose products have operands of 16 bits, on inputs that are bfloat16 numbers. One ulp is 1/128 of the
power of two below the largest element. minitrain's operands have 16 bits, its sums and results 32. PyTorch's tensors
all have 16 bits, and its results are rounded to them, which alone is up to half an ulp.

{bfloat16}
"""


class Trial(NamedTuple):
    """One operation on one kind of hurtful input."""

    operation: str
    hurt: str
    inputs: tuple[Any, ...]
    options: dict[str, Any]
    torch: Callable[..., Any]
    """The same in PyTorch; of a loss, the sum."""
    precision: str = "float32"


def trials() -> list[Trial]:
    """All trials, in float32 first."""
    return [*_float32_trials(), *_bfloat16_trials()]


def _float32_trials() -> list[Trial]:
    import torch
    from torch.nn import functional as F

    rng = np.random.default_rng(0)

    def normal(*shape: int) -> Any:
        return rng.standard_normal(shape).astype(np.float32)

    ones, zeros = np.ones(64, np.float32), np.zeros(64, np.float32)
    ids = rng.integers(0, 64, 8).astype(np.int64)

    def attend(q: Any, k: Any, v: Any) -> Any:
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))  # (B, T, H, D) -> (B, H, T, D)
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)

    def norm(x: Any, weight: Any, bias: Any) -> Any:
        return F.layer_norm(x, (x.shape[-1],), weight, bias, 1e-5)

    def rms(x: Any, weight: Any) -> Any:
        return F.rms_norm(x, (x.shape[-1],), weight, 1e-5)

    def loss(logits: Any, targets: Any) -> Any:
        return F.cross_entropy(logits, targets, reduction="sum")

    found = [
        Trial("softmax", "logits of ±30", (30 * normal(8, 64),), {}, lambda x: x.softmax(-1)),
        Trial("softmax", "logits near 1e4", (1e4 + normal(8, 64),), {}, lambda x: x.softmax(-1)),
        Trial("softmax", "near ties", (1 + 1e-6 * normal(8, 64),), {}, lambda x: x.softmax(-1)),
        Trial("layer_norm", "plain", (normal(8, 64), ones, zeros), {"eps": 1e-5}, norm),
        Trial("layer_norm", "mean 1000, variance 1", (1000 + normal(8, 64), ones, zeros), {"eps": 1e-5}, norm),
        Trial("layer_norm", "variance 1e-6", (1 + 1e-3 * normal(8, 64), ones, zeros), {"eps": 1e-5}, norm),
        Trial("rms_norm", "plain", (normal(8, 64), ones), {"eps": 1e-5}, rms),
        Trial("rms_norm", "one element of 1000", (normal(8, 64) + 1000 * (np.arange(64) == 5), ones),
              {"eps": 1e-5}, rms),
        Trial("cross_entropy", "plain", (normal(8, 64), ids), {}, loss),
        Trial("cross_entropy", "logits of ±30", (30 * normal(8, 64), ids), {}, loss),
        Trial("cross_entropy", "logits near 1e4", (1e4 + normal(8, 64), ids), {}, loss),
        Trial("gelu", "to ±8", (4 * normal(8, 64),), {"approximate": "tanh"}, lambda x: F.gelu(x, approximate="tanh")),
        Trial("gelu", "exact, to ±8", (4 * normal(8, 64),), {"approximate": "none"}, F.gelu),
        Trial("silu", "to ±40", (20 * normal(8, 64),), {}, F.silu),
        Trial("sigmoid", "to ±40", (20 * normal(8, 64),), {}, torch.sigmoid),
        Trial("tanh", "near 0 and far out", (normal(8, 64) ** 5,), {}, torch.tanh),
        Trial("softplus", "to ±40", (20 * normal(8, 64),), {}, F.softplus),
        Trial("linear", "sums of 2048 rows", (1 + normal(2048, 4), normal(3, 4), normal(3)), {}, F.linear),
        Trial("attention", "plain", tuple(normal(1, 12, 2, 8) for _ in range(3)), {"causal": True}, attend),
        Trial("attention", "q and k times 10", tuple(size * normal(1, 12, 2, 8) for size in (10, 10, 1)),
              {"causal": True}, attend),
    ]  # fmt: skip
    return [t._replace(inputs=tuple(np.asarray(x, np.float32) if x.dtype.kind == "f" else x for x in t.inputs))
            for t in found]  # fmt: skip


def _bfloat16_trials() -> list[Trial]:
    """Of the operations whose kernels multiply in 16 bits."""
    import torch
    from torch.nn import functional as F

    rng = np.random.default_rng(0)

    def normal(*shape: int) -> Any:
        return rng.standard_normal(shape).astype(half_dtype("bfloat16")).astype(np.float32)

    def attend(q: Any, k: Any, v: Any) -> Any:
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))  # (B, T, H, D) -> (B, H, T, D)
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)

    def head(hidden: Any, weight: Any, targets: Any) -> Any:
        return F.cross_entropy(F.linear(hidden, weight).float(), targets, reduction="sum")

    def convolve(x: Any, weight: Any, bias: Any) -> Any:
        return F.conv2d(x, weight, bias)

    def after_gelu(hidden: Any, weight: Any, bias: Any) -> Any:
        return F.linear(F.gelu(hidden, approximate="tanh"), weight, bias)

    ids = rng.integers(0, 24, 12).astype(np.int64)
    tanh, chunk = {"approximate": "tanh"}, {"chunk": 5, "gradients": True}
    found = [
        Trial("linear", "plain", (normal(16, 32), normal(12, 32), normal(12)), {}, F.linear),
        Trial("linear", "sums of 2048 rows", (1 + normal(2048, 2), normal(2, 2), normal(2)), {}, F.linear),
        Trial("linear", "sums of 2048 columns", (1 + normal(3, 2048), normal(2, 2048), normal(2)), {}, F.linear),
        Trial("gelu_linear", "plain", (normal(16, 32), normal(12, 32), normal(12)), tanh, after_gelu),
        Trial("gelu_linear", "to ±8", (4 * normal(16, 16), normal(12, 16), normal(12)), tanh, after_gelu),
        Trial("attention", "plain", tuple(normal(1, 12, 2, 8) for _ in range(3)), {"causal": True}, attend),
        Trial("attention", "32 positions", tuple(normal(1, 32, 1, 8) for _ in range(3)), {"causal": True}, attend),
        Trial("attention", "values near 100", (normal(1, 12, 2, 8), normal(1, 12, 2, 8), 100 + normal(1, 12, 2, 8)),
              {"causal": True}, attend),
        Trial("low_rank", "plain", (normal(12, 32), normal(4, 32), normal(12, 4)), {},
              lambda x, a, b: F.linear(F.linear(x, a), b)),
        Trial("linear_cross_entropy", "plain", (normal(12, 8), normal(24, 8), ids), chunk, head),
        Trial("conv2d", "plain", (normal(1, 2, 7, 7), normal(2, 2, 3, 3), normal(2)), {}, convolve),
    ]  # fmt: skip
    kept = torch.bfloat16  # what the numbers are on both sides
    return [
        t._replace(
            precision="bfloat16",
            inputs=tuple(torch.from_numpy(x).to(kept).float().numpy() if x.dtype.kind == "f" else x for x in t.inputs),
        )
        for t in found
    ]


def errors(trial: Trial) -> list[tuple[str, float, float]]:
    """For each output and gradient: its name, our error and PyTorch's, in ulps."""
    import torch

    pair, half = registry()[trial.operation], trial.precision == "bfloat16"
    names = ["output", *(f"gradient {i}" for i, x in enumerate(trial.inputs) if x.dtype.kind == "f")]
    with use_precision(trial.precision):
        out, cache = pair.forward(*trial.inputs, **trial.options)
        out = out[0] if isinstance(out, tuple) else out
        dout = np.asarray(np.random.default_rng(1).standard_normal(np.shape(out)), np.float32)
        dout = torch.from_numpy(dout).bfloat16().float().numpy() if half else dout
        values = [np.array(out), *_gradients(pair.backward(dout, cache))]
    with reference_code():
        exact_inputs = [big(x) if x.dtype.kind == "f" else x for x in trial.inputs]
        exact, cache = pair.forward(*exact_inputs, **trial.options)
        exact = exact[0] if isinstance(exact, tuple) else exact
        true = [exact, *_gradients(pair.backward(big(dout), cache))]
    tensors = [torch.from_numpy(x.copy()) for x in trial.inputs]
    tensors = [x.bfloat16() if half and x.is_floating_point() else x for x in tensors]
    moving = [x.requires_grad_() for x in tensors if x.is_floating_point()]
    theirs = trial.torch(*tensors)
    theirs.backward(torch.from_numpy(dout).to(theirs.dtype))
    others = [theirs.detach().float().numpy(), *(x.grad.float().numpy() for x in moving)]
    digits = DIGITS[trial.precision]
    return [
        (name, _ulps(a, t, digits), _ulps(b, t, digits))
        for name, a, b, t in zip(names, values, others, true, strict=True)
    ]


def _gradients(found: Any) -> list[Any]:
    many = found if isinstance(found, tuple) else (found,)
    return [g for g in many if g is not None]


def _ulps(value: Any, true: Any, digits: int) -> float:
    """The largest error, in units in the last place of the largest element, with so many digits behind its first."""
    gaps = abs(big(value) - big(true))
    largest = float(np.max([float(abs(x)) for x in big(true).ravel()], initial=0.0))
    unit = 2.0 ** (math.frexp(largest)[1] - 1 - digits)
    return float(np.max([float(x) for x in gaps.ravel()], initial=0.0)) / unit


def unexplained(trial: Trial, name: str, ours: float, theirs: float) -> bool:
    """Whether an error is more than twice PyTorch's, and more than the floor, without a reason in ``REASONS``."""
    worse = ours > max(TWICE * theirs, FLOOR[trial.precision])
    return worse and (trial.precision, trial.operation, trial.hurt, name) not in REASONS


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page; returns 1 if an error is more than twice PyTorch's, without a reason in ``REASONS``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.error_table", description=__doc__)
    parser.add_argument("--page", type=Path, default=PAGE, help="the page to write")
    arguments = parser.parse_args(argv)
    head = ["| operation | inputs | of | minitrain | PyTorch | |", "|---|---|---|---|---|---|"]
    tables, failed = {precision: [*head] for precision in FLOOR}, 0
    for trial in trials():
        for name, ours, theirs in errors(trial):
            known = REASONS.get((trial.precision, trial.operation, trial.hurt, name), "")
            bad = unexplained(trial, name, ours, theirs)
            failed += bad
            reason = "**no reason known**" if bad else known
            row = f"| {trial.operation} | {trial.hurt} | {name} | {ours:.2f} | {theirs:.2f} | {reason} |"
            tables[trial.precision].append(row)
    text = _TEXT.format(
        torch=importlib.metadata.version("torch"), processor=processor_name(), floor32=FLOOR["float32"],
        floor16=FLOOR["bfloat16"], **{precision: "\n".join(rows) for precision, rows in tables.items()},
    )  # fmt: skip
    arguments.page.write_text(text, encoding="utf-8")
    print(text)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
