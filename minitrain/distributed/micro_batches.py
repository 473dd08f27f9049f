"""Which micro-batches of a step a rank works on, and how many ranks there may be.

The number of micro-batches is a setting, the same for every number of ranks. Their gradients are added in a fixed tree
(`minitrain.distributed.tree`). A rank must have a branch of it: a run of 1, 2, 4, … micro-batches.
"""

from __future__ import annotations

from ..errors import ConfigError


def valid_ranks(micro_batches: int) -> list[int]:
    """The numbers of ranks that end with the same bytes, ascending; 1 is always among them.

    Example:
        >>> valid_ranks(8), valid_ranks(6)
        ([1, 2, 4, 8], [1, 3, 6])
    """
    shares = {micro_batches, *(1 << k for k in range(micro_batches.bit_length()))}
    return sorted(micro_batches // share for share in shares if micro_batches % share == 0)


def check_ranks(micro_batches: int, ranks: int) -> None:
    """Check that so many ranks can share so many micro-batches.

    Raises:
        ConfigError: if they cannot; names the valid numbers.
    """
    valid = valid_ranks(micro_batches)
    if ranks not in valid:
        raise ConfigError(
            f"{ranks} ranks cannot share trainer.gradient_accumulation_steps={micro_batches} micro-batches so that the "
            f"result has the same bytes as with one: use {_listed(valid)} rank{'s' if valid != [1] else ''}, or make "
            f"gradient_accumulation_steps {ranks}, {2 * ranks} or {4 * ranks}"
        )


def share_of(rank: int, ranks: int, micro_batches: int) -> range:
    """The numbers of the micro-batches of a rank, which `check_ranks` has let through."""
    each = micro_batches // ranks
    return range(rank * each, (rank + 1) * each)


def _listed(numbers: list[int]) -> str:
    *first, last = map(str, numbers)
    return f"{', '.join(first)} or {last}" if first else last
