"""Lists of unwanted texts in a run on a text: keep them, train against them, count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ...data import Batch, MixedTokenLoader, Tokenizer, TokenLoader, UnwantedTexts, encode_unwanted
from ...data.tokens.unwanted import parse_unwanted, read_unwanted, write_unwanted
from ...errors import ConfigError
from ...folder import RunFolder
from ...folder.names import UNWANTED, UNWANTED_VAL
from ...losses import UnlikelihoodLoss
from ...training.callbacks import CountUnwanted
from ..settings.data import TokensConfig
from ..settings.objective import create_loss


class Listed(NamedTuple):
    """The lists of a run, each empty if the run has none.

    Attributes:
        train: what is trained against.
        val: what is counted.
    """

    train: tuple[UnwantedTexts, ...] = ()
    val: tuple[UnwantedTexts, ...] = ()

    def characters(self) -> str:
        """All that a tokenizer has to know to train against them and to count."""
        trained = ("".join((one.prompt, *one.unwanted, one.refusal)) for one in self.train)
        return "".join((*trained, *(one.prompt for one in self.val)))


def read_listed(data: TokensConfig) -> Listed:
    """The lists that the settings name.

    Raises:
        DataError: if one is not such a list.
        FileError: if a file cannot be read.
    """
    train = () if data.unwanted is None else tuple(read_unwanted(data.unwanted))
    counted = train if data.unwanted_val is None else tuple(read_unwanted(data.unwanted_val))
    return Listed(train if data.unwanted_share else (), tuple(one for one in counted if one.unwanted))


def save_listed(listed: Listed, run: RunFolder) -> None:
    """Put the lists into the run folder."""
    for name, entries in zip((UNWANTED, UNWANTED_VAL), listed, strict=True):
        if entries:
            run.write(name, write_unwanted(entries))


def load_listed(data: TokensConfig, run: RunFolder) -> Listed:
    """The lists that `save_listed` put into the run folder.

    Raises:
        DataError: if a list is damaged, or gone though the settings name one.
    """
    if data.unwanted is None and data.unwanted_val is None:
        return Listed()
    found = [
        tuple(parse_unwanted(run.read(name), str(run.path / name))) if run.exists(name) else ()
        for name in (UNWANTED, UNWANTED_VAL)
    ]
    return Listed(*found)


def check_listed(data: Any, loss: Any, smoothing: float) -> None:
    """Check that the loss can tell wanted from unwanted texts.

    Raises:
        ConfigError: if it cannot.
    """
    if data.unwanted is None or not data.unwanted_share:
        return
    name = loss.get("name") if isinstance(loss, dict) else loss
    if name not in (None, "unlikelihood"):
        raise ConfigError(
            f"loss={name} cannot train against the unwanted texts of data.unwanted: take loss=unlikelihood, or leave "
            "it out; data.unwanted_share=0 only counts"
        )
    if smoothing:
        raise ConfigError(f"model.label_smoothing={smoothing} goes with the model's own loss; data.unwanted needs 0")


def samples_of(listed: Listed, tokenizer: Tokenizer, block_size: int) -> Batch:
    """The samples that are trained on; see `encode_unwanted`."""
    return encode_unwanted(listed.train, tokenizer, block_size)


def mixed(loader: TokenLoader, listed: Listed, tokenizer: Tokenizer, share: float) -> TokenLoader | MixedTokenLoader:
    """The batches of a text, with samples of the list among them if there is one."""
    if not listed.train:
        return loader
    return MixedTokenLoader(loader, samples_of(listed, tokenizer, loader.block_size), share)


def loss_of(listed: Listed, loss: Any) -> Any:
    """The loss that the settings name; if they name none and there are unwanted texts, `UnlikelihoodLoss`."""
    against = loss is None and any(one.unwanted for one in listed.train)
    return UnlikelihoodLoss() if against else create_loss(loss)


def counting(listed: Listed, seed: int) -> Sequence[CountUnwanted]:
    """The callback that counts unwanted continuations at evaluations, if there is a list."""
    return [CountUnwanted(listed.val, seed=seed)] if listed.val else []
