"""Ranks on emulated GPUs: the bytes of one process, and the rules of NCCL that the stand-in enforces."""

from __future__ import annotations

import re
import sys
import threading

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from minitrain.backend import to_device, to_numpy, use_kernels
from minitrain.backend.arrays import device_of
from minitrain.backend.cuda.device import use_gpu
from minitrain.backend.cuda.nccl import load_nccl
from minitrain.distributed import Alone, NcclGroup, halves, run_ranks
from minitrain.distributed.launch.gpus import local_rank, visible_to
from minitrain.distributed.nccl import on_device
from minitrain.distributed.rows import gather_rows
from minitrain.errors import ConfigError, DeviceError, ShapeError
from minitrain.testing.cuda import nccl as stand_in
from minitrain.testing.cuda.fake import emulated_device
from minitrain.testing.cuda.fake.streams import StreamOrderError


@pytest.fixture
def impatient(monkeypatch):
    """A wait for ever ends soon. Ranks that compute may take longer, so only rules are tested with it."""
    monkeypatch.setattr(stand_in, "PATIENCE", 0.5)
    yield
    stand_in.reset()


def on_gpus(size, work, devices=4):
    """What ``work(group)`` returns on each rank, in an `NcclGroup` on a GPU of its own."""

    def run(carrier):
        group = NcclGroup(carrier, f"cuda:{carrier.rank}")
        result = work(group)
        group.close()
        return result

    with use_kernels("reference"), emulated_device(devices):
        return run_ranks(size, run, patience=30)


@settings(max_examples=25, deadline=None)
@given(
    size=st.integers(1, 4),
    count=st.integers(1, 40),
    dtype=st.sampled_from(["float32", "float64", "float16", "int64", ml_dtypes.bfloat16]),
    seed=st.integers(0, 99),
)
def test_every_rank_has_the_sum_in_the_order_of_the_tree(size, count, dtype, seed):
    """The bytes of the same calls on the host, for any number of ranks, length and dtype."""
    terms = np.random.default_rng(seed).standard_normal((4, count)).astype(dtype)

    def sums(group, place):
        array, root = place(terms[group.rank].copy()), place(terms[group.rank].copy())
        group.all_reduce(array)
        group.broadcast(root, group.size - 1)
        return to_numpy(array).tobytes(), to_numpy(root).tobytes()

    on_host = run_ranks(size, lambda group: sums(group, lambda x: x))
    there = on_gpus(size, lambda group: sums(group, lambda x: to_device(x, f"cuda:{group.rank}")))
    assert there == on_host
    assert len(set(there)) == 1


@pytest.mark.parametrize("mode", ["reference", pytest.param("auto", marks=pytest.mark.cuda)])
@settings(max_examples=25, deadline=None)
@given(
    x=arrays(np.float32, st.integers(0, 70), elements=st.floats(width=32, allow_nan=True, allow_infinity=True)),
    seed=st.integers(0, 9),
)
def test_numbers_of_16_bits_are_those_of_the_host(mode, x, seed):
    """Rounded, added, packed and unpacked on a GPU."""
    other = np.random.default_rng(seed).permutation(x)

    def steps(place):
        left, right = place(x.copy()), place(other.copy())
        for array in (left, right):
            halves.round_in_place(array)
        halves.rounded_add(left, right, left)
        sent = halves.packed(left)
        halves.unpack(sent, right)
        return to_numpy(sent), to_numpy(right)

    with use_kernels(mode), np.errstate(all="ignore"):
        expected = steps(lambda array: array)
        with emulated_device():
            found = steps(lambda array: to_device(array, "cuda"))
    bad = np.isnan(expected[1])
    assert (bad == np.isnan(found[1])).all()
    for one, two in zip(found, expected, strict=True):
        assert one[~bad].tobytes() == two[~bad].tobytes()


@pytest.mark.parametrize("counts", [(2, 3), (0, 4), (1, 0, 2)])
def test_rows_are_joined_on_each_gpu(counts):
    """Of several dtypes; a rank without rows gives no array."""

    def joined(group, device="cpu"):
        rows = np.arange(6.0).reshape(3, 2)[: counts[group.rank]] + 10 * group.rank
        given = [rows, rows[:, 0] > 10, rows.astype(np.float16)] if len(rows) else []
        found = gather_rows(group, [to_device(array, device) for array in given], device)
        assert {device_of(array) for array in found} == {device if device == "cpu" else f"cuda:{group.rank}"}
        return [(array.dtype.name, array.shape, to_numpy(array).tobytes()) for array in found]

    size = len(counts)
    assert on_gpus(size, lambda group: joined(group, f"cuda:{group.rank}")) == run_ranks(size, joined)


