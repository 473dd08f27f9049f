"""Speculative decoding: a draft guesses several tokens, and one pass of the model checks them."""

from .acceptance import Proposal as Proposal
from .decode import speculative_generate as speculative_generate
from .drafts import Drafter as Drafter
from .drafts import DraftRequest as DraftRequest
from .lookup import PromptLookup as PromptLookup
from .row import Speculated as Speculated
