"""Checkpoints: a folder of safetensors and JSON that is verified before it is believed.

`CheckpointStore` keeps the newest and the best in a local or remote folder; `CheckpointManager` is the store for
training loops of your own. The format needs no pickle, so a checkpoint from someone else cannot run code.
"""

from .format import Checkpoint as Checkpoint
from .format import Contents as Contents
from .format import read_checkpoint as read_checkpoint
from .format import verify_checkpoint as verify_checkpoint
from .manager import CheckpointManager as CheckpointManager
from .store import CheckpointStore as CheckpointStore
