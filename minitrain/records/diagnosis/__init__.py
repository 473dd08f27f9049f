"""Diagnosis of a training from its history: problems by name, each with evidence, a likely cause and what to try."""

from .curves import Diagnosis as Diagnosis
from .curves import LossLevels as LossLevels
from .rules import blind_spots as blind_spots
from .rules import diagnose as diagnose
