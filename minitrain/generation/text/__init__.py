"""Between tokens and text: pieces of text as they are written, chats, and what a text must look like."""

from .chat import ChatTemplate as ChatTemplate
from .chat import apply_chat_template as apply_chat_template
from .constraints import Grammar as Grammar
from .continued import continue_text as continue_text
from .detokenize import Detokenizer as Detokenizer
from .detokenize import detokenizer_of as detokenizer_of
from .detokenize import encode_prompt as encode_prompt
from .detokenize import text_pieces as text_pieces
from .generator import TextGenerator as TextGenerator
from .generator import find_tokenizer as find_tokenizer
from .sampled import generate_text_sampling as generate_text_sampling
from .sampled import sample_text as sample_text
