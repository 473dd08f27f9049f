"""How objects show themselves in a notebook: pieces of HTML and SVG, built as text.

An object has the method ``_repr_html_``, which every front end of Jupyter asks for, and puts it together from the
pieces here. They need no script, no network and no style sheet. Colors are inherited from the page or readable on
white and on black.
"""
