"""The command line, one file for each command."""

from .entry import main as main