def test_rows_may_lie_anywhere_and_there_may_be_none():
    def joined(group):
        rows = to_device(np.arange(12.0).reshape(3, 4), f"cuda:{group.rank}")
        (found,) = gather_rows(group, [rows.T[:2]], f"cuda:{group.rank}")
        assert gather_rows(group, [], f"cuda:{group.rank}") == []
        return to_numpy(found).tolist()

    expected = [[0.0, 4.0, 8.0], [1.0, 5.0, 9.0]] * 2
    assert on_gpus(2, joined) == [expected] * 2


@pytest.mark.parametrize("odd", [0, 1, 2])
def test_rows_that_do_not_fit_are_named(odd):
    """Those of the first rank, and the first others."""
    usual, other = "[('float64', [2])]", "[('float32', [3])]"

    def differ(group):
        gather_rows(group, [np.zeros((1, 3), "float32") if group.rank == odd else np.zeros((1, 2))])

    both = (other, usual) if odd == 0 else (usual, other)
    with pytest.raises(
        ShapeError, match=re.escape(f"ranks have rows that do not fit together: {both[0]} and {both[1]}")
    ):
        run_ranks(3, differ)


def test_a_group_ends_its_communicator_and_knows_what_its_carrier_knows():
    def work(group):
        before = group.failure
        group.carrier.failure = "rank 7 is gone"
        group.close()
        return before, group.failure, group._communicator._alive

    assert on_gpus(2, work) == [("", "rank 7 is gone", False)] * 2


def test_the_host_does_not_wait_for_an_exchange():
    def work(group):
        array = to_device(np.ones(8, np.float32), f"cuda:{group.rank}")
        group.barrier()
        with device.counting() as counts:
            group.all_reduce(array)
            group.barrier()
        return counts.synchronisations

    def run(carrier):
        return work(NcclGroup(carrier, f"cuda:{carrier.rank}"))

    with use_kernels("reference"), emulated_device(2) as device:
        assert run_ranks(2, run) == [0, 0]


def test_what_the_host_exchanges_takes_the_carrier():
    def work(group):
        group.all_reduce(array := np.full(3, 1.0 + group.rank))
        return array.tolist(), group.gather(group.rank), group.from_main(group.rank)

    assert on_gpus(2, work) == [([3.0] * 3, [0, 1], 0)] * 2


def test_two_ranks_on_one_gpu_are_named():
    def run(carrier):
        NcclGroup(carrier, "cuda:0")

    with emulated_device(2), pytest.raises(ConfigError, match=r"ranks 0 and 1 both compute on the GPU 0000:01:00\.0"):
        run_ranks(2, run)


def test_arrays_elsewhere_are_refused():
    def of_another(group):
        group.all_reduce(to_device(np.ones(4, np.float32), f"cuda:{1 - group.rank}"))

    def in_pieces(group):
        x = to_device(np.ones((4, 4), np.float32), f"cuda:{group.rank}")
        group.exchange_arrays({1 - group.rank: x[:, 0]}, {1 - group.rank: x[:, 1]})

    for work in (of_another, in_pieces):
        with pytest.raises(DeviceError, match="exchanges contiguous arrays on cuda:"):
            on_gpus(2, work)
    with emulated_device(), pytest.raises(ConfigError, match="exchanges arrays of the CPU alone"):
        run_ranks(2, lambda group: group.all_reduce(to_device(np.ones(4, np.float32), "cuda")))


def test_an_id_may_be_bytes(monkeypatch):
    """As in newer versions of CuPy."""
    monkeypatch.setattr(stand_in, "get_unique_id", lambda: bytes(range(128)))
    assert on_gpus(2, lambda group: group._communicator.size()) == [2, 2]


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy.cuda.nccl", None)
    with pytest.raises(ConfigError, match=r"pip install nvidia-nccl-cu13"):
        load_nccl()


def test_nothing_is_wrapped_without_need():
    assert on_device(None, "cuda") is None
    alone = Alone()
    assert on_device(alone, "cuda") is alone
    assert on_device(alone, "cpu") is alone


def test_a_second_training_on_a_group_has_the_same_communicator():
    def work(carrier):
        device = f"cuda:{carrier.rank}"
        first = on_device(carrier, device)
        assert on_device(carrier, device) is first
        assert on_device(first, device) is first
        first.close()
        second = on_device(carrier, device)
        second.barrier()
        second.close()
        return second is not first

    with use_kernels("reference"), emulated_device(2):
        assert run_ranks(2, work) == [True, True]


def raw(work, size=2):
    """``work(communicator, address of 16 bytes, rank)`` on each rank, against the stand-in itself."""
    with emulated_device(size) as device:
        identity = stand_in.get_unique_id()

        def run(carrier):
            xp = use_gpu(f"cuda:{carrier.rank}")
            array = xp.ones(4, "float32")
            return work(stand_in.NcclCommunicator(size, identity, carrier.rank), array, carrier.rank, device.cupy)

        return run_ranks(size, run)


