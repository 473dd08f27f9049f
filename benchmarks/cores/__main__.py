"""``python -m benchmarks.cores``."""

import sys

from .program import main

sys.exit(main())
