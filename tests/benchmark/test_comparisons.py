"""Comparisons of precisions and instructions: who takes part, what is compared with what, and who is left out."""

import json

import pytest

from benchmarks import rows
from minitrain import cli
from minitrain.benchmark import contestants, probe, train_step
from minitrain.benchmark.contestants import MASK, Contestant
from minitrain.benchmark.sizes import SIZES
from minitrain.benchmark.step_tables import notes, tables
from tests.helpers.fake_race import HELD_BACK, MEMORY, SECONDS, fake_race


def names(**settings):
    return [one.name for one in contestants.contestants(contestants.PEERS, {}, **settings)]


def test_bfloat16_meets_every_program_in_both_precisions(monkeypatch):
    fake = fake_race(monkeypatch)
    result = train_step.measure("baby", rounds=2, precision="bfloat16")
    assert result["main"] == "minitrain_bfloat16"
    peers = {"eager", "compiled", "eager_bfloat16", "compiled_bfloat16"}
    assert set(result["programs"]) == {"minitrain", "minitrain_bfloat16"} | peers
    asked = {worker.name: worker.arguments for worker in fake.started if not worker.arguments[0].endswith("probe")}
    for name, arguments in asked.items():
        assert ("--precision" in arguments) == name.endswith("bfloat16")
    found, ours = result["comparisons"], "minitrain_bfloat16"
    for key, other in (
        ("same_precision", "compiled_bfloat16"),
        ("any_precision", "compiled"),
        ("float32", "minitrain"),
    ):
        assert (found[key]["ours"], found[key]["other"]) == (ours, other)
        assert found[key]["ratio"]["median"] == pytest.approx(SECONDS[other] / SECONDS[ours])
        assert found[key]["memory"] == pytest.approx(MEMORY[ours] / MEMORY[other])
    assert found["float32"]["pool_memory"] == 0.5
    assert result["programs"][ours]["first_loss"] == 4.2


@pytest.mark.parametrize("slowness", [probe.SLOW * 0.99, probe.SLOW * 1.01, 499.0])
def test_a_peer_that_is_too_slow_takes_one_small_step_and_no_more(monkeypatch, slowness):
    fake = fake_race(monkeypatch)
    fake.slowness = slowness
    result = train_step.measure("baby", rounds=1, precision="bfloat16")
    started = [w.name for w in fake.started if not w.arguments[0].endswith("probe")]
    slow = slowness > probe.SLOW
    for peer in ("eager_bfloat16", "compiled_bfloat16"):
        assert (peer in started) == (peer in result["programs"]) == (not slow)
        assert result["probes"][peer]["slowness"] == slowness
        assert (peer in result["failures"]) == slow
    assert ("same_precision" in result["comparisons"]) == (not slow)
    assert result["comparisons"]["any_precision"]["other"] == "compiled"
    assert any(f"{slowness:.0f} times as long" in line for line in notes(result)) == slow


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_equal_instructions_where_there_are_wider_ones(monkeypatch, precision):
    fake = fake_race(monkeypatch, instructions="AVX-512")
    result = train_step.measure("char", rounds=1, precision=precision, equal_instructions=True)
    held = {name for name in result["programs"] if name.endswith("_avx2")}
    assert {name.removesuffix("_avx2") for name in held} == set(result["programs"]) - held
    found = result["comparisons"]["equal_instructions"]
    assert (found["ours"], found["other"]) == (f"{result['main']}_avx2", "compiled_avx2")
    assert found["ratio"] == result["comparisons"]["any_precision"]["ratio"]  # all are held back by the same factor
    for worker in fake.started:
        for side, variables in MASK.items():
            meant = worker.name.endswith("_avx2") and side == ("torch" if worker.name[0] in "ec" else "minitrain")
            assert (variables.items() <= worker.environment.items()) == meant
    times = result["programs"]
    for name in held:
        ratio = times[name]["step_seconds"]["median"] / times[name.removesuffix("_avx2")]["step_seconds"]["median"]
        assert ratio == pytest.approx(HELD_BACK)


