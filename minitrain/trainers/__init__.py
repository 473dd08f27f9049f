"""Trainers for one kind of model each, thin layers over `minitrain.training.Trainer`.

Language models, encoder–decoders, pairs of images and texts, classifiers.
"""

from ..measures import perplexity as perplexity
from .epochs import EpochHistory as EpochHistory
from .language_and_pairs import LanguageModelTrainer as LanguageModelTrainer
from .language_and_pairs import TransformerTrainer as TransformerTrainer
from .language_and_pairs import train_model as train_model
from .multimodal import MultimodalTrainer as MultimodalTrainer
