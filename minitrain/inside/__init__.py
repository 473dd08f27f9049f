"""Looking inside a model: its activations, attention patterns and gradients by name, read or replaced."""

from .attention_view import AttentionView as AttentionView
from .look import Captured as Captured
from .look import capture as capture
from .look import patch as patch
from .sites import names as names
