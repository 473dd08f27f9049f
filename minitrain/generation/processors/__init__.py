"""Small pure functions that change or cut the distribution of the next token, each with its source."""

from .bans import ban as ban
from .bans import force as force
from .bans import no_repeat_ngrams as no_repeat_ngrams
from .cuts import keep_min_p as keep_min_p
from .cuts import keep_top_k as keep_top_k
from .cuts import keep_top_p as keep_top_p
from .cuts import keep_typical as keep_typical
from .penalties import add_bias as add_bias
from .penalties import penalize_frequency as penalize_frequency
from .penalties import penalize_repetition as penalize_repetition
