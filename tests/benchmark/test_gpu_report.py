"""The report of a card: whatever happens in a part is a line of it, and its parts run without a card."""

from __future__ import annotations

import json
import os
import stat
import types
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.gpu import __main__ as command
from benchmarks.gpu import comparing, events, programs, shapes, targets
from benchmarks.gpu.comparing import share_of_allowed
from benchmarks.gpu.parts import PARTS, build, contract, decoding, errors, kernels, losses, suite, training
from benchmarks.gpu.place import Place, context_lost, out_of_memory, peak_of, place
from benchmarks.gpu.programs import Torch
from benchmarks.gpu.report import WARNING, Report, show_cell
from benchmarks.gpu.running import Part, choose, run_part
from benchmarks.gpu.setting import asked_of_driver
from minitrain.errors import DeviceError, WorkerError
from minitrain.kernels.cuda.attention import cudnn_graphs
from minitrain.profiling.gpu import CARDS
from minitrain.testing.cases import CASES
from tests.helpers.cuda import needs_compiler, needs_nvrtc

MODULE = "tests.helpers.cuda.going_wrong"


def part(how, goes_on=False, table="steps"):
    return Part("steps", table, MODULE, 60, {"how": how}, goes_on)


@pytest.fixture
def told(tmp_path):
    """What a part tells while it is run in this process."""
    events.write_to(tmp_path / "events")
    (tmp_path / "events").touch()
    yield lambda: [json.loads(line) for line in (tmp_path / "events").read_text().splitlines()]
    events.write_to(None)


def cells(found, title=None):
    """Rows by their key; later cells replace earlier ones."""
    rows = {}
    for event in found:
        if event["kind"] == "row" and title in (None, event["table"]):
            rows.setdefault(event["key"], {}).update(event["cells"])
    return rows


class TestParts:
    def run(self, tmp_path, how, *, seconds=60.0, goes_on=False):
        report = Report(tmp_path, emulated=True)
        run_part(part(how, goes_on), report, seconds=seconds, emulated=True)
        return report, "\n".join(report.page())

    def test_a_part_that_works(self, tmp_path):
        report, page = self.run(tmp_path, "works")
        assert report.parts["steps"]["state"] == "done"
        assert report.tables["steps"]["third"] == {"result": "right", "place": "emulated"}
        assert "all steps were taken" in page

    def test_an_error_is_one_line_and_what_came_before_stays(self, tmp_path):
        report, page = self.run(tmp_path, "raises")
        assert report.parts["steps"]["state"] == "failed"
        assert report.parts["steps"]["why"].startswith("ValueError: the second step is wrong (going_wrong.py:")
        assert list(report.tables["steps"]) == ["first"]
        assert "Traceback" not in page

    def test_a_process_that_ends_at_once(self, tmp_path):
        report, _ = self.run(tmp_path, "dies")
        assert (report.parts["steps"]["state"], report.parts["steps"]["why"]) == ("failed", "exit code 7")

    def test_a_part_that_hangs_costs_only_its_time(self, tmp_path):
        report, _ = self.run(tmp_path, "hangs", seconds=8)
        assert report.parts["steps"]["state"] == "out of time"
        assert report.parts["steps"]["why"] == "it had 8 s, the last of them for second"
        assert list(report.tables["steps"]) == ["first"]

    @pytest.mark.parametrize("how", ["raises", "dies"])
    def test_a_new_process_goes_on_after_the_step_that_ended_the_old_one(self, tmp_path, how):
        report, _ = self.run(tmp_path, how, goes_on=True)
        results = {key: row["result"] for key, row in report.tables["steps"].items()}
        assert (results["first"], results["third"]) == ("right", "right")
        assert results["second"].startswith("ended the process: ")
        assert len(report.bad()) == 1
        assert report.parts["steps"] | {"seconds": 0} == {
            "state": "done", "seconds": 0, "why": "a new process went on 1 times",
        }  # fmt: skip

    def test_a_part_that_never_begins_is_tried_once(self, tmp_path):
        report, _ = self.run(tmp_path, "never begins", goes_on=True)
        assert report.parts["steps"]["state"] == "failed"
        assert "nothing works" in report.parts["steps"]["why"]

    def test_the_next_part_runs_all_the_same(self, tmp_path):
        report = Report(tmp_path, emulated=True)
        parts = [part("raises"), part("works")._replace(name="others")]
        assert command.run_parts(parts, report, seconds=60, emulated=True) == 1
        assert [found["state"] for found in report.parts.values()] == ["failed", "done"]
        assert json.loads(report.paths[1].read_text())["parts"] == report.parts
        assert report.bad() == ["steps: failed"]

    def test_the_last_line_of_a_child_says_what_was_wrong(self):
        error = WorkerError('eager stopped:   File "x.py", line 1\nRuntimeError: no kernel image is available')
        assert events.brief(error) == "WorkerError: RuntimeError: no kernel image is available"

    def test_without_time_a_part_is_not_run(self, tmp_path):
        report = Report(tmp_path, emulated=True)
        assert command.run_parts([part("works")], report, seconds=1, emulated=True) == 1
        assert report.parts["steps"] == {"state": "not run", "seconds": 0.0, "why": "no time was left"}


