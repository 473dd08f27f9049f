"""Environment variables that numba reads on its first import. A user's own values are kept.

Kernel files import numba at their top, so their package imports this file first.
"""

from __future__ import annotations

import os
import sys

from ..threads import thread_count

if "numba" not in sys.modules:
    os.environ.setdefault("NUMBA_THREADING_LAYER_PRIORITY", "omp tbb workqueue")
    os.environ.setdefault("NUMBA_NUM_THREADS", str(thread_count()))
