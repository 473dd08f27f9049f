"""The records of a run: the JSON lines file, the history in memory, diagnoses of it, and progress on the screen."""

from .collector import MetricsCollector as MetricsCollector
from .diagnosis import Diagnosis as Diagnosis
from .diagnosis import LossLevels as LossLevels
from .diagnosis import blind_spots as blind_spots
from .diagnosis import diagnose as diagnose
from .jsonl import MetricsWriter as MetricsWriter
from .jsonl import read_metrics as read_metrics