class TestReport:
    def test_a_row_is_filled_bit_by_bit_and_the_rest_stays_empty(self, tmp_path):
        report = Report(tmp_path, emulated=True)
        report.start("speed")
        for row in ({"tokens/s": None}, {"reach": "1.5x"}, {"tokens/s": 12345.6}):
            report.add("speed", {"kind": "row", "table": "t", "key": "ours", "cells": row})
        report.add("speed", {"kind": "row", "table": "t", "key": "theirs", "cells": {}})
        page = "\n".join(report.page())
        assert "| ours | 12,346 | 1.5x |" in page
        assert "| theirs |  |  |" in page
        assert WARNING in page

    def test_a_card_names_the_file(self, tmp_path):
        report = Report(tmp_path, emulated=False)
        report.write()
        report.add("setting", {"kind": "setting", "setting": {"card": "NVIDIA H200"}})
        report.write()
        assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".md"]
        assert report.paths[0].stem.endswith("-h200")
        assert WARNING not in report.paths[0].read_text()

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (None, ""),
            (True, "yes"),
            (1234567, "1,234,567"),
            (0.5, "0.5"),
            (1e-7, "1.00e-07"),
            (46810.4, "46,810"),
            ("a\nb", "a b"),
        ],
    )
    def test_cells(self, value, text):
        assert show_cell(value) == text


class TestCommand:
    def test_an_unknown_part(self, capsys):
        with pytest.raises(SystemExit):
            command.main(["--part", "contracts"])
        assert "there is no part 'contracts': choose from setting, build, contract" in capsys.readouterr().err

    def test_no_card(self, capsys, monkeypatch):
        monkeypatch.setattr(command, "gpu_status", lambda: (None, "the driver lists no GPU"))
        assert command.main([]) == 1
        assert "no GPU can be used: the driver lists no GPU. --emulated shows" in capsys.readouterr().err

    def test_parts_are_run_in_the_order_of_the_report(self):
        assert [one.name for one in choose(PARTS, "errors,contract")] == ["contract", "errors"]
        assert sum(one.seconds for one in PARTS[:4]) < 60 * command.MINUTES  # what matters most fits in any case


