"""How good a language model is: its predictions of texts, and its answers to multiple-choice questions."""

from ..measures import Bin as Bin
from ..measures import Calibration as Calibration
from .choices import NORMALIZATIONS as NORMALIZATIONS
from .choices import ChoiceScore as ChoiceScore
from .choices import choice_likelihoods as choice_likelihoods
from .choices import choose as choose
from .choices import score_choices as score_choices
from .likelihood import ContinuationScorer as ContinuationScorer
from .likelihood import Likelihood as Likelihood
from .pairs import TokenPair as TokenPair
from .pairs import encode_pair as encode_pair
from .questions import Question as Question
from .questions import read_questions as read_questions
from .sizes import TextSize as TextSize
from .text_score import TextScore as TextScore
from .text_score import score_text as score_text
from .text_score import score_tokens as score_tokens
from .windows import Window as Window
from .windows import windows as windows
