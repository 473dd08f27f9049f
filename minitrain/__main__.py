"""``python -m minitrain``: the command line, also where no script was installed."""

import sys

from minitrain.cli import main

if __name__ == "__main__":
    sys.exit(main())