class TestContract:
    exact = (np.array([1.0, 2.0]), np.array([np.inf, 3.0]))

    def test_the_allowed_error(self):
        near = [x.astype(np.float32) for x in self.exact]
        assert share_of_allowed(near, near, self.exact) == 0
        far = [near[0] + np.float32(1e-4), near[1]]
        assert share_of_allowed(far, near, self.exact) > 10
        assert share_of_allowed([near[0], np.array([np.inf, np.nan])], near, self.exact) == np.inf
        assert share_of_allowed([near[0], np.array([5.0, 3.0])], near, self.exact) == np.inf
        with pytest.raises(ValueError, match="has shape"):
            share_of_allowed([near[0], near[1][:1]], near, self.exact)

    def test_operations_without_kernels(self, told):
        with place(emulated=True) as where:
            contract.run(where, {"only": ["relu", "hinge"], "examples": 2})
        assert {row["result"] for row in cells(told()).values()} == {"agrees"}

    def test_a_mistake_is_seen(self, told, monkeypatch):
        case = CASES["relu"]
        right = contract.run_on_card
        monkeypatch.setattr(contract, "run_on_card", lambda *call: [x * np.float32(1.001) for x in right(*call)])
        with place(emulated=True) as where:
            contract.run(where, {"only": ["relu"], "examples": 2})
        assert cells(told())["relu"]["result"].startswith("WRONG: ")
        assert case.name == "relu"

    def test_a_failing_operation_is_one_line_unless_the_card_is_lost(self, told, monkeypatch):
        def fails(*call):
            raise RuntimeError("cudaErrorIllegalAddress: an illegal memory access was encountered")

        monkeypatch.setattr(contract, "run_on_card", fails)
        with place(emulated=True) as where, pytest.raises(RuntimeError):
            contract.run(where, {"only": ["relu", "tanh"]})
        assert list(cells(told())) == ["relu"]
        monkeypatch.setattr(contract, "run_on_card", lambda *call: 1 / 0)
        with place(emulated=True) as where:
            contract.run(where, {"only": ["relu", "tanh"]})
        assert cells(told())["tanh"]["result"].startswith("fails: ZeroDivisionError: division by zero (")

    def test_without_hypothesis(self, monkeypatch):
        monkeypatch.setattr(contract.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(DeviceError, match="pip install hypothesis"):
            contract.run(None, {})


def test_without_scipy_the_readable_gelu_runs(monkeypatch):
    """Its stand-in is gone afterwards, so that others do not take it for SciPy."""
    import sys

    case = CASES["gelu"]
    call = types.SimpleNamespace(inputs=(np.array([-3.0, 0.0, 0.5], np.float32),), options={"approximate": "none"})
    expected = comparing.run_case(case, call)

    real = comparing.importlib.import_module

    def without(name):
        if name == "scipy.special" and "stands in" not in (getattr(sys.modules.get(name), "__doc__", "") or "").lower():
            raise ImportError(name)
        return real(name)

    monkeypatch.setattr(comparing.importlib, "import_module", without)
    for module in [name for name in sys.modules if name.partition(".")[0] == "scipy"]:
        monkeypatch.delitem(sys.modules, module)
    found = comparing.run_case(case, call)
    assert "scipy.special" not in sys.modules
    for f, e in zip(found, expected, strict=True):
        np.testing.assert_allclose(f, e, rtol=1e-6)
        assert f.dtype == e.dtype


def test_what_leaves_a_process_unable_to_use_the_card():
    assert context_lost(RuntimeError("CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered"))
    assert context_lost(RuntimeError("CUDA error: device-side assert triggered"))
    assert context_lost(RuntimeError("cudaErrorLaunchFailure: unspecified launch failure"))
    assert not context_lost(ValueError("shapes differ"))
    assert out_of_memory(MemoryError("Out of memory allocating 1 bytes"))


def test_peak_memory():
    """CuPy's pool is asked by a hook; another library without hooks cannot tell."""
    with place(emulated=True) as where:
        kept = where.cupy.zeros(1024, np.float32)
        before = where.cupy.get_default_memory_pool().used_bytes()  # other tests' arrays too

        def step():
            one = where.cupy.zeros(2048, np.float32)
            del one
            where.cupy.zeros(512, np.float32)

        assert peak_of(where, step) == before + 8192
        assert before >= kept.nbytes
        nothing = types.SimpleNamespace(cuda=types.SimpleNamespace())
        assert peak_of(Place(nothing, "cpu"), lambda: None) is None


def test_what_the_driver_says(tmp_path):
    program = tmp_path / "smi"
    program.write_text("#!/bin/sh\necho '580.65, 1980 MHz, 1980 MHz, 3201 MHz, 700.00 W, Enabled'\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    found = asked_of_driver(str(program))
    assert (found["driver"], found["its maximum"], found["ECC"]) == ("580.65", "1980 MHz", "Enabled")
    assert asked_of_driver(str(tmp_path / "absent")) == {"clock": "not readable (FileNotFoundError)"}


class TestPredictions:
    def test_cards_are_known_by_their_names(self):
        assert targets.card_of("NVIDIA H100 80GB HBM3") is CARDS["H100"]
        assert targets.card_of("NVIDIA H200") is CARDS["H200"]
        assert targets.card_of("an emulated device") is None

    def test_every_training_has_what_is_expected_of_it(self):
        card = CARDS["H100"]
        expected = training.expected("gpt2", "minitrain bfloat16", card)
        assert 100_000 < expected["predicted tokens/s"] < 1_000_000
        assert "350,000" in expected["reach"]
        assert training.expected("llama", "minitrain bfloat16", card)["predicted tokens/s"] is None
        assert training.expected("gpt2", "minitrain cudnn bfloat16", card)["predicted tokens/s"] is None
        assert training.expected("gpt2", "eager bfloat16", card) == {"tokens/s": None, "predicted tokens/s": None}
        slow, quick = (targets.predicted_step("char", card, "float32", graph=graph) for graph in (False, True))
        assert quick < slow
        assert decoding.expected("minitrain float32", 64, card)["predicted tokens/s, as a graph"] > 1000

    def test_figures(self, told):
        work = shapes.TRAINING["gpt2"]
        replies = {
            name: [{"seconds": s, "issued": s / 2, "loss": 3.0}]
            for name, s in (("minitrain bfloat16", 0.2), ("eager bfloat16", 0.3))
        }
        found = training.figures("minitrain bfloat16", work, replies, CARDS["H100"])
        assert found["tokens/s"] == 65536 / 0.2
        assert found["share of peak"] == pytest.approx(work.flops_of_a_step / 0.2 / 989e12)
        assert found["times as fast as eager bfloat16"].startswith("1.500")
        training.say_formula(work, CARDS["H100"])
        assert "989 TFLOP/s" in told()[-1]["text"]
        token = decoding.figures("minitrain float32", shapes.SMOL, 1, {"minitrain float32": [0.128]}, CARDS["H100"])
        assert token["share of bandwidth"] == pytest.approx(4 * decoding.weights_of(shapes.SMOL.model) / 1e-3 / 3350e9)

    def test_the_shapes_are_what_their_names_say(self):
        from minitrain.models import GPT, GPTConfig, Llama, LlamaConfig

        def count(model):
            return sum(p.data.size for p in model.parameters())

        sizes = {name: shapes.TRAINING[name].model() for name in ("gpt2", "llama")}
        assert 123e6 < count(GPT(GPTConfig(**sizes["gpt2"]))) < 126e6
        assert 123e6 < count(Llama(LlamaConfig(**sizes["llama"]))) < 126e6
        assert 134e6 < count(Llama(LlamaConfig(**shapes.SMOL.model))) < 135e6


def test_losses_are_compared_by_their_last_mean(told):
    losses.compare(
        {
            "our reference, float32, CPU": [5.0] * 10 + [2.0] * 20,
            "minitrain bfloat16": [5.0] * 10 + [2.01] * 20,
            "PyTorch bfloat16": [5.0] * 10 + [1.98] * 20,
        }
    )
    row = cells(told())["minitrain bfloat16"]
    assert row["% above our reference, float32, CPU"] == pytest.approx(0.5)
    assert row["% above PyTorch bfloat16"] == pytest.approx(100 * (2.01 / 1.98 - 1))


def test_kernels_that_a_profiler_saw():
    def event(name, kind, microseconds, label=False):
        time_range = types.SimpleNamespace(elapsed_us=lambda: microseconds)
        return types.SimpleNamespace(
            name=name, device_type=f"DeviceType.{kind}", time_range=time_range, is_user_annotation=label
        )

    seen = [
        event("gemm", "CUDA", 20),
        event("gemm", "CUDA", 10),
        event("aten::mm", "CPU", 5),
        event("range", "CUDA", 99, True),
    ]
    assert kernels.by_kernel(seen) == {"gemm": (2, pytest.approx(30e-6))}


def test_results_of_pytest(told, tmp_path):
    (tmp_path / "r.xml").write_text(
        '<testsuites><testsuite><testcase classname="tests.a.test_b.TestC" name="one"/>'
        '<testcase classname="tests.a.test_b" name="two"><failure message="assert 1 == 2&#10;more"/></testcase>'
        '<testcase classname="tests.a.test_b" name="three"><skipped/></testcase></testsuite></testsuites>'
    )
    suite.list_results(tmp_path / "r.xml")
    assert cells(told(), suite.TITLE)["tests.a.test_b"] == {"passed": 1, "failed": 1, "skipped": 1}
    assert cells(told())["tests.a.test_b::two"] == {"message": "assert 1 == 2"}


@pytest.mark.parametrize(
    "row", [row for row in errors.ROWS if row.op in ("layer_norm", "linear")], ids=lambda row: row.label
)
def test_errors_are_those_of_the_numbers(row, told):
    """The readable code in float64 against itself has none; rounded to half the digits it has that error."""
    arguments = row.arguments(errors.Draw(errors.TINY))
    exact, _ = errors.exactly(row, arguments)
    assert errors.error(exact, exact) == 0
    assert 1e-4 < errors.error([x.astype(np.float16) for x in exact], exact) < 1e-3
    with pytest.raises(ValueError, match="outputs and gradients, expected"):
        errors.error(exact[1:], exact)


class TestPyTorch:
    """The branches of a card, with a stand-in for ``torch.cuda``."""

    @pytest.fixture(autouse=True)
    def torch(self):
        return pytest.importorskip("torch")

    def test_memory_and_parts(self, monkeypatch, torch):
        cuda = types.SimpleNamespace(
            reset_peak_memory_stats=lambda: None, synchronize=lambda: None, empty_cache=lambda: None,
            max_memory_allocated=lambda: 5, max_memory_reserved=lambda: 7,
        )  # fmt: skip
        work = shapes.training("gpt2", emulated=True)
        work = work._replace(size=replace(work.size, batch_size=4))
        with place(emulated=True) as where:
            program = Torch(where, work, "bfloat16", "eager")
            monkeypatch.setattr(Place, "emulated", False)
            monkeypatch.setattr(torch, "cuda", cuda)
            assert program.memory() == {"peak": 5, "held": 7, "kernels": None}
            step, tried = program.step, []

            def full_at_first():
                tried.append(program.parts)
                if program.parts < 4:
                    raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB")
                return step()

            monkeypatch.setattr(program, "step", full_at_first)
            assert 3 < program.first_step() < 6
            assert tried == [1, 2, 4]

    def test_errors_beside_pytorch(self, told):
        with place(emulated=True) as where:
            errors.run(where, {"only": ["linear", "rms_norm"]})
        found = cells(told())
        assert all(row["minitrain"] < 0.01 and row["PyTorch"] < 0.01 for row in found.values())


@pytest.mark.slow
@pytest.mark.cuda
@pytest.mark.parametrize("one", [p for p in PARTS if p.name != "suite"], ids=lambda one: one.name)
def test_every_part_runs_without_a_card(one, tmp_path):
    """No line says that something fails; those with PyTorch need it."""
    pytest.importorskip("torch")
    report = Report(tmp_path, emulated=True)
    run_part(one, report, seconds=600, emulated=True)
    assert report.parts[one.name]["state"] == "done", report.parts[one.name]
    told = [row.get("result", "") for rows in report.tables.values() for row in rows.values()]
    assert not [text for text in told if "fail" in str(text) or "WRONG" in str(text)]
    assert report.tables or report.setting


class TestBuild:
    pytestmark = needs_nvrtc

    def test_compiled_for_a_card(self, told):
        """The compiler of a card, without one."""
        device = types.SimpleNamespace(compute_capability="90")
        card = Place(types.SimpleNamespace(cuda=types.SimpleNamespace(Device=lambda number: device)), "cuda")
        try:
            found = build.compiled(next(s for s in build.sources() if s.path == "clip.cu"), card)
        except DeviceError as error:
            pytest.skip(str(error))
        assert found["spilled"] == 0
        assert 8 <= found["registers"] <= 255


class TestPretendedCard:
    pytestmark = needs_compiler

    def test_the_tests_of_kernels_run_on_a_card(self):
        """With the emulated device in the place of a card."""
        import subprocess
        import sys

        environment = os.environ | {"MINITRAIN_TEST_DEVICE": "pretended"}
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-m",
            "not slow",
            "-k",
            "lion or squares",
        ]
        done = subprocess.run(
            [*command, "tests/kernels/cuda/test_rules.py"], cwd=suite.ROOT, env=environment,
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        assert "2 passed" in done.stdout


class TestAttentionByCudnn:
    pytestmark = needs_compiler

    def test_it_is_a_program_of_its_own(self, monkeypatch):
        """It trains as the one with our kernels does, and cuDNN is really asked, forward and backward."""
        made, losses_of = [], {}
        real = Place.cudnn
        monkeypatch.setattr(Place, "cudnn", lambda where: made.append(real(where)) or made[-1])
        with place(emulated=True) as where:
            work = shapes.training("gpt2", emulated=True)
            for name in ("minitrain bfloat16", "minitrain cudnn bfloat16"):
                assert name in work.ours
                losses_of[name] = programs.losses(programs.build(name, where, work), 3)
            [library] = made
            assert {*library.executed} == {"sdpa", "sdpa_backward"}
            cudnn_graphs.close_engines()
        assert losses_of["minitrain cudnn bfloat16"] == pytest.approx(losses_of["minitrain bfloat16"], rel=5e-3)
        assert losses_of["minitrain cudnn bfloat16"] != losses_of["minitrain bfloat16"]
