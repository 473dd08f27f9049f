"""Every command sees one model in the shards of a run, whatever number of ranks wrote them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from minitrain.checkpoint.manifest import MANIFEST
from minitrain.cli import main
from minitrain.distributed import Group, run_ranks
from minitrain.runs import recipe, start_run
from tests.helpers.small_runs import TEXT

RANKS = (1, 2, 4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs on 1, 2 and 4 ranks, which differ in nothing but that; with averaged weights, which commands prefer."""
    folder = tmp_path_factory.mktemp("shards")
    (folder / "text.txt").write_text(TEXT)

    def train(group: Group) -> None:
        config = recipe(
            "tiny",
            data={"path": str(folder / "text.txt"), "block_size": 8},
            model={"n_layer": 1, "n_embd": 8, "n_head": 2, "dropout": 0.1},
            trainer={
                "max_steps": 4,
                "batch_size": 8,
                "gradient_accumulation_steps": 4,
                "sample_tokens": 0,
                "zero": group.size // 2,  # 0, 1 and 2
            },
            callbacks=[{"name": "ema", "decay": 0.9}],
            run_dir=str(folder / f"on-{group.size}"),
        )
        run = start_run(config, group=group, warn=lambda message: None)
        run.trainer.train() if not group.is_main else run.train()

    for ranks in RANKS:
        run_ranks(ranks, train, patience=60)
        files = [path.name for path in (folder / f"on-{ranks}" / "checkpoints" / "step-00000004").iterdir()]
        assert MANIFEST in files
        assert sum(name.startswith("shard-") for name in files) == (ranks if ranks > 1 else 0)
    return folder


def said(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    """What a command prints."""
    capsys.readouterr()
    assert main(command) == 0, capsys.readouterr()
    return capsys.readouterr().out


def anywhere(text: str) -> str:
    """Without the name of the run, times and speeds, and the files of a checkpoint."""
    text = re.sub(r"on-\d", "on-N", text)
    return re.sub(r"[\d.,]+ ?(s|ms|min|tokens/s|MB|kB|GB|MiB|KiB)\b", "_", text)


@pytest.mark.parametrize(
    "command",
    [
        ("eval", "RUN"),
        ("generate", "RUN", "--prompt", "the", "--max-new-tokens", "20", "--seed", "1"),
        ("export", "RUN", "--to", "gguf", "--out", "RUN.gguf", "--dtype", "float32"),
        ("export", "RUN", "--to", "huggingface", "--out", "RUN-hf"),
    ],
    ids=lambda command: "-".join(command[:4:3]),
)
def test_they_do_the_same_for_any_number_of_ranks(command, folder, capsys):
    found = {}
    for ranks in RANKS:
        run = str(folder / f"on-{ranks}")
        found[ranks] = anywhere(said(capsys, *(word.replace("RUN", run) for word in command)))
    assert found[2] == found[4] == found[1]
    assert found[1]


def test_what_is_exported_is_one_file_with_the_same_bytes(folder, capsys):
    for ranks in RANKS:
        run, out = str(folder / f"on-{ranks}"), str(folder / f"out-{ranks}")
        said(capsys, "export", run, "--to", "gguf", "--out", f"{out}.gguf")
        said(capsys, "export", run, "--to", "huggingface", "--out", out)
    for name in ("out-{}.gguf", "out-{}/model.safetensors"):
        one, two, four = ((folder / name.format(ranks)).read_bytes() for ranks in RANKS)
        assert one == two == four


def test_info_plot_and_compare_know_such_runs(folder, capsys):
    runs = [str(folder / f"on-{ranks}") for ranks in RANKS]
    infos = [anywhere(said(capsys, "info", run)) for run in runs]
    assert "4" in infos[0]
    assert infos[1].replace("2 ranks", "") == infos[2].replace("4 ranks", "")
    for run in runs[1:]:
        said(capsys, "plot", run)
    table = said(capsys, "compare", *runs)
    assert all(Path(run).name in table for run in runs)
