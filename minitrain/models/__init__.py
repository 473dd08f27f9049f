"""Whole models, built from layers: GPT, Llama, encoders, an encoder–decoder, a vision transformer, an MLP."""

from .bert import Bert as Bert
from .bert import BertConfig as BertConfig
from .dual_encoder import DualEncoder as DualEncoder
from .dual_encoder import ImageTextBatch as ImageTextBatch
from .encoder import Encoder as Encoder
from .encoder import EncoderConfig as EncoderConfig
from .gpt import GPT as GPT
from .gpt import GPTConfig as GPTConfig
from .llama import Llama as Llama
from .llama import LlamaConfig as LlamaConfig
from .mlp import MLP as MLP
from .mlp import MLPConfig as MLPConfig
from .presets import PRESETS as PRESETS
from .presets import build_model as build_model
from .seq2seq import Seq2Seq as Seq2Seq
from .seq2seq_config import Seq2SeqConfig as Seq2SeqConfig
from .summary import ModelSummary as ModelSummary
from .summary import summarize as summarize
from .vit import ViT as ViT
from .vit import ViTConfig as ViTConfig
