"""Phrases that a text must contain, followed token by token by one automaton."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from ...errors import ConfigError

Constraint = int | Sequence[int] | Sequence[Sequence[int]]
"""A token, a phrase of tokens, or several phrases of which one is enough."""
Phrase = tuple[int, ...]

MOST_STATES = 100_000


class Phrases:
    """An automaton that knows which constraints a text meets, and how many tokens it still needs at least.

    A state is a node of the trie of all phrases (Aho and Corasick, 1975, "Efficient String Matching": the longest end
    of the text that begins a phrase) and the set of constraints that are met. Phrases may overlap, and the distances
    take it into account: ``1 2 3`` meets both ``1 2`` and ``2 3``. States are numbered; a text begins in state 0.

    Args:
        constraints: see `Constraint`.

    Attributes:
        needed: (S,) the smallest number of tokens after which all constraints can be met, for each state.

    Raises:
        ConfigError: if a constraint has no tokens, an id is negative, or there are too many states.
    """

    def __init__(self, constraints: Sequence[Constraint]) -> None:
        alternatives = [_alternatives(constraint) for constraint in constraints]
        self.tokens = sorted({token for phrases in alternatives for phrase in phrases for token in phrase})
        self._column = {token: i for i, token in enumerate(self.tokens)}
        self._next = self._build(alternatives)  # (S, tokens + 1) the last column is for every other token
        self.needed = self._distances(met_by_all=(1 << len(alternatives)) - 1)

    def step(self, state: int, token: int) -> int:
        """The state after one more token."""
        return int(self._next[state, self._column.get(token, len(self.tokens))])

    def needed_after(self, state: int, vocab_size: int) -> np.ndarray[Any, Any]:
        """``needed`` after each token that may come: (V,) int32."""
        after = self.needed[self._next[state]]
        every = np.full(vocab_size, after[-1], np.int32)
        every[self.tokens] = after[:-1]
        return every

    def _build(self, alternatives: list[list[Phrase]]) -> np.ndarray[Any, Any]:
        """Find all states that texts can reach, and the transitions between them."""
        nodes, meets = _trie(alternatives)
        numbers, states, rows = {(0, 0): 0}, [(0, 0)], []
        for at, met in states:  # grows meanwhile
            row = []
            for token in [*self.tokens, None]:
                node = 0 if token is None else nodes[at][token]
                state = (node, met | meets[node])
                if state not in numbers:
                    numbers[state] = len(states)
                    states.append(state)
                row.append(numbers[state])
            rows.append(row)
            if len(states) > MOST_STATES:
                raise ConfigError(
                    f"the {len(alternatives)} constraints have more than {MOST_STATES} states together, since the "
                    "number doubles with each: give fewer or shorter ones"
                )
        self._met = [met for _, met in states]
        return np.array(rows, np.int64)

    def _distances(self, met_by_all: int) -> np.ndarray[Any, Any]:
        """(S,) int32: backwards from the states that meet all constraints."""
        before: list[list[int]] = [[] for _ in self._met]
        for state, row in enumerate(self._next.tolist()):
            for after in set(row):
                before[after].append(state)
        needed = np.full(len(self._met), -1, np.int32)
        goals = [state for state, met in enumerate(self._met) if met == met_by_all]
        needed[goals] = 0
        queue = deque(goals)
        while queue:
            state = queue.popleft()
            for earlier in before[state]:
                if needed[earlier] < 0:
                    needed[earlier] = needed[state] + 1
                    queue.append(earlier)
        return needed


def _alternatives(constraint: Constraint) -> list[Phrase]:
    """The phrases of a constraint, of which one is enough."""
    if isinstance(constraint, int | np.integer):
        phrases: list[Any] = [[constraint]]
    elif isinstance(cast(Any, constraint), str):
        raise ConfigError(f"constraint {constraint!r} is a text: a tokenizer turns it into integers")
    elif len(constraint) and not isinstance(constraint[0], int | np.integer):
        phrases = list(constraint)
    else:
        phrases = [constraint]
    for phrase in phrases:
        if not len(phrase) or not all(isinstance(token, int | np.integer) and token >= 0 for token in phrase):
            raise ConfigError(
                f"constraint {constraint!r} is not a token, a phrase or a list of phrases; "
                "a phrase is a list of ids, each 0 or more, at least one"
            )
    return [tuple(int(token) for token in phrase) for phrase in phrases]


def _trie(alternatives: list[list[Phrase]]) -> tuple[list[dict[int, int]], list[int]]:
    """The automaton of Aho and Corasick.

    Returns:
        For each node, the node after each token of any phrase, and the constraints that are met there, as bits.
    """
    children: list[dict[int, int]] = [{}]
    meets = [0]
    for i, phrases in enumerate(alternatives):
        for phrase in phrases:
            node = 0
            for token in phrase:
                if token not in children[node]:
                    children[node][token] = len(children)
                    children.append({})
                    meets.append(0)
                node = children[node][token]
            meets[node] |= 1 << i
    tokens = {token for phrases in alternatives for phrase in phrases for token in phrase}
    nodes: list[dict[int, int]] = [{} for _ in children]
    fallback = [0] * len(children)  # the longest proper end of a node's text that is a node, too
    queue = deque([0])
    while queue:  # short texts first, so that fallbacks are complete
        node = queue.popleft()
        meets[node] |= meets[fallback[node]]
        for token in tokens:
            elsewhere = nodes[fallback[node]][token] if node else 0
            child = children[node].get(token)
            nodes[node][token] = elsewhere if child is None else child
            if child is not None:
                fallback[child] = elsewhere
                queue.append(child)
    return nodes, meets
