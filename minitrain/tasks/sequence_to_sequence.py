"""The task of an encoder-decoder: turn one sequence into another, such as a text into its translation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..backend.arrays import to_device, to_numpy
from ..data import PrefetchLoader
from ..data.encoded.overlong import texts_in
from ..data.encoded.pairs import TextPairs
from ..data.records.base import Records
from ..data.records.columns import Column
from ..data.records.parallel import ParallelText
from ..data.records.read import read_records
from ..data.samples.collate import pad_rows
from ..data.text.bpe import BOS, EOS, PAD
from ..errors import DataError
from ..folder import RunFolder
from ..folder.names import PLOTS
from ..formats import one_line
from ..generation import beam_search_targets
from ..models.seq2seq import Seq2Seq
from ..models.seq2seq_config import Seq2SeqConfig
from ..plotting.alignment import plot_alignment
from ..records.made import Made
from ..training.evaluator import LOSS, Evaluator
from ..training.setup import Setup
from .outcome import Measured
from .records.alignment import align
from .records.pairs import PairProcessor, build_processor
from .records.split import RecordSplit, check_fingerprints, check_there, describe_split, open_split, save_split
from .records.translations import EvaluationPairs, Written, copied, measures_of, signatures, worst_pairs
from .settings.data import DataSection
from .settings.generation import GenerationConfig
from .settings.model import register_model
from .settings.records import PairsConfig
from .task import Prepared, Task, TaskSettings, evenly, register_task

FROM_THE_RUN = {"vocab_size": 4, "target_vocab_size": None, "block_size": 2, "pad_idx": 0, "share_embeddings": True}
register_model("seq2seq", Seq2SeqConfig, task="sequence_to_sequence", from_run=FROM_THE_RUN)(Seq2Seq)
SHOWN = 8
"""Pairs in a sample."""
ALIGNED, LONGEST = 3, 60
"""Pairs in the picture of alignments, and the most tokens of one."""


class PairSplit(NamedTuple):
    """The pairs of a run, each encoded once to know its length.

    Attributes:
        records: the texts.
        train, val, test: the same as samples.
    """

    records: RecordSplit
    train: TextPairs
    val: TextPairs
    test: TextPairs


@register_task("sequence_to_sequence")
class SequenceToSequence(Task):
    """Makes a text of another, such as a translation. Its processor is a `PairProcessor`, its data a `PairSplit`."""

    name: ClassVar[str] = "sequence_to_sequence"
    data_kinds: ClassVar[tuple[str, ...]] = ("pairs",)
    usual_model: ClassVar[str] = "seq2seq"
    usual_recipe: ClassVar[str] = "copy"
    searches: ClassVar[bool] = True

    def check_data(self, data: DataSection) -> None:
        """Check that the files are there."""
        assert isinstance(data, PairsConfig)
        check_there(data)

    def prepare(self, config: TaskSettings, processor: PairProcessor | None = None) -> Prepared:
        """The pairs, and tokenizers of the training pairs."""
        records = _records(config)
        processor = processor or build_processor(config.data, records.train)
        processor = replace(processor, block_size=config.data.block_size)
        return Prepared(processor, _encoded(records, config.data, processor))

    def save(self, prepared: Prepared, config: TaskSettings, folder: RunFolder) -> PairsConfig:
        """Keep the tokenizers, and the fingerprints of the pairs."""
        prepared.processor.save(folder)
        data: PairsConfig = config.data
        return save_split(prepared.data.records, data, folder)

    def load_processor(self, folder: RunFolder) -> PairProcessor:
        """The tokenizers."""
        return PairProcessor.load(folder)

    def load(self, config: TaskSettings, folder: RunFolder) -> Prepared:
        """The tokenizers, and the pairs that the run began with."""
        records = _records(config)
        check_fingerprints(records, folder)
        processor = self.load_processor(folder)
        return Prepared(processor, _encoded(records, config.data, processor))

    def model_sizes(self, config: TaskSettings, processor: PairProcessor) -> dict[str, Any]:
        """The vocabularies' sizes, the longest sequence, padding, and whether both sides share a table."""
        return {
            "vocab_size": processor.source.vocab_size,
            "target_vocab_size": None if processor.shared else processor.target.vocab_size,
            "block_size": processor.block_size,
            "pad_idx": processor.target.special_id(PAD),
            "share_embeddings": processor.shared,
        }

    def loader(self, config: TaskSettings, prepared: Prepared) -> Any:
        """Pairs in random order; with ``data.max_tokens`` those of similar lengths together."""
        samples, data = prepared.data.train, config.data
        if data.max_tokens is None:
            loader: Any = samples.loader(config.trainer.batch_size, seed=config.seed)
        else:
            loader = samples.bucket_loader(data.max_tokens, seed=config.seed, buckets=data.buckets)
        return PrefetchLoader(loader, data.prefetch) if data.prefetch else loader

    def samples(self, config: TaskSettings, prepared: Prepared) -> TextPairs:
        """The pairs."""
        samples: TextPairs = prepared.data.train
        return samples

    def validation_data(self, config: TaskSettings, prepared: Prepared) -> EvaluationPairs:
        """The held-out pairs in order of length."""
        return EvaluationPairs(prepared.data.val, config.trainer.batch_size)

    def evaluate(
        self, config: TaskSettings, model: Any, prepared: Prepared, measured: Mapping[str, float] | None = None
    ) -> Measured:
        """Loss, error rates and scores of what the model writes for the test pairs."""
        processor, records = prepared.processor, prepared.data.records.test
        pairs = EvaluationPairs(prepared.data.test, config.trainer.batch_size)
        measures = measures_of(processor)
        predict = Written(partial(translate_batch, config, model, processor))
        evaluator = Evaluator(
            model,
            pairs,
            metrics=measures,
            predict=predict,
            device=config.device,
            precision=config.trainer.product_precision(),
        )
        table = evaluator.samples(data=f"{len(records)} pairs, {records.fingerprint}")
        values = table.values()
        others = {"copying the source": copied(pairs, measures)} if processor.shared else {}
        loss = values.pop(LOSS)
        worst = worst_pairs(pairs, predict.texts, table, next(iter(measures)))
        notes = (*signatures(measures), *worst)
        return Measured(loss, f"{len(records):,} pairs", values, others, notes, samples=table)

    def answer(self, config: TaskSettings, model: Any, processor: PairProcessor, text: str) -> str:
        """The target that the model writes to a text."""
        ids = processor.source.encode(text)
        if not 0 < len(ids) <= processor.block_size:
            raise DataError(f"the text has {len(ids)} tokens, and the model reads 1 to {processor.block_size}")
        source = pad_rows([ids], processor.source.special_id(PAD))
        return translate(config, model, processor, source)[0]

    def sample(self, config: TaskSettings, setup: Setup, prepared: Prepared) -> str:
        """Some held-out pairs with what the model makes of them."""
        lines = []
        for one in self.made(config, setup.model, prepared):
            lines += [f"source  {one.given}", f"written {one.made}", f"right   {one.right}", ""]
        return "\n".join(lines).strip("\n")

    def made(self, config: TaskSettings, model: Any, prepared: Prepared) -> list[Made]:
        """The targets that it writes to some held-out sources."""
        samples: TextPairs = prepared.data.test
        chosen = evenly(len(samples), SHOWN)
        source = samples.collate([samples[index] for index in chosen]).source
        found = []
        for index, text in zip(chosen, translate(config, model, prepared.processor, source), strict=True):
            row = samples.records[int(samples.rows[index])]
            right = texts_in(row["target"])
            found.append(Made(row["source"], " | ".join(right), text, text in right))
        return found

    def pictures(self, config: TaskSettings, model: Any, prepared: Prepared, folder: Path) -> tuple[Path, ...]:
        """Where the model looks in some sources while it writes; pairs of a readable length, from short to long."""
        samples: TextPairs = prepared.data.test
        order = np.argsort(samples.lengths.sum(axis=1), kind="stable")
        fitting = [int(row) for row in order if samples.lengths[row].max() <= LONGEST] or [int(order[0])]
        rows = np.unique(np.linspace(0, len(fitting) - 1, ALIGNED + 2)[1:-1].astype(int))
        texts = [samples.records[int(samples.rows[fitting[row]])]["source"] for row in rows.tolist()]
        processor: PairProcessor = prepared.processor
        found = [align(model, processor, processor.cut(text), device=config.device) for text in texts]
        path = RunFolder(folder).make(PLOTS) / "alignments.png"
        plot_alignment(found, path)
        return (path,)

    def describe(self, config: TaskSettings, prepared: Prepared) -> str:
        """How many pairs of what, in how many tokens."""
        source = one_line(config.data.dataset or config.data.path)
        processor = prepared.processor
        sizes = f"{processor.source.vocab_size:,}"
        if not processor.shared:
            sizes += f" and {processor.target.vocab_size:,}"
        return f"{describe_split(prepared.data.records, 'pairs', source, prepared.data[1:])} ({sizes} different tokens)"


