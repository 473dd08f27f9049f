"""Models in the formats of other programs, in both directions."""

from .formats import export as export
from .formats import load_published as load_published
from .gguf.model import load_gguf as load_gguf
from .gguf.model import save_gguf as save_gguf
from .gguf.reader import GGUFFile as GGUFFile
from .huggingface import load_huggingface as load_huggingface
from .huggingface import save_huggingface as save_huggingface
