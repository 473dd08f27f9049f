"""Generating text with a trained model: sampling from logits, and the loop that appends the samples."""

from .decoding import generate as generate
from .decoding import stream as stream
from .sampling import sample_logits as sample_logits
from .session import LanguageModel as LanguageModel
from .session import Session as Session
from .session import UncachedSession as UncachedSession
from .text import ChatTemplate as ChatTemplate
from .text import Constraint as Constraint
from .text import Detokenizer as Detokenizer
from .text import StopStrings as StopStrings
from .text import apply_chat_template as apply_chat_template
from .text import continue_text as continue_text
from .text import detokenizer_of as detokenizer_of
from .text import text_pieces as text_pieces
