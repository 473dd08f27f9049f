"""The errors minitrain raises on purpose. Each message says what was wrong, where, and what to change."""

from __future__ import annotations

import re
from collections.abc import Iterable


class MinitrainError(Exception):
    """Base of every error a user can cause; the command line prints it as one line, without a traceback."""


class ConfigError(MinitrainError):
    """A setting is unknown, of the wrong type, out of range, or at odds with another one."""


class DataError(MinitrainError):
    """A text, token file or batch is missing, damaged, too short, or does not fit the model."""


class CheckpointError(MinitrainError):
    """A checkpoint is damaged, incomplete, or belongs to another model."""


class DeviceError(MinitrainError):
    """A device was asked for that is not there, or arrays of two devices met in one call."""


class ShapeError(MinitrainError, ValueError):
    """An array's shape or dtype does not fit the operation it was given to."""


class TokenError(MinitrainError, IndexError):
    """A token id or a class index lies outside the vocabulary."""


class NonFiniteError(MinitrainError):
    """A loss or a gradient became NaN or infinite; the message names the step and the first bad tensor."""


class BadSampleError(NonFiniteError):
    """A batch that has a NaN or an infinity in its own arrays; the message names the array and the sample."""


class WorkerError(MinitrainError):
    """A program that a benchmark started died or fell silent; the message ends with the last lines it printed."""


_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Characters that steer a terminal instead of being shown: control characters, marks that turn the direction of text,
and halves of surrogate pairs. Tabs and line breaks are text."""
_PASSWORD = re.compile(r"(\w[\w+.-]*://)[^/@:\s]*:(?!\d+/)\S*@")  # not the port of host:8080/folder@home


def printable(text: str) -> str:
    r"""``text`` from users, files or checkpoints as it may be printed: control characters escaped, passwords left out.

    A terminal obeys control sequences, so text that others wrote is never printed as it is.

    Example:
        >>> print(printable("\x1b[2Jrun s3://key:secret@bucket"))
        \x1b[2Jrun s3://***@bucket
    """
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), _PASSWORD.sub(r"\1***@", text))


def has_password(url: str) -> bool:
    """Whether ``url`` has a user and a password in it, as in ``s3://key:secret@bucket``."""
    return _PASSWORD.match(url) is not None


def nearest(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The one of ``known`` that is spelled most like ``name``, for a message; ``None`` if none is near.

    Args:
        name: the name that was given.
        known: the names that exist.
        cutoff: how alike they must be, from 0 to 1.
    """
    import difflib  # only when something has gone wrong

    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)), None)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``"did you mean 'x'? "`` for the nearest of ``known``, and nothing if none is near."""
    near = nearest(name, known)
    return f"did you mean {near!r}? " if near else ""
