"""The audit of a run, from its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..checkpoint.store import Warn, warn_user
from ..data.tokens.canaries import make_canaries
from ..errors import ConfigError
from ..folder import RunFolder
from ..folder.names import AUDIT, REPORT
from ..random import Key
from ..reports.html import put_section
from ..runs import load_run
from ..tasks.settings.data import TokensConfig
from .exposure import exposures
from .extraction import extract
from .membership import membership
from .report import Audit

HEADING = "Memorisation audit"


def audit_run(
    run_dir: str | Path,
    *,
    attempts: int = 100,
    windows: int = 1000,
    others: int = 1023,
    samples: int = 4,
    device: str | None = None,
    trusted: bool = False,
    seed: int = 0,
    warn: Warn = warn_user,
) -> Audit:
    """Measure what the newest model of a run remembers of its training text.

    Writes ``audit.json`` into the run folder, and a section into its report if there is one.

    Args:
        run_dir: the folder of a run of ``task=language_model``. Canaries are those that ``data.canaries`` planted.
        attempts: prefixes of an extraction.
        windows: windows of each text for membership, at most.
        others: other secrets that each canary is compared with.
        samples: samples of each prefix.
        device: the device to compute on; ``None`` takes the device it was trained on.
        trusted: whether its settings may name a URL for checkpoints.
        seed: seed of all choices.
        warn: called with a sentence for each damaged checkpoint that is skipped.

    Raises:
        CheckpointError: if the folder is no run, or has no intact checkpoint.
        ConfigError: if the run is of another task, or was made by a `Trainer` in Python.
        DataError: if its tokens or its tokenizer are damaged, or too few.
        FileError: if the folder cannot be written.
    """
    run = load_run(run_dir, device=device, trusted=trusted, warn=warn)
    config = run.config
    if config is None or config.task != "language_model" or run.tokenizer is None:
        kind = "was made in Python" if config is None else f"is of task={config.task}"
        raise ConfigError(f"{run_dir} {kind}; audited are runs of task=language_model, whose folder has their text")
    folder, used = RunFolder(run_dir), device or config.device
    train, held_out, _ = config.the_task.load(config, folder).data
    canaries = make_canaries(getattr(config.data, "canaries", 0), Key.from_seed(config.seed))
    assert isinstance(config.data, TokensConfig)  # of this task
    block = config.data.block_size
    half = max(1, min(32, block // 2))

    how: dict[str, Any] = {"attempts": attempts, "prefix": half, "length": half, "samples": samples}
    audit = Audit(
        exposures(run.model, run.tokenizer, canaries, others=others, samples=samples, device=used, seed=seed),
        getattr(config.data, "canary_repeats", 0),
        extract(run.model, train, **how, device=used, seed=seed),
        extract(run.model, held_out, **how, device=used, seed=seed),
        membership(run.model, train, held_out, block, windows=windows, device=used, seed=seed),
    )
    folder.write(AUDIT, json.dumps({"step": run.step, **audit.to_dict()}, indent=1).encode() + b"\n")
    if folder.exists(REPORT):
        put_section(folder.file(REPORT), HEADING, audit.describe())
    return audit
