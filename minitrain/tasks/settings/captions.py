"""The settings of images with texts."""

from __future__ import annotations

from ...measures.zero_shot import SLOT
from ...settings.section import setting
from .data import register_data
from .pictures import PicturesConfig


@register_data("captions")
class CaptionsConfig(PicturesConfig):
    """Images with texts: a folder with a captions file, a table, or archives; see `read_captions`.

    What is random is for training alone. Of several texts of an image, training takes one at random each time.
    """

    name: str = setting("captions", "Which kind of data it is.")
    caption: str = setting("caption", "In a table, the column with the texts: one, or a list of several.")
    label: str | None = setting(
        None, "The column with the class of each image, for zero-shot classification; null measures none."
    )
    prompts: tuple[str, ...] = setting(
        (SLOT,), f"What stands for a class in zero-shot classification, with {SLOT} for its name; several are averaged."
    )
    tokenizer: str = setting(
        "bpe",
        "What turns texts into tokens: pieces of words, characters, or words.",
        one_of=("bpe", "char", "word"),
    )
    vocab_size: int = setting(4096, "Largest vocabulary of a bpe tokenizer.", at_least=260, at_most=1_000_000)
    block_size: int = setting(32, "Longest text, in tokens; a start and an end token count.", at_least=2)
    overlong: str = setting("truncate", "What to do with a longer text.", one_of=("truncate", "skip", "refuse"))

    def check(self) -> None:
        """Check that prompts have a place for a name."""
        super().check()
        fits = bool(self.prompts) and all(SLOT in prompt for prompt in self.prompts)
        self.require(fits, "prompts", f"texts with {SLOT} in each, at least one")
