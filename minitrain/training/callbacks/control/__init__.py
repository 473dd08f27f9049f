"""Callbacks that steer a training: stop, skip, roll back, clip, save."""
