"""Train nanoGPT's character recipe on tiny Shakespeare, several seeds, and judge the final validation losses.

    python -m benchmarks.acceptance --text tinyshakespeare.txt --seeds 1337 1338 1339

Each seed is one ``minitrain train recipe=shakespeare_char`` in a process of its own, as a user would start it. The
loss is over the whole validation split (the last tenth of the text), in windows of 64 side by side. Where PyTorch is
installed, the final weights are loaded into the PyTorch peer and judged again, on a split made here from the text
alone: then nothing of minitrain but its training is trusted.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from minitrain.benchmark.machine import describe
from minitrain.benchmark.report import Table, say, show, write_json
from minitrain.benchmark.turns import ROOT

from .output import out_file
from .shakespeare import read_split, windows

LIMIT_EACH = 1.92  # nats; nanoGPT's own code gives 1.89 to 1.915 by seed
LIMIT_MEAN = 1.91
SUMMARY = "Train the shakespeare_char recipe with several seeds and judge the validation losses."


def train(text: Path, seed: int, run_dir: Path, settings: list[str]) -> dict[str, Any]:
    """One run; returns its final loss, the number of held-out tokens, and the wall time with start and evaluation.

    Raises:
        subprocess.CalledProcessError: if training fails; its messages have been printed.
    """
    from minitrain.records.jsonl import METRICS, read_metrics

    fixed = ["recipe=shakespeare_char", f"data.path={text.resolve()}", f"seed={seed}", f"run_dir={run_dir}"]
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "minitrain", "train", *fixed, *settings], cwd=ROOT, check=True, stdout=sys.stderr
    )
    seconds = time.perf_counter() - began
    last = [record for record in read_metrics(run_dir / METRICS) if "val_loss" in record][-1]
    return {
        "seed": seed,
        "val_loss": last["val_loss"],
        "val_tokens": last["val_tokens"],
        "torch_val_loss": torch_loss(text, run_dir),
        "seconds": seconds,
    }


def torch_loss(text: Path, run_dir: Path) -> float | None:
    """The same loss by PyTorch, from the text and the final weights; ``None`` without PyTorch."""
    if importlib.util.find_spec("torch") is None:
        return None
    import torch

    from minitrain.benchmark.torch_gpt import GPT, load_from_minitrain
    from minitrain.runs import load_run

    model, _, config, _ = load_run(run_dir)
    names = ("vocab_size", "block_size", "n_layer", "n_head", "n_embd", "n_kv_head", "bias", "tie_weights")
    peer = GPT(**{name: getattr(model.config, name) for name in names})
    load_from_minitrain(peer, model.state_dict())
    held_out = read_split(text).held_out
    total = 0.0
    with torch.no_grad():
        for inputs, targets in windows(held_out, config.data.block_size):
            total += peer.loss(torch.from_numpy(inputs), torch.from_numpy(targets)).item() * targets.size
    return total / (len(held_out) - 1)


def main() -> int:
    """Train with each seed, print the losses, write the JSON file; 1 if a loss is above its limit."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.acceptance", description=SUMMARY)
    parser.add_argument("--text", type=Path, required=True, help="tiny Shakespeare, 1,115,394 characters")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1337, 1338, 1339])
    parser.add_argument("--runs", type=Path, help="folder to keep the runs in (default: they are deleted)")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="further settings of minitrain")
    arguments = parser.parse_args()
    if not arguments.text.is_file():
        parser.error(f"there is no file {arguments.text}: give the path of tinyshakespeare.txt")
    results = []
    with contextlib.ExitStack() as stack:
        runs = arguments.runs or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="minitrain-")))
        for seed in arguments.seeds:
            try:
                result = train(arguments.text, seed, runs.resolve() / f"seed-{seed}", arguments.set)
            except subprocess.CalledProcessError as error:
                say(f"seed {seed}: training ended with exit code {error.returncode}, see above")
                return 1
            results.append(result)
    losses = [result["val_loss"] for result in results]
    mean = statistics.mean(losses)
    passed = max(losses) <= LIMIT_EACH and mean <= LIMIT_MEAN
    rows = [
        [
            str(result["seed"]),
            f"{result['val_loss']:.4f}",
            "" if result["torch_val_loss"] is None else f"{result['torch_val_loss']:.4f}",
            f"{result['val_tokens']:,}",
            f"{result['seconds']:.0f}",
        ]
        for result in results
    ]
    columns = ["seed", "validation loss", "by PyTorch", "held-out tokens", "seconds"]
    show(Table("shakespeare_char", columns, rows))
    verdict = "reached" if passed else "MISSED"
    say(f"mean {mean:.4f}, worst {max(losses):.4f}; limits {LIMIT_MEAN} and {LIMIT_EACH}: {verdict}")
    path = write_json(
        arguments.json or out_file("acceptance.json"),
        {"runs": results, "mean": mean, "passed": passed, "settings": arguments.set, "machine": describe()},
    )
    say(f"figures written to {path}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
