"""The packaged options and recipes. A file holds only the values that differ from the declared defaults.

A folder is a group, a file an option of it. A recipe has ``options`` for the groups and settings of its own.
"""
