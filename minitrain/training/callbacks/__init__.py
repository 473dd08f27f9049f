"""Callbacks that come with minitrain, one file each."""

from .jsonl import JsonlLogger
from .progress_tracker import ProgressTracker

__all__ = ["JsonlLogger", "ProgressTracker"]
