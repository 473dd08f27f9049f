"""Options that several commands share: the help of a group of settings, and ``--plugin``."""
