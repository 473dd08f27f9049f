"""The limits of graphics cards as their maker publishes them."""

from __future__ import annotations

from typing import NamedTuple


class Card(NamedTuple):
    """A card. Rates are for dense matrices and sums in float32.

    Attributes:
        name: of the card.
        half: operations per second in bfloat16 and float16 on tensor cores.
        float8: the same in 8 bits; 0 if it has no units for them.
        tf32: the same in TF32.
        single: the same in float32, without tensor cores.
        bandwidth: bytes per second of its memory.
        source: NVIDIA's document.
    """

    name: str
    half: float
    float8: float
    tf32: float
    single: float
    bandwidth: float
    source: str

    def rate(self, precision: str) -> float:
        """Operations per second of products under a precision."""
        return {"tf32": self.tf32, "float32": self.single}.get(precision, self.half)


T, G = 1e12, 1e9
CARDS = {
    "A100": Card("A100 SXM 80 GB", 312 * T, 0, 156 * T, 19.5 * T, 2039 * G, "A100 datasheet, 2021"),
    "H100": Card("H100 SXM", 989 * T, 1979 * T, 495 * T, 67 * T, 3350 * G, "H100 datasheet, 2023"),
    "H200": Card("H200 SXM", 989 * T, 1979 * T, 495 * T, 67 * T, 4800 * G, "H200 datasheet, 2024"),
    "B200": Card("B200", 2250 * T, 4500 * T, 1125 * T, 75 * T, 8000 * G, "DGX B200 datasheet, 2024, an eighth of it"),
    "4090": Card("RTX 4090", 165 * T, 330 * T, 82.6 * T, 82.6 * T, 1008 * G, "Ada architecture whitepaper, 2022"),
}
