"""NCCL, NVIDIA's library for several GPUs, as CuPy calls it."""

from __future__ import annotations

import importlib
from typing import Any

from ...errors import ConfigError

TYPES = {
    "int8": 0,
    "uint8": 1,
    "bool": 1,
    "int32": 2,
    "uint32": 3,
    "int64": 4,
    "uint64": 5,
    "float16": 6,
    "float32": 7,
    "float64": 8,
    "bfloat16": 9,
    "uint16": 9,
}
"""``ncclDataType_t`` of ``nccl.h``. CuPy's own table has no bfloat16, but its calls take the number. NCCL has no
integers of 16 bits; they travel as bfloat16, and arrive with the same bits."""


def load_nccl() -> Any:
    """The module ``cupy.cuda.nccl``.

    Raises:
        ConfigError: if CuPy cannot load the library.
    """
    try:
        return importlib.import_module("cupy.cuda.nccl")
    except ImportError as error:
        raise ConfigError(
            f"several ranks on GPUs exchange arrays by NCCL, which CuPy cannot load ({error}): "
            "pip install nvidia-nccl-cu13"
        ) from error
