"""Duplicates: the signatures are datasketch's, equal texts are found, and near ones as often as promised."""

from __future__ import annotations

import errno
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.cli.failures import RUN_FAILED, describe
from minitrain.data.hygiene.duplicates import NearDuplicates, digest_of, similarity
from minitrain.data.hygiene.seen import SeenRecords, Twin
from minitrain.data.hygiene.words import ngrams, words
from minitrain.errors import ConfigError
from minitrain.files import FileError

datasketch = pytest.importorskip("datasketch")

TEXTS = st.lists(st.sampled_from(["one", "two", "three", "four", "five"]), max_size=12).map(" ".join)


@given(TEXTS, st.integers(1, 4))
@settings(max_examples=20)
def test_a_signature_is_that_of_datasketch(text: str, shingle: int) -> None:
    near = NearDuplicates(shingle=shingle, permutations=32)
    hashed = datasketch.MinHash(32)
    for run in ngrams(words(text), shingle) if len(words(text)) >= shingle else [" ".join(words(text))]:
        hashed.update(run.encode())
    assert near.signature(text) == (np.asarray(hashed.hashvalues, "<u4").tobytes() if text else b"")
    assert near.signature("!" + text.upper()) == near.signature(text)


def test_long_texts_are_hashed_in_parts() -> None:
    text = " ".join(map(str, range(9000)))
    hashed = datasketch.MinHash(16)
    hashed.update_batch([run.encode() for run in ngrams(text.split(), 5)])
    signature = NearDuplicates(permutations=16).signature(text)
    assert signature == np.asarray(hashed.hashvalues, "<u4").tobytes()


def test_the_similarity_is_the_share_of_equal_places() -> None:
    one, two = np.arange(8, dtype="<u4"), np.array([0, 1, 2, 3, 4, 5, 9, 9], "<u4")
    assert similarity(one.tobytes(), [one.tobytes(), two.tobytes()]).tolist() == [1.0, 0.75]


def test_the_estimate_is_near_the_jaccard_similarity() -> None:
    drawn = random.Random(1)
    near = NearDuplicates(shingle=1)
    errors = []
    for _ in range(60):
        both, one, two = (drawn.sample(range(10**6), count) for count in (80, 20, 20))
        signatures = [near.signature(" ".join(map(str, both + own))) for own in (one, two)]
        errors.append(similarity(signatures[0], signatures[1:])[0] - 80 / 120)
    assert abs(np.mean(errors)) < 0.02
    assert np.std(errors) < 0.5 / np.sqrt(128) * 1.3


@pytest.mark.parametrize("threshold", [0.5, 0.8, 0.95, 1.0])
def test_bands_find_most_of_what_is_at_the_threshold(threshold: float) -> None:
    near = NearDuplicates(threshold)
    number, places = near.bands
    assert number * places <= near.permutations
    assert near.probability(threshold) > 0.85
    assert near.probability(1.0) == 1.0
    assert near.probability(0.0) == 0.0
    assert near.probability(threshold) == pytest.approx(1 - (1 - threshold**places) ** number)
    keys = list(near.keys(near.signature("one two three four five six")))
    assert len(set(keys)) == number


def test_texts_with_a_common_key_are_those_that_datasketch_compares() -> None:
    drawn = random.Random(2)
    near = NearDuplicates(0.6, shingle=1, permutations=64)
    index = datasketch.MinHashLSH(threshold=0.6, num_perm=64, params=near.bands)
    texts = [" ".join(str(drawn.randrange(12)) for _ in range(9)) for _ in range(60)]
    hashes = []
    for text in texts:
        hashed = datasketch.MinHash(64)
        hashed.update_batch([word.encode() for word in text.split()])
        hashes.append(hashed)
    keys = [set(near.keys(near.signature(text))) for text in texts]
    for number, hashed in enumerate(hashes):
        index.insert(number, hashed)
    for number, hashed in enumerate(hashes):
        assert set(index.query(hashed)) == {other for other in range(60) if keys[number] & keys[other]}


