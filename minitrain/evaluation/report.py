"""Scores as tables for the screen."""

from __future__ import annotations

from collections.abc import Mapping

from .choices import NORMALIZATIONS, ChoiceScore
from .text_score import TextScore


def describe_text(score: TextScore) -> str:
    """The score of a text: a few figures, and a table of its calibration."""
    size = "" if score.size is None else f", {score.size.bytes:,} bytes, {score.size.characters:,} characters"
    figures = {
        "nats per token": f"{score.nats_per_token:.4f}",
        "bits per token": f"{score.bits_per_token:.4f}",
        "bits per byte": _number(score.bits_per_byte),
        "bits per character": _number(score.bits_per_character),
        "perplexity": f"{score.perplexity:.4f}",
        "most likely token came": _percent(score.accuracy),
        "one of the best five came": _percent(score.near_accuracy),
        "calibration error": _percent(score.calibration.expected_error),
    }
    lines = [f"{score.tokens:,} tokens{size}, stride {score.stride:,}"]
    lines += [f"  {name:<28}{value:>12}" for name, value in figures.items()]
    lines += ["", f"{'confidence of the model':<30}{'tokens':>12}{'mean':>10}{'was right':>12}"]
    for one in score.calibration.table():
        if one.predictions:
            span = f"{100 * one.above:.0f} to {100 * one.to:.0f} %"
            lines.append(
                f"  {span:<28}{one.predictions:>12,}{_percent(one.confidence):>10}{_percent(one.accuracy):>12}"
            )
    return "\n".join(lines)


def describe_weights(scores: Mapping[str, TextScore]) -> str:
    """The scores of one text with several types of weights, and how far each is from the first."""
    first, *_ = scores.values()
    size = "" if first.size is None else f", {first.size.bytes:,} bytes"
    lines = [
        f"{first.tokens:,} tokens{size}, stride {first.stride:,}",
        f"{'weights':<12}{'nats/token':>12}{'bits/byte':>12}{'perplexity':>14}{'difference':>13}{'accuracy':>11}"
        f"{'calibration':>13}",
    ]
    for name, score in scores.items():
        difference = "" if score is first else f"{100 * (score.perplexity / first.perplexity - 1):+.4f} %"
        lines.append(
            f"{name:<12}{score.nats_per_token:>12.5f}{_number(score.bits_per_byte):>12}{score.perplexity:>14.5f}"
            f"{difference:>13}{_percent(score.accuracy):>11}{_percent(score.calibration.expected_error):>13}"
        )
    return "\n".join(lines)


def describe_choices(scores: Mapping[str, ChoiceScore]) -> str:
    """The answers to multiple-choice questions with one or several types of weights."""
    first, *_ = scores.values()
    lines = [
        f"{first.questions:,} questions; blind guessing is right in {_percent(first.chance)}",
        f"{'weights':<12}" + "".join(f"{_HEADS[name]:>20}" for name in NORMALIZATIONS),
    ]
    for weights, score in scores.items():
        cells = (f"{_percent(score.accuracy(n))} ± {100 * score.standard_error(n):.2f}" for n in NORMALIZATIONS)
        lines.append(f"{weights:<12}" + "".join(f"{cell:>20}" for cell in cells))
    return "\n".join(lines)


_HEADS = {"sum": "by log-probability", "token": "per token", "byte": "per byte"}


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4f}"
