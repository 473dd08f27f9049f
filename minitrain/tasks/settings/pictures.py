"""The settings of data with images, whatever belongs to them: a class, or a text."""

from __future__ import annotations

from ...settings.section import setting
from .records import RecordsConfig


class PicturesConfig(RecordsConfig):
    """The settings that all data with images shares.

    What is random is for training alone. An evaluation sees the images as they are, at the same size.
    """

    file: str = setting("file", "In a table, the column with the file names.")
    mode: str = setting(
        "RGB", "Colour (RGB) or grey (L), for image files; arrays stay as they are.", one_of=("RGB", "L")
    )
    size: int | None = setting(
        None, "Height and width in pixels; null takes that of the first image.", at_least=1, at_most=4096
    )
    trim: bool = setting(
        False, "Whether an empty border is cut away first, so that drawings fill their images; see data.Trim."
    )
    zoom: float = setting(
        1.0, "Smallest share of an image that a random cut shows, scaled to the full size; 1 cuts nothing.", above=0
    )
    shift: int = setting(0, "Pixels that an image is moved at random, at most, in each direction.", at_least=0)
    turn: float = setting(0.0, "Degrees that an image is turned at random, at most.", at_least=0, at_most=180)
    stretch: float = setting(
        0.0, "Height and width are multiplied by random factors up to 1 + stretch, or divided.", at_least=0, at_most=1
    )
    colour: float = setting(
        0.0,
        "Random share of brightness, contrast and saturation that is added or taken; a tenth of it turns the hue.",
        at_least=0,
        at_most=1,
    )
    flip: float = setting(0.0, "Probability that an image is mirrored.", at_least=0, at_most=1)
    augment: int = setting(
        0, "Strength of two random changes of each image (RandAugment); 0 changes nothing.", at_least=0, at_most=30
    )
    erase: float = setting(
        0.0, "Probability that a random rectangle of an image is covered with grey.", at_least=0, at_most=1
    )
    keep: bool = setting(False, "Whether decoded images stay in memory; for small data that is slow to decode.")
    workers: int = setting(1, "Threads that read and decode images.", at_least=1)

    def check(self) -> None:
        """Check what a range does not say."""
        super().check()
        self.require(self.zoom <= 1, "zoom", "1 at most")
        self.require(self.size is None or self.shift < self.size, "shift", "less than data.size")
