"""Boolean attention masks with one meaning everywhere: True = may attend.

Each broadcasts to (B, H, T, S): B samples, H heads, T queries and S keys. So masks can be combined with ``&`` and
passed to ``attention_forward(..., mask=...)``. The options ``causal``, ``window`` and ``key_lengths`` are faster, since
they need no array.
"""

from __future__ import annotations

from ...backend.arrays import Array, check_plain, device_of, is_array, library_for
from ...errors import ShapeError

__all__ = [
    "create_causal_mask",
    "create_combined_mask",
    "create_document_mask",
    "create_padding_mask",
    "create_window_mask",
]


def create_padding_mask(tokens: Array, pad_idx: int = 0) -> Array:
    """Every query may attend to the keys that are not padding, wherever the padding is.

    Args:
        tokens: (B, S) integers, the tokens of the keys.
        pad_idx: id of the padding token.

    Returns:
        (B, 1, 1, S) boolean, on the device of ``tokens``.

    Raises:
        ShapeError: if ``tokens`` is not a matrix of integers.
    """
    _check_matrix("create_padding_mask: tokens must be (B, S) integers", tokens)
    real: Array = tokens != pad_idx
    return real[:, None, None, :]  # (B, S) -> (B, 1, 1, S)


def create_causal_mask(size: int, device: str = "cpu") -> Array:
    """Query t may attend to the keys s <= t: itself and what came before it.

    Args:
        size: number T of positions, of queries and keys alike.
        device: ``"cpu"`` or ``"cuda"``.

    Returns:
        (T, T) boolean.

    Raises:
        ShapeError: if ``size`` is negative.
        DeviceError: if the device cannot be used.
    """
    return _distances(size, device) >= 0


def create_window_mask(size: int, window: int, device: str = "cpu") -> Array:
    """Query t may attend to the ``window`` keys t - window < s <= t (Beltagy et al., 2020, arXiv:2004.05150).

    Args:
        size: number T of positions, of queries and keys alike.
        window: how many keys a query sees, including itself; from ``size`` on, the mask is the causal one.
        device: ``"cpu"`` or ``"cuda"``.

    Returns:
        (T, T) boolean.

    Raises:
        ShapeError: if ``size`` is negative, or ``window`` is not at least 1.
        DeviceError: if the device cannot be used.
    """
    if window < 1:
        raise ShapeError(f"create_window_mask: window = {window} must be at least 1; a query sees itself")
    distance = _distances(size, device)
    return (distance >= 0) & (distance < window)


def create_combined_mask(tokens: Array, pad_idx: int = 0) -> Array:
    """The causal and the padding mask combined, as a decoder needs for its targets.

    A query with only padding before it may attend to nothing; its output is zero.

    Args:
        tokens: (B, T) integers.
        pad_idx: id of the padding token.

    Returns:
        (B, 1, T, T) boolean, on the device of ``tokens``.

    Raises:
        ShapeError: if ``tokens`` is not a matrix of integers.
    """
    padding = create_padding_mask(tokens, pad_idx)
    device = device_of(tokens).partition(":")[0]  # "cuda:0" -> "cuda"
    return padding & create_causal_mask(tokens.shape[1], device)


def create_document_mask(documents: Array) -> Array:
    """Every query may attend only to keys of its own document, for windows that hold several documents.

    For a decoder, combine it with the option ``causal`` or with `create_causal_mask`.

    Args:
        documents: (B, T) integers, the document index of each token. Padding with an index of its own, such as -1,
            attends only to padding.

    Returns:
        (B, 1, T, T) boolean, on the device of ``documents``.

    Raises:
        ShapeError: if ``documents`` is not a matrix of integers.
    """
    _check_matrix("create_document_mask: documents must be (B, T) integers", documents)
    same: Array = documents[:, :, None] == documents[:, None, :]  # (B, T, T)
    return same[:, None]  # (B, T, T) -> (B, 1, T, T)


def _check_matrix(rule: str, x: Array) -> None:
    """Raise a ``ShapeError`` unless ``x`` is a matrix of integers."""
    if not is_array(x):
        raise ShapeError(f"{rule} in a NumPy or CuPy array, got {type(x).__name__}")
    check_plain(rule.partition(" must")[0], x)
    if x.ndim != 2 or x.dtype.kind not in "iu":
        raise ShapeError(f"{rule}, got {x.dtype} {x.shape}")


def _distances(size: int, device: str) -> Array:
    """(T, T): the distance ``t - s`` from key s to query t."""
    if size < 0:
        raise ShapeError(f"size = {size} of a mask must not be negative")
    xp = library_for(device)
    positions = xp.arange(size)
    distance: Array = positions[:, None] - positions
    return distance
