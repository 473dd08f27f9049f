"""Readers of images: folders, captions, IDX files, tar archives, arrays; damage is named."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib import format as npy

from minitrain.data import (
    CaptionedImages,
    ImageArrays,
    ImageFolder,
    MemoryRecords,
    TarImages,
    read_idx,
    read_idx_images,
    read_images,
    read_npz_images,
)
from minitrain.errors import ConfigError, DataError
from tests.data.images.made import encoded, idx, pixels, tar


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of two images each, and what is no image."""
    for number, name in enumerate(["cat/a.png", "cat/deep/b.jpg", "dog/a.PNG", "dog/c.webp"]):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(pixels(4 + number, 5, seed=number), "JPEG" if "jpg" in name else "PNG"))
    (tmp_path / "images" / "dog" / "notes.txt").write_text("none")
    (tmp_path / "images" / "dog" / ".hidden.png").write_text("none")
    (tmp_path / "images" / "dog" / "link.png").symlink_to(tmp_path / "images" / "cat" / "a.png")
    return tmp_path / "images"


def test_a_folder_of_classes(folder: Path) -> None:
    records = ImageFolder(folder)
    assert records.classes == ["cat", "dog"]
    assert [(r["image"].shape, r["label"]) for r in records] == [
        ((3, 4, 5), "cat"),
        ((3, 5, 5), "cat"),
        ((3, 6, 5), "dog"),
        ((3, 7, 5), "dog"),
    ]
    np.testing.assert_array_equal(records[2]["image"], pixels(6, 5, seed=2))
    assert ImageFolder(folder, mode="L")[0]["image"].shape == (1, 4, 5)
    assert len({ImageFolder(folder).fingerprint, ImageFolder(folder, mode="L").fingerprint}) == 2
    with pytest.raises(DataError, match="needs one folder for each class"):
        ImageFolder(folder / "cat" / "deep")
    with pytest.raises(ConfigError, match="mode='grey'"):
        ImageFolder(folder, mode="grey")


def test_a_corrupt_image_is_refused_by_name_or_left_out(folder: Path) -> None:
    (folder / "cat" / "b.png").write_bytes(encoded(pixels(30, 30))[:200])
    records = ImageFolder(folder)  # listed without reading
    with pytest.raises(DataError, match=r'cat/b\.png: the image cannot be decoded.*broken="skip"'):
        records[1]
    skipped = ImageFolder(folder, broken="skip", max_broken=0.2)
    assert [r["label"] for r in skipped] == ["cat", "cat", "dog", "dog"]
    assert skipped.broken.count == 1
    assert "cat/b.png: the image cannot be decoded" in skipped.broken.describe()
    with pytest.raises(DataError, match="1 of 5 items are broken"):
        ImageFolder(folder, broken="skip")
    os.mkfifo(folder / "cat" / "c.png")  # never opened
    assert len(ImageFolder(folder)) == 5


def test_images_with_captions(folder: Path) -> None:
    rows = [{"file": "cat/a.png", "caption": "a cat"}, {"file": "dog/a.PNG", "caption": "a dog"}]
    records = CaptionedImages(folder, MemoryRecords(rows))
    assert records.columns == ("image", "caption")
    assert [(r["caption"], r["image"].shape[1]) for r in records] == [("a cat", 4), ("a dog", 6)]
    assert records.without_image(1) == {"caption": "a dog"}
    outside = ["../secret.png", "/etc/hostname", "cat/../../x.png", "cat/a.png\0"]
    for name in outside:
        with pytest.raises(DataError, match="leads out of"):
            CaptionedImages(folder, MemoryRecords([{"file": name, "caption": "x"}]))[0]
    names = [*outside, "dog/link.png", "dog/none.png"]
    bad = MemoryRecords([*rows, *({"file": name, "caption": "x"} for name in names)])
    skipped = CaptionedImages(folder, bad, broken="skip", max_broken=0.9)
    assert (len(skipped), skipped.broken.count) == (2, 6)
    assert skipped[1]["caption"] == "a dog"
    with pytest.raises(DataError, match="no 'path' with file names"):
        CaptionedImages(folder, MemoryRecords(rows), file="path")


