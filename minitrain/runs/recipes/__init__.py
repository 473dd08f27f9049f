"""Recipes and the options of groups: settings that come in one piece, by a name.

``options.py`` reads what the package has, ``layers.py`` puts it together, and `recipe` is the call for Python.
"""

from .recipe import recipe as recipe
