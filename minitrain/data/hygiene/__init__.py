"""Cleaning before training: duplicates, personal data, block-lists, languages, quality, and the evaluation set."""

from .blocklist import Blocklist as Blocklist
from .clean import clean as clean
from .duplicates import NearDuplicates as NearDuplicates
from .filters import Filter as Filter
from .filters import Finding as Finding
from .held_out import HeldOut as HeldOut
from .kinds import KINDS as KINDS
from .language import Language as Language
from .personal import PersonalData as PersonalData
from .quality import Quality as Quality
from .report import CleanReport as CleanReport
