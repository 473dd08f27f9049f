"""How much of a long sequence the model sees.

A session holds at most ``longest`` tokens, the model's ``block_size``. A sequence may grow beyond that. When the next
token has no room, the context starts again with the last ``longest // 2`` tokens of the sequence, and grows from there.

The alternative, to drop the oldest token each time, would move every other token to a new position, so that nothing
computed before could be used. Here a token costs a whole context once in ``longest / 2`` steps only. What the model
sees depends on the length of the sequence alone: a sequence that was continued in parts is the same as one continued
at once.
"""

from __future__ import annotations


def restart_length(longest: int) -> int:
    """The number of tokens that a context begins with when it starts again: half of ``longest``, at least one."""
    return max(1, longest // 2)


def context_start(length: int, longest: int) -> int:
    """The first token that the model sees of a sequence.

    Args:
        length: the number of tokens of the sequence, 1 or more.
        longest: the most tokens that the model can see.

    Returns:
        The index of the first token of the context; the context runs to the end of the sequence.
    """
    if length <= longest:
        return 0
    shortest = restart_length(longest)
    contexts = longest - shortest + 1  # of lengths shortest, …, longest; then it starts again
    return length - shortest - (length - longest - 1) % contexts
