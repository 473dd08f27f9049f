"""All families of published models that are known here."""

from __future__ import annotations

from ..family import Family
from .bert import BERT
from .gpt2 import GPT2
from .llama import LLAMA, MISTRAL, QWEN2, QWEN3

FAMILIES: dict[str, Family] = {family.name: family for family in (GPT2, LLAMA, MISTRAL, QWEN2, QWEN3, BERT)}
"""The families by the ``model_type`` of their settings."""
