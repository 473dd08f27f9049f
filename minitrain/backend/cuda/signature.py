"""The signature of a kernel, as Python declares it: names and types of its parameters in one string.

``"f4* x, f4* bias?, i4 rows, f4 eps"`` are a float array, one that may be absent (``None``, a null pointer), an int and
a float. ``"f4@ x"`` is an array of any strides, which the kernel is told as numbers. Compilers compare it with the
kernel's own parameters, so the two cannot drift apart.
"""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import numpy as np

from ...errors import ConfigError


class Type(NamedTuple):
    """A type of parameters."""

    cpp: str
    dtypes: tuple[str, ...]  # names of the dtypes an array of it may have
    ctype: Any  # of a number; ``None`` if there are only arrays of it
    scalar: Any  # NumPy's type of a number


TYPES = {
    "f4": Type("float", ("float32",), ctypes.c_float, np.float32),
    "f8": Type("double", ("float64",), ctypes.c_double, np.float64),
    "bf16": Type("__nv_bfloat16", ("bfloat16", "uint16"), None, None),
    "f2": Type("__half", ("float16",), None, None),
    "i1": Type("signed char", ("int8",), None, None),
    "i4": Type("int", ("int32",), ctypes.c_int32, np.int32),
    "i8": Type("long long", ("int64",), ctypes.c_int64, np.int64),
    "u1": Type("unsigned char", ("uint8", "bool"), None, None),
    "u2": Type("unsigned short", ("uint16", "bfloat16", "float16"), None, None),
    "u4": Type("unsigned int", ("uint32",), ctypes.c_uint32, np.uint32),
    "u8": Type("unsigned long long", ("uint64",), ctypes.c_uint64, np.uint64),
}


class Parameter(NamedTuple):
    """One parameter of a kernel."""

    name: str
    type: Type
    is_array: bool
    optional: bool
    strided: bool

    @property
    def cpp(self) -> str:
        """The type in C++, without ``const``."""
        return self.type.cpp + ("*" if self.is_array else "")


def parse_signature(kernel: str, text: str) -> tuple[Parameter, ...]:
    """The parameters that ``text`` lists.

    Args:
        kernel: name of the kernel, for errors.
        text: see the module's docstring.

    Raises:
        ConfigError: if a type is unknown, a number is optional or of a type that only arrays have.
    """
    found = []
    for part in text.split(","):
        code, _, name = part.strip().partition(" ")
        is_array, optional = code[-1:] in ("*", "@"), name.endswith("?")
        kind = TYPES.get(code.rstrip("*@"))
        if kind is None or not name:
            raise ConfigError(
                f"{kernel}: {part.strip()!r} is no parameter; write a type of {', '.join(TYPES)} and a name"
            )
        if not is_array and (optional or kind.ctype is None):
            raise ConfigError(f"{kernel}: {part.strip()!r} must be an array; write {code}* {name}")
        found.append(Parameter(name.strip().rstrip("?"), kind, is_array, optional, code.endswith("@")))
    return tuple(found)
