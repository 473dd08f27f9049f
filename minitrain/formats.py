"""Formats numbers for people: bytes, durations, counts."""

from __future__ import annotations

from .errors import printable


def size(count: float) -> str:
    """Bytes in units of a thousand: ``"1.5 GB"``, ``"340 bytes"``."""
    value, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB", "PB", "EB"):
        if round(value, 1 if unit != "bytes" else 0) < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "bytes" or round(value, 1) >= 100 else f"{value:.1f} {unit}"


def duration(seconds: float) -> str:
    """Seconds in the two largest units that fit: ``"40 s"``, ``"3 min 20 s"``, ``"2 h 5 min"``."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600:,} h {seconds % 3600 // 60} min"


def clock(seconds: float) -> str:
    """Seconds as a clock shows them: ``"3:20"``, ``"2:05:00"``."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def short(count: float) -> str:
    """A count with its thousands as a letter: 1234567 is ``"1.23 M"``."""
    for unit, value in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= value:
            return f"{count / value:.2f} {unit}"
    return f"{count:.0f}"


def one_line(text: str) -> str:
    """``text`` on one line as it may be printed, see `printable`."""
    return printable(" ".join(text.split()))
