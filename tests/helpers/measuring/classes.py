"""Small data with a class for each sample, in every form that a run reads."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minitrain.runs import RunConfig

NAMES = ("left", "right", "top")


def stripes(count: int, *, size: int = 8, seed: int = 0) -> tuple[Any, Any]:
    """Noisy grey images ``(N, size, size)`` that are bright on one side, and which side it is, ``(N,)``."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 3, count)
    images = rng.integers(0, 120, (count, size, size), dtype=np.uint8)
    for image, side in zip(images, classes.tolist(), strict=True):
        part = (np.s_[:, : size // 2], np.s_[:, size // 2 :], np.s_[: size // 2])[side]
        image[part] += 120
    return images, classes


def png(image: Any) -> bytes:
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(image).save(content, format="png")
    return content.getvalue()


def as_npz(folder: Path, images: Any, classes: Any) -> Path:
    np.savez(folder / "images.npz", images=images, labels=np.array(NAMES)[classes])
    return folder / "images.npz"


def as_folder(folder: Path, images: Any, classes: Any) -> Path:
    for number, (image, side) in enumerate(zip(images, classes.tolist(), strict=True)):
        path = folder / "images" / NAMES[side] / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(image))
    return folder / "images"


def as_table(folder: Path, images: Any, classes: Any) -> Path:
    lines = ["file,label"]
    for number, (image, side) in enumerate(zip(images, classes.tolist(), strict=True)):
        (folder / f"{number}.png").write_bytes(png(image))
        lines.append(f"{number}.png,{NAMES[side]}")
    (folder / "images.csv").write_text("\n".join(lines) + "\n")
    return folder / "images.csv"


def as_idx(folder: Path, images: Any, classes: Any) -> Path:
    for name, array in (("images-idx3", images), ("labels-idx1", classes.astype(np.uint8))):
        sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
        (folder / f"few-{name}-ubyte").write_bytes(bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes())
    return folder / "few-images-idx3-ubyte"


def as_shards(folder: Path, images: Any, classes: Any) -> Path:
    (folder / "shards").mkdir()
    for shard in range(2):
        with tarfile.open(folder / "shards" / f"{shard}.tar", "w") as archive:
            for number in range(shard, len(images), 2):
                for ending, content in (("png", png(images[number])), ("cls", str(classes[number]).encode())):
                    member = tarfile.TarInfo(f"{number:04}.{ending}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
    return folder / "shards"


FORMS = {"npz": as_npz, "folder": as_folder, "table": as_table, "idx": as_idx, "shards": as_shards}
"""How to write images and their classes into a folder; each returns the path to read."""

WORDS = {"good": ("fine", "great", "nice"), "bad": ("awful", "poor", "sad"), "so so": ("usual", "plain", "fair")}


def reviews(count: int, *, seed: int = 0) -> list[tuple[str, str]]:
    """Texts of one to eight words, one of which tells the class."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(count):
        label = str(rng.choice(list(WORDS)))
        words = [*rng.choice(["the", "film", "is", "it"], rng.integers(0, 8)), rng.choice(WORDS[label])]
        found.append((" ".join(rng.permutation(words)), label))
    return found


def text_table(folder: Path, rows: Sequence[tuple[str, str]], name: str = "texts.tsv") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows))
    return folder / name


def small(folder: Path, path: Path | str | None, **changes: Any) -> RunConfig:
    """A run of six steps with dropout on data at a path; ``data`` adds to its settings, other changes replace."""
    texts = changes.get("data", {}).get("name") == "labelled_text"
    own: dict[str, Any] = {"block_size": 12, "tokenizer": "byte"} if texts else {"mode": "L", "shift": 1, "erase": 0.5}
    values: dict[str, Any] = {
        "task": "classification",
        "run_dir": str(folder),
        "model": {"n_layer": 1, "n_head": 2, "n_embd": 16, "dropout": 0.1},
        "trainer": {"max_steps": 6, "batch_size": 8, "validation_frequency": 3, "save_every": 2, "log_every": 1},
        "scheduler": {"warmup_steps": 2},
    }
    data = {"path": None if path is None else str(path), **own, **changes.pop("data", {})}
    return RunConfig.from_dict(values | changes | {"data": data})
