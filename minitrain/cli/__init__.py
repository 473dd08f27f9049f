"""The command line: ``minitrain train | generate | eval | plot | info``."""

from .entry import main

__all__ = ["main"]
