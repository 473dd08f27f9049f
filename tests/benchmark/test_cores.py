"""The model of more cores: the arithmetic of shares, the roofs that threads share, and what is told of a step."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.cores import program
from benchmarks.cores.model import CACHED, Cores, Timed, by_operation, step_seconds
from benchmarks.cores.splits import Split, split_of
from minitrain.backend.threads import GRAIN
from minitrain.benchmark.programs import Minitrain
from minitrain.benchmark.sizes import Size
from minitrain.benchmark.tokens import BatchStream
from minitrain.kernels.cpu.common.gemm import block
from minitrain.kernels.cpu.common.math import aligned_chunk, chunk
from minitrain.ops import attention_forward, linear_backward, linear_forward
from minitrain.profiling.products import Call

MACHINE = Cores(bandwidth_1=10.0, bandwidth_2=18.0, saturation=50.0, launch_2=1.0, launch_more=0.5)
LARGE = 1e9  # elements: never too few for another thread


def test_threads_share_a_bandwidth_that_saturates():
    assert [MACHINE.bandwidth(n) for n in (1, 2, 3, 6, 64)] == [10, 18, 26, 50, 50]
    assert dataclasses.replace(MACHINE, bandwidth_2=8.0).bandwidth(2) == 10  # noise does not make memory slower
    assert dataclasses.replace(MACHINE, saturation=5.0).bandwidth(64) == 18  # what was measured is there


def test_a_call_is_as_slow_as_its_largest_part_or_its_memory():
    arithmetic = Timed("product", 120.0, 10, Split(12, LARGE))
    assert MACHINE.seconds(arithmetic, 1) == 120
    assert MACHINE.seconds(arithmetic, 2) == 60 + 1
    assert MACHINE.seconds(arithmetic, 5) == 120 * 3 / 12 + 1 + 3 * 0.5  # 12 pieces over 5: one thread has 3
    assert MACHINE.seconds(arithmetic, 64) == 120 / 12 + 1 + 62 * 0.5
    memory = Timed("copy", 100.0, 1000, Split(10**6, LARGE))
    assert MACHINE.seconds(memory, 2) == pytest.approx(1000 / 18 + 1)
    assert MACHINE.seconds(memory, 64) == pytest.approx(1000 / 50 + 1 + 31)
    small = Timed("small", 3.0, 10, Split(10**6, 1.5 * GRAIN))
    assert MACHINE.seconds(small, 64) == 3
    assert MACHINE.seconds(Timed("serial", 3.0, 10, None), 64) == 3
    limits = [MACHINE.limit(one, 64) for one in (arithmetic, memory, small, Timed("serial", 3.0, 10, None))]
    assert limits == ["launch", "memory", "small work", "one thread"]
    assert MACHINE.limit(arithmetic, 5) == "few pieces"


def test_what_the_caches_serve_has_no_roof_of_memory():
    in_cache = Timed("norm", 10.0, int(10.0 * 10.0 * CACHED) + 1, Split(1000, LARGE))
    assert MACHINE.seconds(in_cache, 10) == 1.0 + 1 + 8 * 0.5


@given(st.integers(1, 500), st.integers(1, 200), st.integers(1, 80))
def test_the_largest_share_is_that_of_the_kernels(rows, columns, threads):
    def largest(ranges):
        sizes = [hi - lo for lo, hi in ranges]
        return max(sizes), sum(sizes)

    most, all_of_them = largest([chunk.py_func(rows, t, threads) for t in range(threads)])
    assert Split(rows, LARGE).largest_share(threads) == most / all_of_them == most / rows
    lengths = [aligned_chunk.py_func(64 * rows, t, threads) for t in range(threads)]
    assert largest(lengths)[0] == 64 * most
    n = 16 * max(rows, columns)
    parts = [block.py_func(16 * rows, 16 * columns, t, threads) for t in range(threads)]
    blocks = [(r0, r1) if rows >= columns else (c0, c1) for r0, r1, c0, c1 in parts]
    assert largest(blocks)[0] / n == Split(max(rows, columns), LARGE).largest_share(threads)


def test_splits_of_calls():
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((6, 50, 40), np.float32), rng.standard_normal((24, 40), np.float32)
    out, cache = linear_forward(x, w)
    assert split_of(Call("linear_forward", (x, w, None), {}, (out, cache))) == Split(19, 300 * 40 * 24 / 32)
    call = Call("linear_backward", (out, cache), {}, linear_backward(out, cache))
    assert split_of(call) == Split(3, 300 * 40 * 24 / 32)  # the gradient of the weight has 40 columns
    q = rng.standard_normal((2, 10, 4, 8), np.float32)
    k = rng.standard_normal((2, 10, 2, 8), np.float32)
    result = attention_forward(q, k, k)
    assert split_of(Call("attention_forward", (q, k, k), {}, result)) == Split(8, q.size * 10 / 32)
    assert split_of(Call("attention_backward", (result[0], result[1]), {}, ())) == Split(4, q.size * 10 / 32)
    assert split_of(Call("unheard_of", (x,), {}, ())) is None


def test_every_large_operation_of_a_step_has_a_split():
    for family in ("gpt", "llama"):
        size = Size(2, 2, 64, 32, 4, 65, steps=1, rounds=1, family=family, n_kv_head=1)
        model = Minitrain(size, BatchStream(np.arange(4000) % 65, size.batch_size, size.block_size))
        model.prepare(1)
        calls, rest = program.recorded_step(model.step)
        assert rest > 0
        unknown = {call.name for call in calls if call.split is None}
        assert unknown <= {
            "dropout forward",
            "dropout backward",
            "drop_path forward",
            "drop_path backward",
            "residual backward",
        }


def test_a_prediction_is_compared_with_what_was_measured():
    def reply(seconds, launch, bandwidth):
        calls = [
            {"name": "linear forward", "nbytes": 100, "split": Split(64, LARGE)},
            {"name": "linear forward", "nbytes": 100, "split": Split(1, LARGE)},
            {"name": "adam optimizer", "nbytes": 8000, "split": None},
        ]
        rest = {"rest": 0.5, "launch": launch, "bandwidth": bandwidth, "cpu_seconds": 0.0}
        return {"calls": calls, "seconds": seconds} | rest

    turns = {1: [reply([6.4, 1.0, 2.0], 0.001, 1e9)] * 3, 2: [reply([3.3, 1.1, 2.0], 0.101, 1.5e9)] * 3}
    found = program.predicted(turns, saturation=10.0)
    assert found["step_seconds"][1] == pytest.approx(9.9)
    assert found["step_seconds"][2] == pytest.approx(3.2 + 0.1 + 1.0 + 0.1 + 2.0 + 0.5)
    assert found["measured_2"] == pytest.approx(6.9)
    assert found["error_2"] == pytest.approx(0.0)
    linear = next(one for one in found["operations"][2] if one["name"] == "linear forward")
    assert (linear["one"], linear["many"], linear["measured_2"]) == pytest.approx((7.4, 4.4, 4.4))
    result = {"configs": {"char": found}, "saturation_gb": 10.0, "machine": {"cpu": "Abacus 9000"}}
    pages = program.tables(result)
    assert "Abacus 9000" in pages[0].title
    assert pages[0].rows[0][:5] == ["char", "9900.0", "6900.0", "6900.0", "+0.0%"]
    assert "up to 10 GB/s" in program.notes(result)[-1]


def test_a_step_is_the_sum_of_its_calls():
    calls = [Timed("a", 10.0, 0, Split(100, LARGE)), Timed("b", 4.0, 0, None), Timed("a", 10.0, 0, Split(100, LARGE))]
    assert step_seconds(calls, 2.0, MACHINE, 2) == 2 * (5 + 1) + 4 + 2
    assert [(one.name, one.one, one.many) for one in by_operation(calls, MACHINE, 2)] == [("a", 20, 12), ("b", 4, 4)]