def translate_batch(config: TaskSettings, model: Any, processor: PairProcessor, batch: Any) -> list[str]:
    """The targets that the model writes to the sources of a batch."""
    return translate(config, model, processor, to_numpy(batch.source))


def translate(config: TaskSettings, model: Any, processor: PairProcessor, source: NDArray[np.int32]) -> list[str]:
    """The targets that the model writes to sources (B, S)."""
    inputs = to_device(source, config.device)
    return written(model, processor.target, inputs, processor.block_size, config.generation)


def written(model: Any, tokenizer: Any, inputs: Any, most: int, how: GenerationConfig) -> list[str]:
    """The texts of at most ``most`` tokens that a model writes to each of its inputs, as ``how`` says."""
    begin, end, pad = (tokenizer.special_id(name) for name in (BOS, EOS, PAD))
    rows: Any  # (B, n) or B rows (n,): token ids
    if how.num_beams == 1:
        rows = to_numpy(model.generate(inputs, start=begin, end=end, max_new_tokens=most))[:, 1:]
    else:
        beams: dict[str, Any] = {"num_beams": how.num_beams, "length_penalty": how.length_penalty}
        found = beam_search_targets(model, inputs, start=begin, end=end, max_new_tokens=most, **beams)
        rows = [best.tokens for best, *_ in found]
    return [tokenizer.decode(row[(row != end) & (row != pad)]) for row in rows]


def _records(config: TaskSettings) -> RecordSplit:
    data: PairsConfig = config.data

    def read(path: str) -> Records:
        targets = data.val_target_path if path == data.val_path else data.target_path
        how: dict[str, Any] = {"broken": data.broken, "max_broken": data.max_broken}
        if targets is not None:
            return ParallelText(path, targets, **how)
        return read_records(path, {"source": data.source, "target": Column(data.target, "text or texts")}, **how)

    return open_split(data, read, seed=config.seed)


def _encoded(records: RecordSplit, data: PairsConfig, processor: PairProcessor) -> PairSplit:
    """The pairs as samples, once for parts that are the same.

    Raises:
        DataError: if a pair cannot be used and is refused.
    """
    found: dict[int, TextPairs] = {}
    for part in records:
        if id(part) not in found:
            found[id(part)] = TextPairs(
                part,
                processor.source,
                processor.target,
                max_source=processor.block_size,
                max_target=processor.block_size - 1,  # the end token follows
                overlong=data.overlong,
                broken=data.broken,
                max_broken=data.max_broken,
            )
    return PairSplit(records, *(found[id(part)] for part in records))
