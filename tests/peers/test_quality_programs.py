"""PyTorch's program of the time to quality trains as minitrain's ``shakespeare_char`` does."""

import contextlib

import numpy as np
import pytest

from benchmarks.quality_programs import build
from minitrain.benchmark.torch_gpt import load_from_minitrain


def test_from_the_same_weights_both_programs_take_the_same_steps(tmp_path):
    """So order of data, schedule, clipping and AdamW are the same, and so is the measure of the loss."""
    text = tmp_path / "text.txt"
    rng = np.random.default_rng(0)
    text.write_text(" ".join(rng.choice(["once", "upon", "a", "time", "there", "was"], 700)))
    ours, theirs = (build(name, text, 3, tmp_path / name) for name in ("char", "eager"))
    load_from_minitrain(theirs.model, ours.trainer.model.state_dict())
    assert ours.total_steps == theirs.total_steps == 2000
    with contextlib.closing(ours):
        for step in (0, 1, 3, 12):
            ours.train(step)
            theirs.train(step)
            assert theirs.evaluate() == pytest.approx(ours.evaluate(), abs=2e-4), step
