"""``python -m benchmarks.error_table``: float32 errors of the kernels and of PyTorch, in units in the last place.

The true value is that of the reference code in seventy digits (``tests/ops/proofs/big_numbers.py``), so neither side
judges itself. The inputs are chosen to hurt: a large mean with a small variance, long sums, near ties, extreme logits.
An error is the largest over all elements of an output or gradient, in units in the last place (ulp) of that array's
largest element: a gradient that cancels to zero has no digits of its own in any library.
"""

from __future__ import annotations

import argparse
import importlib.metadata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minitrain.backend.info import processor_name
from minitrain.ops import registry
from tests.ops.proofs.big_numbers import big, reference_code

TWICE = 2.0  # as many ulps as PyTorch's that need no reason
FLOOR = 4.0  # ulps that need no reason anyway
REASONS = {
    ("gelu", "to ±8", "gradient 0"): "the slope has a factor 1 − cdf, formed from the rounded cdf",
}
PAGE = Path(__file__).resolve().parents[1] / "docs" / "float32_errors.md"
_TEXT = """\
# Errors of float32

The largest error of each output and gradient, in units in the last place of the array's largest element. The true
values come from the reference code in seventy digits, so neither side judges itself. The inputs are chosen to hurt.
`python -m benchmarks.error_table` made this page, with PyTorch {torch}, on {processor}. bfloat16 is not in it yet.

{rows}

Where one error is more than twice the other's, and more than 4, the last column has the reason. Errors of hundreds are
those of the inputs: at a mean of 1000, the deviation of a float32 number from the mean has three digits less.
"""


class Trial(NamedTuple):
    """One operation on one kind of hurtful input."""

    operation: str
    hurt: str
    inputs: tuple[Any, ...]
    options: dict[str, Any]
    torch: Callable[..., Any]
    """The same in PyTorch; of a loss, the sum."""


def trials() -> list[Trial]:
    """All trials."""
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


def errors(trial: Trial) -> list[tuple[str, float, float]]:
    """For each output and gradient: its name, our error and PyTorch's, in ulps."""
    import torch

    pair = registry()[trial.operation]
    names = ["output", *(f"gradient {i}" for i, x in enumerate(trial.inputs) if x.dtype.kind == "f")]
    out, cache = pair.forward(*trial.inputs, **trial.options)
    out = out[0] if isinstance(out, tuple) else out
    dout = np.random.default_rng(1).standard_normal(np.shape(out)).astype(np.float32)
    values = [np.array(out), *_gradients(pair.backward(dout, cache))]
    with reference_code():
        exact_inputs = [big(x) if x.dtype.kind == "f" else x for x in trial.inputs]
        exact, cache = pair.forward(*exact_inputs, **trial.options)
        exact = exact[0] if isinstance(exact, tuple) else exact
        true = [exact, *_gradients(pair.backward(big(dout), cache))]
    tensors = [torch.from_numpy(x.copy()) for x in trial.inputs]
    moving = [x.requires_grad_() for x in tensors if x.is_floating_point()]
    theirs = trial.torch(*tensors)
    theirs.backward(torch.from_numpy(dout))
    others = [theirs.detach().numpy(), *(x.grad.numpy() for x in moving)]
    return [(name, _ulps(a, t), _ulps(b, t)) for name, a, b, t in zip(names, values, others, true, strict=True)]


def _gradients(found: Any) -> list[Any]:
    many = found if isinstance(found, tuple) else (found,)
    return [g for g in many if g is not None]


def _ulps(value: Any, true: Any) -> float:
    """The largest error, in units in the last place of the largest element."""
    gaps = abs(big(value) - big(true))
    largest = float(np.max([float(abs(x)) for x in big(true).ravel()], initial=0.0))
    return float(np.max([float(x) for x in gaps.ravel()], initial=0.0)) / float(np.spacing(np.float32(largest)))


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page; returns 1 if an error is more than twice PyTorch's, without a reason in ``REASONS``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.error_table", description=__doc__)
    parser.add_argument("--page", type=Path, default=PAGE, help="the page to write")
    arguments = parser.parse_args(argv)
    rows, unexplained = ["| operation | inputs | of | minitrain | PyTorch | |", "|---|---|---|---|---|---|"], 0
    for trial in trials():
        for name, ours, theirs in errors(trial):
            worse = ours > max(TWICE * theirs, FLOOR)
            reason = REASONS.get((trial.operation, trial.hurt, name), "**no reason known**") if worse else ""
            unexplained += reason.startswith("**")
            rows.append(f"| {trial.operation} | {trial.hurt} | {name} | {ours:.2f} | {theirs:.2f} | {reason} |")
    text = _TEXT.format(rows="\n".join(rows), torch=importlib.metadata.version("torch"), processor=processor_name())
    arguments.page.write_text(text, encoding="utf-8")
    print(text)
    return 1 if unexplained else 0


if __name__ == "__main__":
    raise SystemExit(main())
