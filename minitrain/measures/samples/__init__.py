"""The shares of single samples in a measure: tables by slice, bootstrap intervals, paired tests."""

from .bootstrap import Interval as Interval
from .bootstrap import intervals as intervals
from .paired import Difference as Difference
from .paired import compare_samples as compare_samples
from .paired import holm as holm
from .table import Collector as Collector
from .table import SampleTable as SampleTable
