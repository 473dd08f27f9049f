"""Callbacks that write records: to files in the run folder and to experiment trackers."""
