"""What numba reads from the environment while it is first imported; a user's own choice stays.

Kernels import numba before anything else of theirs runs, so their package imports this file first.
"""

from __future__ import annotations

import os
import sys

from ..threads import thread_count

if "numba" not in sys.modules:
    os.environ.setdefault("NUMBA_THREADING_LAYER_PRIORITY", "omp tbb workqueue")
    os.environ.setdefault("NUMBA_NUM_THREADS", str(thread_count()))
