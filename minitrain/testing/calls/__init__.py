"""Where calls to check come from: drawn shapes, a script that repeats one, and what a file defines."""

from .drawn import check_drawn as check_drawn
from .script import script_for as script_for
