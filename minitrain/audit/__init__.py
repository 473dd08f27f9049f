"""A memorisation audit: what a trained model remembers of its training text, by measurement.

Three questions: how exposed planted secrets are, how much of the training text can be extracted, and how well the loss
tells training text from held-out text.
"""

from .exposure import Exposure as Exposure
from .exposure import exposures as exposures
from .extraction import Extraction as Extraction
from .extraction import extract as extract
from .membership import Membership as Membership
from .membership import auc_interval as auc_interval
from .membership import membership as membership
from .report import Audit as Audit
from .run import audit_run as audit_run
