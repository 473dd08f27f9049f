"""Predictions for GPUs: how long a step should take, from the kernels it launches and the published limits of a card.

A prediction is no measurement. It says what to look for: a kernel that takes much longer than predicted has a fault, or
the prediction has. ``python -m tools.gpu_predictions`` writes the table of ``docs/performance.md``.
"""

from .cards import CARDS as CARDS
from .cards import Card as Card
from .kernels import Kernel as Kernel
from .llama import LlamaShape as LlamaShape
from .llama import llama_step as llama_step
from .predict import Assumptions as Assumptions
from .predict import Prediction as Prediction
from .predict import predict as predict
from .steps import Shape as Shape
from .steps import decoding_step as decoding_step
from .steps import training_step as training_step
