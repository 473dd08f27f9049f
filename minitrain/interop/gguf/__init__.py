"""Models in GGUF files, the format of llama.cpp: the header, the types of blocks, and the names of weights."""

from .model import is_gguf as is_gguf
from .model import load_gguf as load_gguf
from .model import model_of as model_of
from .model import save_gguf as save_gguf
from .reader import GGUFFile as GGUFFile
