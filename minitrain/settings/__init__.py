"""Declared settings. Each has its name, type, default, range and description in one place.

`setting` declares one; a `Section` is a group of them that checks what it is given. Settings of optimizers, schedules,
callbacks and models are read from the signatures and docstrings of their classes, which are the place of those.
Nothing here knows of training.
"""
