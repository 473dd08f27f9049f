"""Which code multiplies matrices: chosen once in a process, recorded with a run, and kept when the run is continued.

Libraries add up the terms of a product in different orders, so their results differ in the last bits. A run that is
interrupted and continued has the bytes of one that was not only if both parts are multiplied by the same code. A
checkpoint therefore records its name, its version and the instructions it uses, once for each dtype of products.

What a checkpoint says is compared with names that are known here, and is never a path that is loaded.
"""

from __future__ import annotations

from collections.abc import Callable

from .kernels_mode import kernels_enabled
from .product import Product, Products


def in_use(device: str = "cpu", precision: str = "float32") -> dict[str, Product]:
    """The choice of products in this process; made now, if it was not yet. Nothing is known of other devices.

    Args:
        device: the model's device.
        precision: of the products. With bfloat16, the answer says also what multiplies such operands.

    Raises:
        ConfigError: if ``MINITRAIN_BLAS`` or ``MINITRAIN_BFLOAT16`` names what is unknown or cannot be loaded.
    """
    if device != "cpu":
        return {}
    import numpy as np

    dtypes = ("float32", "bfloat16") if precision == "bfloat16" else ("float32",)
    if not kernels_enabled():
        return dict.fromkeys(dtypes, Product("reference", np.__version__))
    from .cpu.products.blas import blas  # loads libraries

    found = blas()
    choice = {"float32": Product("numpy", np.__version__) if found is None else found.product}
    if "bfloat16" in dtypes:
        from .cpu.products.bf16_units import bf16_unit

        choice["bfloat16"] = Product(bf16_unit().computes)
    return choice


def keep_using(stored: Products, device: str, warn: Callable[[str], object]) -> str:
    """Multiply with what a checkpoint was made with, as far as that is possible here and now.

    Kernels are linked with a product when the first of them is loaded. Up to then the choice can change.
    ``MINITRAIN_BLAS`` and ``MINITRAIN_BFLOAT16`` are stronger than a checkpoint.

    Args:
        stored: the products in the checkpoint; nothing, if it is of a version that did not record it.
        device: the model's device.
        warn: called with a sentence if something else multiplies from here on.

    Returns:
        A sentence about what multiplies as before; empty if nothing does.

    Raises:
        ConfigError: if ``MINITRAIN_BLAS`` or ``MINITRAIN_BFLOAT16`` names what is unknown or cannot be loaded.
    """
    if device != "cpu" or not stored:
        return ""
    reasons: dict[str, str] = {}
    if kernels_enabled():
        from .cpu.products import bf16_units, blas

        if "float32" in stored:
            reasons["float32"] = blas.prefer(stored["float32"])
        if "bfloat16" in stored:
            reasons["bfloat16"] = bf16_units.prefer(stored["bfloat16"].name)
    now, same = in_use(device, "bfloat16" if "bfloat16" in stored else "float32"), []
    for dtype, before in stored.items():
        if (present := now.get(dtype)) == before:
            same.append(f"{before} ({dtype})")
            continue
        why = _mode_differs(before, present) or reasons.get(dtype) or "the former was not found here"
        warn(
            f"{dtype} matrices were multiplied by {before}, from here on by {present or 'other code'} ({why}): the "
            "bytes will differ from those of an uninterrupted run"
        )
    return f"matrices are multiplied as before, by {', '.join(same)}" if same else ""


def _mode_differs(before: Product, present: Product | None) -> str:
    """Why the code differs, if one of the two is the reference; else empty."""
    if before.name == "reference":
        return "MINITRAIN_KERNELS=reference is not set"
    return "kernels are off" if present is not None and present.name == "reference" else ""
