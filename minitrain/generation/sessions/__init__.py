"""Sessions: the sequences that are being generated, with what a model keeps of them from one step to the next."""

from .choice import session_for as session_for
from .session import LanguageModel as LanguageModel
from .session import Session as Session
from .session import UncachedSession as UncachedSession
