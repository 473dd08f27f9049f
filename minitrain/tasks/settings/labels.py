"""The settings of data with a class for each sample: images, or texts."""

from __future__ import annotations

from ...settings.section import setting
from .data import register_data
from .records import RecordsConfig


@register_data("images")
class ImagesConfig(RecordsConfig):
    """Images with a class each: a folder for each class, arrays, archives or a table; see `read_images`.

    What is random is for training alone. An evaluation sees the images as they are, at the same size.
    """

    name: str = setting("images", "Which kind of data it is.")
    file: str = setting("file", "In a table, the column with the file names.")
    label: str = setting("label", "In a table, the column with the classes.")
    mode: str = setting(
        "RGB", "Colour (RGB) or grey (L), for image files; arrays stay as they are.", one_of=("RGB", "L")
    )
    size: int | None = setting(
        None, "Height and width in pixels; null takes that of the first image.", at_least=1, at_most=4096
    )
    zoom: float = setting(
        1.0, "Smallest share of an image that a random cut shows, scaled to the full size; 1 cuts nothing.", above=0
    )
    shift: int = setting(0, "Pixels that an image is moved at random, at most, in each direction.", at_least=0)
    flip: float = setting(0.0, "Probability that an image is mirrored.", at_least=0, at_most=1)
    augment: int = setting(
        0, "Strength of two random changes of each image (RandAugment); 0 changes nothing.", at_least=0, at_most=30
    )
    erase: float = setting(
        0.0, "Probability that a random rectangle of an image is covered with grey.", at_least=0, at_most=1
    )
    workers: int = setting(1, "Threads that read and decode images.", at_least=1)

    def check(self) -> None:
        """Check what a range does not say."""
        super().check()
        self.require(self.zoom <= 1, "zoom", "1 at most")
        self.require(self.size is None or self.shift < self.size, "shift", "less than data.size")


@register_data("labelled_text")
class LabelledTextConfig(RecordsConfig):
    """Texts with a class each: a table with two columns, or a folder of text files for each class."""

    name: str = setting("labelled_text", "Which kind of data it is.")
    text: str = setting("text", "In a table, the column with the texts.")
    label: str = setting("label", "In a table, the column with the classes.")
    tokenizer: str = setting("bpe", "What turns texts into tokens: pieces of words, or bytes.", one_of=("bpe", "byte"))
    vocab_size: int = setting(4096, "Largest vocabulary of a bpe tokenizer.", at_least=260, at_most=1_000_000)
    block_size: int = setting(128, "Longest text, in tokens.", at_least=1)
    overlong: str = setting("truncate", "What to do with a longer text.", one_of=("truncate", "skip", "refuse"))
    max_tokens: int | None = setting(
        None,
        "Tokens, padding included, in a batch of texts of similar lengths; null takes trainer.batch_size texts.",
        at_least=1,
    )