@given(st.lists(TEXTS, max_size=12))
@settings(max_examples=20)
def test_the_index_finds_the_first_equal_and_the_most_similar_record(folder: Path, texts: list[str]) -> None:
    near = NearDuplicates(0.5, shingle=1, permutations=16)
    with SeenRecords(folder / "index", near) as seen:
        kept: dict[int, str] = {}
        for number, text in enumerate(texts, 1):
            digest, signature = digest_of(text), near.signature(text)
            twin = seen.twin(digest, signature)
            equal = [other for other, one in kept.items() if one == text]
            shared = set(near.keys(signature)) if signature else set()
            alike = {
                other: float(similarity(signature, [near.signature(one)])[0])
                for other, one in kept.items()
                if one and signature and shared & set(near.keys(near.signature(one)))
            }
            best = max(alike, key=lambda other: (alike[other], -other), default=None)
            if equal:
                assert twin == Twin(equal[0], f"place {equal[0]}", None)
            elif best is not None and alike[best] >= 0.5:
                assert twin == Twin(best, f"place {best}", alike[best])
            else:
                assert twin is None
                seen.add(number, f"place {number}", digest, signature)
                kept[number] = text
    assert not (folder / "index").exists()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("index")


def test_what_may_stay_is_not_found(folder: Path) -> None:
    near = NearDuplicates()
    signature = near.signature("one two three four five six")
    with SeenRecords(folder / "exact", None) as seen:
        seen.add(1, "a", digest_of("text"), signature)
        assert seen.twin(digest_of("TEXT "), signature) == Twin(1, "a", None)
        assert seen.twin(digest_of("other"), signature) is None
    with SeenRecords(folder / "near", near) as seen:
        seen.add(1, "a", b"", signature)
        assert seen.twin(b"", signature) == Twin(1, "a", 1.0)
        seen.add(2, "b", b"", b"")
        assert seen.twin(b"", b"") is None


def test_the_most_similar_record_is_neither_the_first_nor_the_last(folder: Path) -> None:
    near = NearDuplicates(0.5, shingle=1, permutations=64)
    with SeenRecords(folder / "middle", near) as seen:
        for number, text in enumerate(("a b c d e f g x", "a b c d e f g h", "a b c d e f y z"), 1):
            seen.add(number, text, b"", near.signature(text))
        twin = seen.twin(b"", near.signature("a b c d e f g h"))
        assert twin == Twin(2, "a b c d e f g h", 1.0)
        seen.close()
        with pytest.raises(FileError, match=r"cannot keep the index .*: Cannot operate on a closed database") as raised:
            seen.twin(b"", b"")
        assert raised.value.errno == errno.EIO


def test_sizes_of_digests_and_keys() -> None:
    assert len(digest_of("text")) == 16
    near = NearDuplicates(0.3, shingle=1, permutations=4096)  # as many as there may be
    keys = list(near.keys(near.signature("one two")))
    assert len(set(keys)) == near.bands[0] > 256
    assert {len(key) for key in keys} == {8}
    assert NearDuplicates(permutations=16).permutations == 16


def test_an_index_that_cannot_be_written_is_named(folder: Path) -> None:
    with pytest.raises(FileError, match="cannot keep the index"):
        SeenRecords(folder / "none" / "index", None)


def test_wrong_numbers_are_named() -> None:
    for wrong in ({"threshold": 0.0}, {"threshold": 1.1}, {"shingle": 0}, {"permutations": 15}, {"permutations": 4097}):
        ((name, value),) = wrong.items()
        with pytest.raises(ConfigError, match=f"{name}={value}"):
            NearDuplicates(**wrong)


def test_a_full_disk_is_the_disks_fault(tmp_path: Path) -> None:
    """The command line ends with the exit code of a failed run, not of a user's mistake."""
    with SeenRecords(tmp_path / "index", None) as seen:
        pages = seen._base.execute("PRAGMA page_count").fetchone()[0]
        seen._base.execute(f"PRAGMA max_page_count={pages}")
        with pytest.raises(FileError, match=r"cannot keep the index .*index: the disk is full") as raised:
            for number in range(100):
                seen.add(number, "a" * 10_000, b"%d" % number, b"")
    assert describe(raised.value)[1] == RUN_FAILED