def test_equal_instructions_where_there_are_none_wider(monkeypatch):
    fake_race(monkeypatch, instructions="AVX2")
    assert names(equal_instructions=True) == names()
    result = train_step.measure("char", rounds=1, equal_instructions=True)
    assert any("this processor has AVX2 and nothing wider" in line for line in notes(result))
    assert "equal_instructions" not in result["comparisons"]


def test_the_processor_is_named_in_table_and_figures(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "250")
    monkeypatch.setattr("minitrain.benchmark.machine.processor_name", lambda: "Abacus 9000")
    fake_race(monkeypatch)
    code = cli.main(["bench", "--rounds", "1", "--precision", "bfloat16", "--out", str(tmp_path)])
    assert code == 0
    out = capsys.readouterr().out
    (result,) = json.loads((tmp_path / "bench.json").read_text())
    assert result["machine"]["cpu"] == "Abacus 9000"
    assert tables(result)[-1].title == "on Abacus 9000, AVX2"
    assert "on Abacus 9000, AVX2" in out
    assert (tmp_path / "bench.png").exists()


def test_no_two_programs_share_a_name():
    kinds = [
        Contestant(kind, precision, {}, masked, mkl)
        for kind in ("minitrain", "eager", "compiled")
        for precision in contestants.PRECISIONS
        for masked in (False, True)
        for mkl in (False, True)
    ]
    assert len({one.name for one in kinds}) == len({one.label for one in kinds}) == len(kinds)


def test_the_small_step_is_small():
    for size in SIZES.values():
        little = probe.small(size)
        assert little.n_embd == size.n_embd
        assert (little.n_layer, little.batch_size) == (1, 1)
        assert little.block_size <= 64


def test_rows_of_two_processors_stand_in_two_tables(monkeypatch):
    fake_race(monkeypatch, instructions="AVX-512")
    results = []
    for processor in ("Abacus 9000", "Slide Rule"):
        monkeypatch.setattr("minitrain.benchmark.machine.processor_name", lambda name=processor: name)
        for precision in ("float32", "bfloat16"):
            result = train_step.measure("char", rounds=1, precision=precision, equal_instructions=True)
            results.append(result | {"cores_used_by_others": 0.02})
    found = rows.tables(results)
    assert [table.title.partition(" (")[0] for table in found] == ["Abacus 9000", "Slide Rule"]
    plain, half = (dict(zip(rows.COLUMNS, row, strict=True)) for row in found[0].rows)
    assert (plain["precision"], half["precision"]) == ("float32", "bfloat16")
    assert half["PyTorch, same precision"] == "2.000 [2.000, 2.000]"
    assert half["PyTorch, any precision"] == half["equal instructions"] == "1.500 [1.500, 1.500]"
    assert (half["time / float32's"], half["memory / float32's"]) == ("0.80", "0.80")
    assert plain["time / float32's"] == ""


def test_a_row_says_who_was_left_out_and_that_all_had_avx2(monkeypatch):
    fake = fake_race(monkeypatch)
    fake.slowness = 44.0
    result = train_step.measure("char", rounds=1, precision="bfloat16", equal_instructions=True)
    row = rows.row(result)
    assert row[2] == "left out: 44 times as slow as its float32"
    assert row[4] == "the same: AVX2"


@pytest.mark.parametrize("others", [None, 1.5])
def test_rows_of_a_busy_machine_are_refused(monkeypatch, others):
    fake_race(monkeypatch)
    result = train_step.measure("char", rounds=1) | {"cores_used_by_others": others}
    with pytest.raises(ValueError, match=r"char, float32: other programs kept (None|1\.5) cores busy"):
        rows.tables([result])
    assert len(rows.tables([result], busy=True)) == 1


def test_each_program_starts_cold(monkeypatch):
    """No program finds code that another has compiled, not even its own small step."""
    fake = fake_race(monkeypatch)
    train_step.measure("char", rounds=1, precision="bfloat16")
    owners = {}
    for worker in fake.started:
        kind = "probe" if worker.arguments[0].endswith("probe") else worker.name
        for variable in ("MINITRAIN_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR"):
            owners.setdefault(worker.environment[variable], set()).add(kind)
    assert all(len(kinds) == 1 for kinds in owners.values())
