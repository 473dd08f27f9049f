"""A captured step gives the same bytes as the plain step, and what a graph cannot repeat is an error."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.backend.arrays import to_device
from minitrain.backend.cuda.blocks import Arena, Life, place_lives
from minitrain.backend.cuda.gemm import matmul
from minitrain.backend.cuda.graphs import GraphedStep
from minitrain.errors import DeviceError, ShapeError
from minitrain.testing.cuda.fake import CaptureError, EmulatedDevice, emulated_device


@pytest.fixture
def device() -> Iterator[EmulatedDevice]:
    with emulated_device() as emulated:
        yield emulated


def make_step(cp, weight, momentum):
    """A step with products, temporaries, state in place, and a rate from the device."""

    def step(x, y, lr):
        hidden = cp.tanh(matmul(x, weight))
        error = hidden - y
        gradient = matmul(x, error * (1 - hidden * hidden), transpose_a=True)
        momentum[...] = 0.9 * momentum + gradient
        weight[...] -= lr * momentum
        return (error * error).sum(), {"hidden": hidden}

    return step


def inputs(rng, cp):
    x, y = rng.normal(size=(5, 8)).astype(np.float32), rng.normal(size=(5, 4)).astype(np.float32)
    return cp.asarray(x), cp.asarray(y), cp.asarray(np.float32(rng.uniform(0.01, 0.1)))


@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_a_captured_step_gives_the_same_bytes(seed, steps):
    """Losses, outputs, weights and state, with inputs and a rate that change in each step."""
    with emulated_device() as device:
        cp = device.cupy
        rng = np.random.default_rng(seed)
        weight = rng.normal(size=(8, 4)).astype(np.float32)
        plain = cp.asarray(weight), cp.zeros((8, 4), np.float32)
        graphed = cp.asarray(weight), cp.zeros((8, 4), np.float32)
        run, step = make_step(cp, *plain), GraphedStep(make_step(cp, *graphed), fixed=lambda: graphed)
        for _ in range(steps):
            batch = inputs(rng, cp)
            (loss, seen), (loss_too, seen_too) = run(*batch), step(*batch)
            assert loss.get().tobytes() == loss_too.get().tobytes()
            assert seen["hidden"].get().tobytes() == seen_too["hidden"].get().tobytes()
        for one, other in zip(plain, graphed, strict=True):
            assert one.get().tobytes() == other.get().tobytes()
        assert step.captured == (steps > 2)
        assert step.replays == max(steps - 2, 0)


def test_a_replay_is_one_launch_without_allocations(device):
    cp, rng = device.cupy, np.random.default_rng(0)
    state = cp.ones((8, 4), np.float32), cp.zeros((8, 4), np.float32)
    step = GraphedStep(make_step(cp, *state))
    batches = [inputs(rng, cp) for _ in range(5)]
    for batch in batches[:3]:
        step(*batch)
    with device.counting() as counts:
        for batch in batches[3:]:
            step(*batch)
    assert (counts.allocations, counts.synchronisations, counts.to_device, counts.to_host) == (0, 0, 0, 0)
    assert set(counts.calls) == {"setitem float32[5, 8]", "setitem float32[5, 4]", "setitem float32[]"}


def test_temporaries_share_memory(device):
    """Ten arrays that follow each other need the memory of two."""
    cp = device.cupy

    def step(x):
        for _ in range(10):
            x = x + 1
        return x

    graphed = GraphedStep(step)
    for _ in range(3):
        found = graphed(cp.zeros(1000, np.float32))
    assert found.get().tolist() == [10] * 1000
    assert graphed.arena.total == 10 * 4096
    assert graphed.arena.nbytes == 2 * 4096


WRONG = {
    "a number comes to the host": (lambda cp, x, kept: float(x.sum().get()) * x, CaptureError, "a copy to the host"),
    "an array comes from the host": (
        lambda cp, x, kept: x + cp.asarray(np.ones(4)),
        CaptureError,
        "a copy from the host",
    ),
    "a size that only the device knows": (lambda cp, x, kept: x[x > 0], CaptureError, "size only the device knows"),
    "the host waits": (lambda cp, x, kept: cp.cuda.get_current_stream().synchronize(), CaptureError, "host waits"),
    "an array is kept": (
        lambda cp, x, kept: kept.append(x + 1),
        DeviceError,
        r"keeps an array that it made at test_graphs.py:",
    ),
    "another shape": (
        lambda cp, x, kept: kept.append(1) or cp.zeros(200 * len(kept), np.float32),
        DeviceError,
        r"test_graphs.py:\d+ makes an array of 2400 bytes \(such as float32 of shape \(600,\)\)",
    ),
    "fewer arrays": (
        lambda cp, x, kept: kept.append(1) or (x + 1 if len(kept) < 3 else x),
        DeviceError,
        "made 0 arrays, and 1 in the run that was recorded",
    ),
    "a new product": (
        lambda cp, x, kept: kept.append(1) or matmul(*[cp.zeros((len(kept) // 3 + 1,) * 2, np.float32)] * 2),
        DeviceError,
        r"the product \(2, 2\) @ \(2, 2\) in float32 -> float32 is new while a graph is captured",
    ),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_what_a_graph_cannot_repeat_is_an_error(device, mistake):
    function, error, message = WRONG[mistake]
    cp, kept = device.cupy, []
    step = GraphedStep(lambda x: function(cp, x, kept))
    x = cp.ones(4, np.float32)
    step(x)
    step(x)
    with pytest.raises(error, match=message):
        step(x)
    assert not step.captured
    assert not any(stream.is_capturing() for stream in [step._stream])


def test_weights_that_moved_are_an_error(device):
    cp = device.cupy
    weights = [cp.ones(4, np.float32)]
    step = GraphedStep(lambda x: x + weights[0], fixed=lambda: weights)
    x = cp.ones(4, np.float32)
    for _ in range(4):
        step(x)
    weights[0] = weights[0] + 1
    with pytest.raises(DeviceError, match="has moved since the capture"):
        step(x)


def test_inputs_must_stay_as_they_were(device):
    cp = device.cupy
    step = GraphedStep(lambda x: x + 1)
    with pytest.raises(ShapeError, match="input 1 is a float; a number of the host would be frozen"):
        step(0.1)
    with pytest.raises(ShapeError, match="at least one input"):
        step()
    step(cp.ones(4, np.float32))
    with pytest.raises(ShapeError, match=r"\[\(5,\)\], and \[\(4,\)\] in the first call"):
        step(cp.ones(5, np.float32))
    with pytest.raises(ShapeError, match="at least 2"):
        GraphedStep(lambda x: x, warmups=1)


def test_numbers_of_the_host_are_frozen(device):
    """Why rates are inputs: the graph repeats the number that Python had during the capture."""
    cp, rate = device.cupy, [1.0]
    step = GraphedStep(lambda x: x * rate[0])
    found = []
    for rate[0] in (1.0, 2.0, 3.0, 4.0):
        found.append(step(cp.ones((), np.float32)).get().item())
    assert found == [1, 2, 3, 3]


def test_a_capture_computes_nothing(device):
    """On a device, kernels run only when the graph is launched."""
    cp = device.cupy
    stream, x = cp.cuda.Stream(non_blocking=True), cp.zeros(4, np.float32)
    stream.wait_event(cp.cuda.Stream.null.record())
    with stream:
        stream.begin_capture()
        x += 1
        graph = stream.end_capture()
        assert to_numpy_on(stream, x) == [0] * 4
        graph.launch()
        graph.launch()
        assert to_numpy_on(stream, x) == [2] * 4


def to_numpy_on(stream, x):
    return x.get(stream).tolist()


LIVES = st.lists(
    st.tuples(st.integers(1, 20), st.integers(0, 10), st.one_of(st.none(), st.integers(1, 8))), max_size=12
)


@given(LIVES)
def test_arrays_that_are_alive_together_do_not_overlap(drawn):
    """And the arena is never larger than all arrays side by side, nor smaller than what is alive at once."""
    lives = [Life(512 * size, begin, None if length is None else begin + length, "") for size, begin, length in drawn]
    nbytes = place_lives(lives)
    for i, one in enumerate(lives):
        for other in lives[:i]:
            together = (one.end is None or other.begin < one.end) and (other.end is None or one.begin < other.end)
            apart = one.offset + one.nbytes <= other.offset or other.offset + other.nbytes <= one.offset
            assert apart or not together
    at_once = [sum(x.nbytes for x in lives if x.begin <= t and (x.end is None or t < x.end)) for t in range(20)]
    assert max(at_once) <= nbytes <= sum(life.nbytes for life in lives)


def test_the_arena_serves_the_same_addresses(device):
    arena = Arena(device.cupy)

    def step():
        a = device.cupy.zeros(100, np.float32)
        b = a + 1
        return a.data.ptr, b.data.ptr, (b * a).data.ptr

    with arena.step():
        step()
    seen = set()
    for _ in range(3):
        with arena.step():
            seen.add(step())
    assert seen == {tuple(arena.addresses())}
    assert len(set(arena.addresses())) == 3


def test_garbage_is_collected_before_or_after_a_step(device):
    """A collection in the midst of it would free arrays at another moment than in the recorded run."""
    arena = Arena(device.cupy)
    assert gc.isenabled()
    for _ in range(2):
        with arena.step():
            assert not gc.isenabled()
        assert gc.isenabled()


def test_memory_that_is_still_in_use_is_not_given_out(device):
    arena, kept = Arena(device.cupy), []

    def step(keep):
        first = device.cupy.zeros(100, np.float32)
        if keep:
            kept.append(first)
        del first
        return device.cupy.zeros(100, np.float32)

    with arena.step():
        step(False)
    with pytest.raises(DeviceError, match="is still alive, and was gone at this point"), arena.step():
        step(True)


def test_arrays_of_other_code_stay_out_of_the_arena(device):
    """Only what a step makes lies there: the arena serves inside its block alone."""
    arena = Arena(device.cupy)
    with arena.step():
        device.cupy.zeros(10, np.float32)
    outside = device.cupy.zeros(10, np.float32)
    assert outside.data.ptr not in arena.addresses()
    assert to_device(np.zeros(3, np.float32), "cuda").data.ptr not in arena.addresses()
