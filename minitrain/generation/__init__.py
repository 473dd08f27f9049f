"""Generating text with a trained model: sampling from logits, and the loop that appends the samples."""

from .batching.batches import batch_generate as batch_generate
from .batching.batches import batch_stream as batch_stream
from .batching.engine import Engine as Engine
from .batching.requests import Event as Event
from .batching.requests import Result as Result
from .batching.requests import Sample as Sample
from .decoding import generate as generate
from .decoding import stream as stream
from .params import SamplingParams as SamplingParams
from .sampling import sample_logits as sample_logits
from .sessions import LanguageModel as LanguageModel
from .sessions import Session as Session
from .sessions import UncachedSession as UncachedSession
from .sessions import session_for as session_for
from .text import continue_text as continue_text
from .texts import generate_text_sampling as generate_text_sampling
from .texts import sample_text as sample_text
