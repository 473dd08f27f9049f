"""Trials before a training: the learning rate and the batch size that suit it. They change nothing."""

from .batch_size import BatchSearch as BatchSearch
from .batch_size import find_batch_size as find_batch_size
from .learning_rate import RateSearch as RateSearch
from .learning_rate import find_learning_rate as find_learning_rate
