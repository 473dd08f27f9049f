"""Trials before a training: its learning rate, its batch size, its kernels, leaks. They change nothing."""

from .batch_size import BatchSearch as BatchSearch
from .batch_size import find_batch_size as find_batch_size
from .leaks import future_leak as future_leak
from .leaks import shared_samples as shared_samples
from .learning_rate import RateSearch as RateSearch
from .learning_rate import find_learning_rate as find_learning_rate
from .warm_up import compile_kernels as compile_kernels
from .warm_up import warm_up as warm_up
