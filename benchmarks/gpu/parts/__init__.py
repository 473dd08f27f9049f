"""The parts of the report, in the order of what matters most: is it right, how exact is it, how fast is it."""

from __future__ import annotations

from ..running import Part

PARTS = (
    Part("setting", "what is measured on", "setting", 30),
    Part("build", "Kernels compiled for this card", "build", 75),
    Part(
        "contract",
        "Every operation by its shared case, against the readable code in float64",
        "contract",
        110,
        goes_on=True,
    ),
    Part("errors", "Errors of operations", "errors", 60),
    Part("gpt2", "Training, GPT-2 124M", "training", 110, {"shape": "gpt2"}),
    Part("char", "Training, char", "training", 70, {"shape": "char"}),
    Part("decoding", "Decoding", "decoding", 90),
    Part("losses", "Losses of 200 steps of GPT-2 124M", "losses", 60),
    Part("llama", "Training, Llama 124M", "training", 90, {"shape": "llama"}),
    Part("baby", "Training, baby", "training", 60, {"shape": "baby"}),
    Part("kernels", "Where a step of GPT-2 124M spends its time", "kernels", 50),
    Part("suite", "Tests on the card", "suite", 120),
)