@given(shape=st.lists(st.integers(1, 5), min_size=1, max_size=4), packed=st.booleans())
@settings(max_examples=30)
def test_idx_files_come_back(tmp_path_factory: pytest.TempPathFactory, shape: list[int], packed: bool) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    path = tmp_path_factory.mktemp("idx") / ("a.gz" if packed else "a")
    path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    found = read_idx(path)
    np.testing.assert_array_equal(found, array)


def test_hostile_idx_files(tmp_path: Path) -> None:
    good = idx(np.zeros((2, 3, 3), np.uint8))
    bad = {
        "ends within its header": good[:9],
        "does not begin like one": b"\1" + good[1:],
        "type 0x0d": good[:2] + b"\x0d" + good[3:],
        "has 0 dimensions": good[:3] + b"\0" + good[4:],
        "has 200 dimensions": good[:3] + b"\xc8" + good[4:],
        r"should have 1 to": struct.pack(">HBB3I", 0, 8, 3, *[2**32 - 1] * 3),
    }
    for says, content in bad.items():
        for name, packed in (("a", content), ("a.gz", gzip.compress(content))):
            (tmp_path / name).write_bytes(packed)
            with pytest.raises(DataError, match=says):
                read_idx(tmp_path / name)
    for extra, says in ((b"x", "more than"), (b"", "less than")):
        content = good + extra if extra else good[:-1]
        (tmp_path / "a.gz").write_bytes(gzip.compress(content))
        with pytest.raises(DataError, match=f"it holds {says} the 18 bytes"):
            read_idx(tmp_path / "a.gz")
        (tmp_path / "a").write_bytes(content)
        with pytest.raises(DataError, match="its header says 34"):
            read_idx(tmp_path / "a")
    (tmp_path / "a.gz").write_bytes(gzip.compress(good)[:-9])
    with pytest.raises(DataError, match="gzip cannot unpack it"):
        read_idx(tmp_path / "a.gz")
    for name, says in (("none", "no such file"), (".", "a folder")):
        with pytest.raises(DataError, match=says):
            read_idx(tmp_path / name)


def test_idx_images_and_labels(tmp_path: Path) -> None:
    (tmp_path / "images").write_bytes(idx(pixels(4, 5, 3)))
    (tmp_path / "labels").write_bytes(idx(np.array([2, 0, 1], np.uint8)))
    records = read_idx_images(tmp_path / "images", tmp_path / "labels")
    assert [(r["image"].shape, r["label"]) for r in records] == [((1, 4, 5), 2), ((1, 4, 5), 0), ((1, 4, 5), 1)]
    assert read_idx_images(tmp_path / "images").columns == ("image",)
    with pytest.raises(DataError, match="labels are"):
        read_idx_images(tmp_path / "images", tmp_path / "images")
    (tmp_path / "labels").write_bytes(idx(np.zeros(2, np.uint8)))
    with pytest.raises(DataError, match="3 images, and label has 2"):
        read_idx_images(tmp_path / "images", tmp_path / "labels")


def test_arrays_of_images() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (4, 6, 5, 3), dtype=np.uint8)
    records = ImageArrays(pictures, label=list("abcd"))
    np.testing.assert_array_equal(records[2]["image"], pictures[2].transpose(2, 0, 1))
    assert records.fingerprint != ImageArrays(pictures, label=list("abce")).fingerprint
    for wrong, says in ((pictures / 255, "float64, and must be uint8"), (pictures[..., :2], r"shape \(4, 6, 5, 2\)")):
        with pytest.raises(DataError, match=says):
            ImageArrays(wrong)


