"""The context of one text in one slot of a session, where one text follows another."""

from __future__ import annotations

import numpy as np

from ..context import context_start
from ..sessions.session import Session, Tokens


class SlotContext:
    """The context of one text in one slot of a session.

    Texts follow each other: most share a beginning with the text before. What they share stays in the session.

    Args:
        session: the session.
        slot: a free slot.

    Attributes:
        text: (n,) int32 the last text, with what was added.
    """

    def __init__(self, session: Session, slot: int) -> None:
        self.session, self.slot = session, slot
        self._start, self.text = 0, np.empty(0, np.int32)  # the slot holds tokens of this text, from there on

    def move(self, text: Tokens) -> Tokens:
        """Cut the slot down to what it shares with the context of ``text``, less its last token.

        Args:
            text: (n,) the next text, at least one token. It may end with guesses, as long as they fit into the context.

        Returns:
            The tokens of the context that the slot lacks, one or more. The caller must extend the slot by them.
        """
        start = context_start(len(text), self.session.longest)
        held = min(self._start + self.session.length(self.slot), len(text) - 1)
        differs = np.flatnonzero(self.text[:held] != text[:held])
        shared = int(differs[0]) if len(differs) else held
        if start != self._start or shared < start:
            shared = start
        self.session.cut(self.slot, shared - start)
        self._start, self.text = start, text.copy()
        return text[shared:]

    def add(self, tokens: Tokens) -> Tokens:
        """Note more tokens after the text, guesses for instance. The caller must extend the slot by them, too."""
        self.text = np.concatenate([self.text, tokens])
        return tokens

    def room(self, length: int) -> int:
        """How many tokens fit behind a text of ``length`` tokens before its context starts again."""
        return context_start(length, self.session.longest) + self.session.longest - length

    def release(self) -> None:
        """Free the slot."""
        self.session.cut(self.slot, 0)
