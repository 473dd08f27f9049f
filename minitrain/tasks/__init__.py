"""Tasks: one file for each, which connects data, model, metrics and report.

``task.py`` says what a task is, ``settings/`` declares the settings that tasks share, ``text/`` has texts as tokens.
"""

from ..records.made import Made as Made
from .captioning import Captioning as Captioning
from .classification import Classification as Classification
from .contrastive import Contrastive as Contrastive
from .language_model import LanguageModel as LanguageModel
from .masked_language_model import MaskedLanguageModel as MaskedLanguageModel
from .records.alignment import Alignment as Alignment
from .records.alignment import align as align
from .sequence_to_sequence import SequenceToSequence as SequenceToSequence
from .settings.data import DataSection as DataSection
from .settings.data import register_data as register_data
from .task import Outcome as Outcome
from .task import Prepared as Prepared
from .task import Task as Task
from .task import TaskSettings as TaskSettings
from .task import register_task as register_task
