"""Trials before a training: the learning rate and the batch size that suit it. They change nothing."""

from .finders import BatchSearch as BatchSearch
from .finders import RateSearch as RateSearch
from .finders import find_batch_size as find_batch_size
from .finders import find_learning_rate as find_learning_rate