def shard(*keys: int) -> list[tuple[str, bytes]]:
    return [
        member
        for key in keys
        for member in [(f"d/{key:04}.png", encoded(pixels(4, 4, seed=key))), (f"d/{key:04}.cls", b"%d" % key)]
    ]


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_shards(tmp_path: Path, form: int) -> None:
    long = f"{'e' * 60}/{'n' * 80 if form == tarfile.USTAR_FORMAT else 'ü' * 90}"
    paths = []
    for name, members in {
        "a.tar": [("README", b"no record"), *shard(0, 1, 2)],
        "b.tar": [
            *shard(3),
            (f"{long}.json", b'{"x": [1]}'),
            (f"{long}.PNG", encoded(pixels())),
            (f"{long}.cls", b"9"),
        ],
    }.items():
        paths.append(tmp_path / name)
        paths[-1].write_bytes(tar(members, form))
    records = TarImages(paths, ["cls"])
    assert [r["cls"] for r in records] == [0, 1, 2, 3, 9]
    assert records.shard_sizes.tolist() == [3, 2]
    np.testing.assert_array_equal(records[1]["image"], pixels(4, 4, seed=1))
    assert records.without_image(4) == {"cls": 9}
    assert "b.tar (image at byte" in records.place(3)
    with pytest.raises(DataError, match=r"a\.tar: d/0000\.png has no member \.json"):
        TarImages(paths, ["json"])
    some = TarImages(paths, ["json"], broken="skip", max_broken=0.8)
    assert [r["json"] for r in some] == [{"x": [1]}]
    assert (some.broken.count, some.shard_sizes.tolist()) == (4, [0, 1])


def changed(content: bytes, **fields: object) -> bytes:
    """A tar archive whose first header has other fields."""
    header = tarfile.TarInfo.frombuf(content[:512], "utf-8", "surrogateescape")
    for name, value in fields.items():
        setattr(header, name, value)
    return header.tobuf(tarfile.GNU_FORMAT)[:512] + content[512:]


def test_hostile_archives(tmp_path: Path) -> None:
    good, path = tar(shard(1)), tmp_path / "a.tar"
    cases = {
        "no member of a tar archive": b"x" * 2000,
        "at byte 0 is no member": good[:100],
        "more than the rest of the archive": changed(good, size=1 << 40),
        "leads out of the archive": tar([("../a.png", b"")]),
        "'/etc/a.png' leads out": changed(good, name="/etc/a.png"),
        "is a link or a device": changed(good, type=tarfile.SYMTYPE, linkname="/etc/passwd", size=0),
        "a link or a device": changed(good, type=tarfile.CHRTYPE, size=0),
        "is in it twice": tar([*shard(1), ("d/0001.png", b"")]),
        "no member of a tar": gzip.compress(good),
        "a name has 70,000 bytes": changed(tar([("x", b"n" * 70_000)]), type=tarfile.GNUTYPE_LONGNAME),
        "an extended header is damaged": changed(tar([("x", b"9999999 path=x\n")]), type=tarfile.XHDTYPE),
        "its size in an extended header": changed(tar([("x", b"15 size=100000\n")]), type=tarfile.XHDTYPE),
        "there are no images": tar([]),
        "has no member with an image": tar([("a.cls", b"1")]),
    }
    for says, content in cases.items():
        path.write_bytes(content)
        with pytest.raises(DataError, match=says):
            TarImages([path])
    path.write_bytes(tar([("a.png", b"none"), ("a.cls", b"one"), *shard(2)]))
    with pytest.raises(DataError, match=r"image at byte 512\): the image cannot be decoded"):
        TarImages([path], ["cls"])[0]
    assert len(TarImages([path], ["cls"], broken="skip", max_broken=0.5)) == 1
    with pytest.raises(DataError, match=r"member \.cls cannot be read"):
        TarImages([path], ["cls"]).without_image(0)
    with pytest.raises(ConfigError, match="must be a list of tar files"):
        TarImages(path)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no such file"):
        TarImages([tmp_path / "none.tar"])