def exchange(communicator, array, rank, *, count=2, type=7, receive=2):
    stand_in.groupStart()
    communicator.send(array.data.ptr, count, type, 1 - rank, 0)
    communicator.recv(array.data.ptr + 8, receive, type, 1 - rank, 0)
    stand_in.groupEnd()


RULES = {
    "counts differ": (lambda c, a, rank, xp: exchange(c, a, rank, count=1 + rank, receive=2), "receives 8"),
    "types differ": (lambda c, a, rank, xp: exchange(c, a, rank, count=1, receive=1, type=7 - 5 * rank), "of type 2"),
    "longer than the buffer": (lambda c, a, rank, xp: exchange(c, a, rank, count=5), "longer than the buffer"),
    "no such type": (lambda c, a, rank, xp: exchange(c, a, rank, type=77), "no type 77"),
    "no such rank": (lambda c, a, rank, xp: c.send(a.data.ptr, 1, 7, 9, 0), "no rank 9"),
    "memory of nobody": (lambda c, a, rank, xp: c.send(16, 1, 7, 1 - rank, 0), "not on the communicator's GPU"),
    "not aligned": (lambda c, a, rank, xp: c.send(a.data.ptr + 2, 1, 7, 1 - rank, 0), "not aligned"),
    "both send first": (lambda c, a, rank, xp: c.send(a.data.ptr, 1, 7, 1 - rank, 0), "deadlock: rank . sends"),
    "nobody sends": (lambda c, a, rank, xp: c.recv(a.data.ptr, 1, 7, 1 - rank, 0), "deadlock: rank . receives"),
    "end without start": (lambda c, a, rank, xp: stand_in.groupEnd(), "groupEnd without groupStart"),
    "after the end": (lambda c, a, rank, xp: (c.destroy(), exchange(c, a, rank)), "destroyed or aborted"),
}


@pytest.mark.parametrize("rule", RULES)
def test_the_stand_in_enforces_the_rules(impatient, rule):
    work, message = RULES[rule]
    with pytest.raises(stand_in.NcclError, match=message):
        raw(work)


def test_the_stand_in_wants_every_rank_once(impatient):
    with emulated_device(2):
        identity = stand_in.get_unique_id()
        with pytest.raises(stand_in.NcclError, match="1 of 2 ranks"):
            stand_in.NcclCommunicator(2, identity, 0)
        with pytest.raises(stand_in.NcclError, match="has come already"):
            stand_in.NcclCommunicator(2, identity, 0)
        with pytest.raises(stand_in.NcclError, match="rank 2 of 2"):
            stand_in.NcclCommunicator(2, identity, 2)
        identity = stand_in.get_unique_id()
        errors = []

        def same_gpu(rank):
            try:
                stand_in.NcclCommunicator(2, identity, rank)
            except stand_in.NcclError as error:
                errors.append(str(error))

        threads = [threading.Thread(target=same_gpu, args=(rank,)) for rank in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(errors) == 2
        assert all("Duplicate GPU detected" in error for error in errors)


def test_what_follows_must_be_ordered_behind_a_message():
    """A stream that has not waited may not read what arrives on another one."""

    def work(communicator, array, rank, cupy):
        stream, other = (cupy.cuda.Stream(non_blocking=True) for _ in range(2))
        stream.wait_event(cupy.cuda.get_current_stream().record())
        stand_in.groupStart()
        communicator.send(array.data.ptr, 2, 7, 1 - rank, stream.ptr)
        communicator.recv(array.data.ptr + 8, 2, 7, 1 - rank, stream.ptr)
        stand_in.groupEnd()
        with other:
            array + 1

    with pytest.raises(StreamOrderError, match=r"(writes|reads) memory"):
        raw(work)


def test_a_capture_is_a_property_of_both_sides(impatient):
    def work(communicator, array, rank, cupy):
        stream = cupy.cuda.Stream(non_blocking=True)
        stream.wait_event(cupy.cuda.get_current_stream().record())
        with stream:
            if rank == 0:
                stream.begin_capture()
            stand_in.groupStart()
            communicator.send(array.data.ptr, 2, 7, 1 - rank, stream.ptr)
            communicator.recv(array.data.ptr + 8, 2, 7, 1 - rank, stream.ptr)
            stand_in.groupEnd()

    with pytest.raises(stand_in.NcclError, match="one side captures"):
        raw(work)


def test_each_rank_sees_a_gpu_of_its_own():
    assert [visible_to(rank, {}) for rank in range(3)] == ["0", "1", "2"]
    two = {"CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b"}
    assert [visible_to(rank, two) for rank in range(3)] == ["GPU-a", "GPU-b", "GPU-a"]
    assert visible_to(1, {"CUDA_VISIBLE_DEVICES": ""}) == ""
    assert local_rank({"SLURM_LOCALID": "3"}) == 3
    assert local_rank({}) is None
