"""What the history of a training shows: troubles by name, each with its evidence, its likely cause and what to try."""

from .curves import Diagnosis as Diagnosis
from .curves import LossLevels as LossLevels
from .rules import blind_spots as blind_spots
from .rules import diagnose as diagnose
