"""The cases of the table of gradient checkers: 60 backwards with a mistake and 30 right ones that are hard to check."""
