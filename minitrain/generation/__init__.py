"""Generating text with a trained model: sampling from logits, and the loop that appends the samples."""

from .batches import batch_generate as batch_generate
from .batches import batch_stream as batch_stream
from .decoding import generate as generate
from .decoding import stream as stream
from .engine import Engine as Engine
from .params import SamplingParams as SamplingParams
from .requests import Event as Event
from .requests import Result as Result
from .requests import Sample as Sample
from .sampling import sample_logits as sample_logits
from .session import LanguageModel as LanguageModel
from .session import Session as Session
from .session import UncachedSession as UncachedSession
from .text import ChatTemplate as ChatTemplate
from .text import Detokenizer as Detokenizer
from .text import Grammar as Grammar
from .text import StopStrings as StopStrings
from .text import TextGenerator as TextGenerator
from .text import apply_chat_template as apply_chat_template
from .text import continue_text as continue_text
from .text import detokenizer_of as detokenizer_of
from .text import encode_prompt as encode_prompt
from .text import find_tokenizer as find_tokenizer
from .text import generate_text_sampling as generate_text_sampling
from .text import sample_text as sample_text
from .text import text_pieces as text_pieces
