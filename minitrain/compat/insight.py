"""Trainers for any model, for transformers and for language models, with their masks, losses and tokenizer.

All names and signatures are minitrain's own; this module only has them in one place.
"""

from ..data import train_joint_bpe_tokenizer as train_joint_bpe_tokenizer
from ..losses import CrossEntropyLoss as CrossEntropyLoss
from ..losses import LabelSmoothing as LabelSmoothing
from ..losses import MeanSquaredError as MeanSquaredError
from ..nn import create_causal_mask as create_causal_mask
from ..nn import create_combined_mask as create_combined_mask
from ..nn import create_padding_mask as create_padding_mask
from ..trainers import LanguageModelTrainer as LanguageModelTrainer
from ..trainers import TransformerTrainer as TransformerTrainer
from ..trainers import train_model as train_model
