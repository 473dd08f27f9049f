"""Models of others, in and out: folders of transformers, and GGUF files."""

from .gguf import GGUFFile as GGUFFile
from .gguf import load_gguf as load_gguf
from .gguf import save_gguf as save_gguf
from .huggingface import load_huggingface as load_huggingface
from .huggingface import save_huggingface as save_huggingface
