"""Trainings on the ranks of this machine, measured in CPU seconds and bytes, and the model fitted to them."""
