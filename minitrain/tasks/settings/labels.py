"""The settings of data with a class for each sample: images, or texts."""

from __future__ import annotations

from ...settings.section import setting
from .data import register_data
from .pictures import PicturesConfig
from .records import BUCKETS, RecordsConfig


@register_data("images")
class ImagesConfig(PicturesConfig):
    """Images with a class each: a folder for each class, arrays, archives or a table; see `read_images`.

    What is random is for training alone. An evaluation sees the images as they are, at the same size.
    """

    name: str = setting("images", "Which kind of data it is.")
    label: str = setting("label", "In a table, the column with the classes.")


@register_data("labelled_text")
class LabelledTextConfig(RecordsConfig):
    """Texts with a class each: a table with two columns, or a folder of text files for each class."""

    name: str = setting("labelled_text", "Which kind of data it is.")
    text: str = setting("text", "In a table, the column with the texts.")
    label: str = setting("label", "In a table, the column with the classes.")
    tokenizer: str = setting("bpe", "The tokens of texts: pieces of words, or bytes.", one_of=("bpe", "byte"))
    vocab_size: int = setting(4096, "Largest vocabulary of a bpe tokenizer.", at_least=260, at_most=1_000_000)
    block_size: int = setting(128, "Longest text, in tokens.", at_least=1)
    overlong: str = setting("truncate", "What to do with a longer text.", one_of=("truncate", "skip", "refuse"))
    max_tokens: int | None = setting(
        None,
        "Tokens, padding included, in a batch of texts of similar lengths; null takes trainer.batch_size texts.",
        at_least=1,
    )
    buckets: int = setting(8, BUCKETS, at_least=1)
