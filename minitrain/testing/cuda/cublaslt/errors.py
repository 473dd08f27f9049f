"""The error of the stand-in."""

from __future__ import annotations

INVALID_VALUE = 7
INTERNAL_ERROR = 14
NOT_SUPPORTED = 15


class FakeCublasLtError(RuntimeError):
    """A call broke a rule.

    Attributes:
        status: the ``cublasStatus_t`` that the library documents for it.
    """

    def __init__(self, rule: str, status: int = INVALID_VALUE) -> None:
        super().__init__(f"{rule} (status {status})")
        self.status = status


def demand(right: object, rule: str, status: int = INVALID_VALUE) -> None:
    """Raise an error that names ``rule`` unless it is kept."""
    if not right:
        raise FakeCublasLtError(rule, status)
