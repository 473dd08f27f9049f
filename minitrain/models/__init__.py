"""Whole models, built from layers."""

from .gpt import GPT, GPTConfig

__all__ = ["GPT", "GPTConfig"]