@given(data=st.data())
@settings(max_examples=60)
def test_a_damaged_archive_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    content = bytearray(tar([("a.png", encoded(pixels())), ("a.txt", b"x" * 600), ("b" * 120 + ".png", b"")]))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, 3600))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("tar") / "a.tar"
    path.write_bytes(content)
    with contextlib.suppress(DataError):
        assert all(set(record) == {"image"} for record in TarImages([path]))


def test_an_archive_that_is_cut_later(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(tar(shard(1)))
    records = TarImages([path])
    path.write_bytes(b"")
    with pytest.raises(DataError, match="shorter since it was opened"):
        records[0]


def test_arrays_in_a_file(tmp_path: Path) -> None:
    images = np.stack([pixels(4, 5, seed=i)[0] for i in range(3)])
    for labels, kept in ((np.arange(3), [0, 1, 2]), (np.array(["b", "a", "b"]), ["b", "a", "b"])):
        np.savez(tmp_path / "a.npz", images=images, labels=labels)
        records = read_npz_images(tmp_path / "a.npz")
        assert [record["label"] for record in records] == kept
        np.testing.assert_array_equal(records[1]["image"], images[1][None])
    np.savez_compressed(tmp_path / "b.npz", images=images, labels=labels)
    assert read_npz_images(tmp_path / "b.npz").fingerprint == records.fingerprint


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"labels": np.zeros(3, int)}, "has no array 'images'; it has 'labels'"),
        ({"images": np.zeros((3, 2, 2), np.uint8)}, "has no array 'labels'"),
        ({"images": np.zeros((3, 2, 2)), "labels": np.zeros(3, int)}, "images are float64, and must be uint8"),
        ({"images": np.zeros((3, 2, 2), np.uint8), "labels": np.zeros(4, int)}, "3 images, and label has 4"),
        ({"images": np.zeros((3, 2, 2), np.uint8), "labels": np.zeros(3)}, r"labels is float64 \(3,\)"),
        ({"images": np.zeros((3, 2, 2), np.uint8), "labels": np.array([{}] * 3)}, "'labels' is object"),
    ],
)
def test_wrong_arrays_are_named(tmp_path: Path, arrays: Any, says: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=says):
        read_npz_images(tmp_path / "a.npz")


def test_a_header_cannot_ask_for_memory(tmp_path: Path) -> None:
    """It says 2 TB, and its member has a hundred bytes."""
    header = io.BytesIO()
    npy.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (1 << 21, 1000, 1000)})
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images.npy", header.getvalue())
        archive.writestr("labels.npy", header.getvalue())
    with pytest.raises(DataError, match="expected are plain numbers or texts that fill the member"):
        read_npz_images(tmp_path / "a.npz")


@settings(max_examples=30)
@given(st.data())
def test_a_damaged_file_of_arrays_is_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    np.savez(path, images=np.zeros((3, 2, 2), np.uint8), labels=np.zeros(3, int))
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    with contextlib.suppress(DataError):
        assert len(read_npz_images(path)) == 3


def test_images_by_the_name_of_their_place(tmp_path: Path, folder: Path) -> None:
    assert isinstance(read_images(folder), ImageFolder)
    (tmp_path / "table.csv").write_text("picture,kind\nimages/cat/a.png,cat\n")
    record = read_images(tmp_path / "table.csv", file="picture", label="kind", mode="L")[0]
    assert (record["label"], record["image"].shape) == ("cat", (1, 4, 5))
    (tmp_path / "table.csv").write_text("file,label\n../a.png,cat\n")
    with pytest.raises(DataError, match="leads out of"):
        read_images(tmp_path / "table.csv")[0]
    (tmp_path / "few-images-idx3-ubyte").write_bytes(b"")
    with pytest.raises(DataError, match="few-images-idx3-ubyte is no IDX file"):
        read_images(tmp_path / "few-images-idx3-ubyte")
    (tmp_path / "pictures.zip").write_bytes(b"")
    with pytest.raises(ConfigError, match="cannot tell what"):
        read_images(tmp_path / "pictures.zip")
    with pytest.raises(DataError, match="there is no"):
        read_images(tmp_path / "nowhere")
