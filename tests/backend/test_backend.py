"""Memory pool, threads, kernel cache, BLAS and device selection."""

import gc
import json
import os
import threading

import llvmlite.binding
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.backend import info, kernels_enabled, kernels_mode, set_threads, thread_count, to_device, use_kernels
from minitrain.backend.cores import cgroup_quota
from minitrain.backend.devices import gpu_status
from minitrain.backend.pool import ALIGNMENT, SMALLEST, BufferPool, size_class
from minitrain.errors import ConfigError, DeviceError
from minitrain.ops import layer_norm_forward, linear_forward
from tests.helpers.processes import run_python


class TestPool:
    @given(st.integers(1, 1 << 40))
    def test_size_class_wastes_at_most_a_quarter_and_a_page(self, nbytes):
        size = size_class(nbytes)
        assert nbytes <= size <= nbytes * 1.25 + 4096  # pages of 4096 bytes
        assert size_class(size) == size

    def test_memory_comes_back_when_the_last_view_is_gone(self):
        pool = BufferPool()
        x = pool.empty((1000, 100))
        address = x.ctypes.data
        view = x.reshape(-1)[5:].view(np.int32)[::2]
        in_use = pool.in_use
        del x
        gc.collect()
        assert pool.in_use == in_use  # the view still looks at it
        other = pool.empty((1000, 100))
        assert other.ctypes.data != address
        del view
        gc.collect()
        assert pool.empty((1000, 100)).ctypes.data == address

    def test_blocks_are_aligned_and_never_shared(self):
        pool = BufferPool()
        arrays = [pool.empty((SMALLEST // 4 + i,)) for i in range(20)]
        for i, array in enumerate(arrays):
            assert array.ctypes.data % ALIGNMENT == 0
            assert array.flags.c_contiguous and array.flags.writeable
            array[...] = i
        assert all((array == i).all() for i, array in enumerate(arrays))

    def test_accounts(self):
        pool = BufferPool()
        x = pool.empty((1 << 20,), np.uint8)
        assert (pool.in_use, pool.peak, pool.cached) == (1 << 20, 1 << 20, 0)
        del x
        assert (pool.in_use, pool.peak, pool.cached) == (0, 1 << 20, 1 << 20)
        pool.trim()
        assert pool.cached == 0

    def test_changing_shapes_do_not_hoard_memory(self):
        pool = BufferPool()
        for i in range(1, 200):
            pool.empty((i * 100_000,), np.uint8)
        assert pool.cached <= 2 * pool.peak

    def test_threads_share_it(self):
        pool = BufferPool()
        wrong = []

        def work(mark: int) -> None:
            for _ in range(300):
                x = pool.empty((SMALLEST,), np.uint8)
                x[...] = mark
                if not (x == mark).all():
                    wrong.append(mark)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
        assert pool.in_use == 0


class TestThreads:
    def test_quota_of_control_groups(self, tmp_path):
        assert cgroup_quota(tmp_path) is None
        (tmp_path / "cpu.max").write_text("150000 100000\n")
        assert cgroup_quota(tmp_path) == 1.5
        (tmp_path / "cpu.max").write_text("max 100000\n")
        assert cgroup_quota(tmp_path) is None

    def test_quota_of_version_1(self, tmp_path):
        (tmp_path / "cpu").mkdir()
        (tmp_path / "cpu/cpu.cfs_quota_us").write_text("-1")
        (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000")
        assert cgroup_quota(tmp_path) is None
        (tmp_path / "cpu/cpu.cfs_quota_us").write_text("200000")
        assert cgroup_quota(tmp_path) == 2

    def test_set_threads(self):
        before = thread_count()
        set_threads(3)
        assert thread_count() == 3
        set_threads(None)
        assert thread_count() == before
        with pytest.raises(ConfigError, match="1 or more"):
            set_threads(0)

    def test_environment(self):
        code = "from minitrain.backend import thread_count; print(thread_count())"
        assert run_python(code, MINITRAIN_NUM_THREADS="5").strip() == "5"
        code = """
            from minitrain.backend import thread_count
            from minitrain.errors import ConfigError
            try: thread_count()
            except ConfigError as error: print(error)
        """
        assert "MINITRAIN_NUM_THREADS='many'" in run_python(code, MINITRAIN_NUM_THREADS="many")

    def test_the_users_numpy_keeps_its_threads(self):
        code = """
            import numpy as np, json
            from threadpoolctl import threadpool_info
            count = lambda: [p["num_threads"] for p in threadpool_info() if "numpy" in p["filepath"]]
            before = count()
            from minitrain.ops import linear_forward
            x = np.ones((64, 64), np.float32)
            linear_forward(x, x)
            print(json.dumps([before, count()]))
        """
        pytest.importorskip("threadpoolctl")
        before, after = json.loads(run_python(code))
        assert before == after

    def test_kernels_run_from_several_python_threads_at_once(self):
        x = np.linspace(-1, 1, 64 * 128, dtype=np.float32).reshape(64, 128)
        weight = np.ones(128, np.float32)
        expected, _ = layer_norm_forward(x, weight, None)
        results = []

        def work() -> None:
            results.extend(layer_norm_forward(x, weight, None)[0] for _ in range(50))

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(results) == 150
        assert all(np.array_equal(result, expected) for result in results)

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
    def test_a_forked_child_computes_with_the_reference(self):
        # GNU OpenMP would abort a forked child that enters a parallel region.
        code = """
            import os, sys, warnings
            warnings.simplefilter("ignore")
            import numpy as np
            from minitrain.ops import linear_forward
            x = np.eye(64, dtype=np.float32)
            linear_forward(x, x)
            pid = os.fork()
            if pid == 0:
                out, _ = linear_forward(x, x)
                os._exit(0 if np.array_equal(out, x) else 1)
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        """
        assert run_python(code).strip() == "0"


class TestKernels:
    def test_mode(self):
        with use_kernels("auto"):
            assert kernels_mode() == "auto"
            with use_kernels("reference"):
                assert kernels_mode() == "reference"
                assert not kernels_enabled()
                with use_kernels("auto"):
                    assert kernels_enabled()
            assert kernels_enabled()
        with pytest.raises(ConfigError, match="'auto' or 'reference'"), use_kernels("fast"):
            pass

    def test_mode_from_the_environment_keeps_numba_out(self):
        code = """
            import sys, numpy as np
            from minitrain.ops import linear_forward
            x = np.ones((3, 3), np.float32)
            linear_forward(x, x)
            print("numba" in sys.modules)
        """
        assert run_python(code, MINITRAIN_KERNELS="reference").strip() == "False"
        assert run_python(code, MINITRAIN_KERNELS="auto").strip() == "True"

    def test_products_without_any_blas(self, monkeypatch):
        from minitrain.kernels.cpu.linear import linear

        monkeypatch.setattr(linear, "available", False)
        x = np.arange(6, dtype=np.float32).reshape(2, 3)
        assert np.array_equal(linear_forward(x, x)[0], x @ x.T)

    def test_the_library_of_numpy_serves_the_kernels_too(self):
        code = """
            import numpy as np
            from minitrain.backend.cpu.products.blas import blas
            from minitrain.ops import attention_backward, attention_forward, linear_backward, linear_forward
            rng = np.random.default_rng(0)
            x, w, d = (rng.standard_normal(shape, np.float32) for shape in ((70, 33), (65, 33), (70, 65)))
            q, k, v, dq = (rng.standard_normal((2, 70, 3, 20), np.float32) for _ in range(4))
            for forward, backward, args, dout, options in (
                (linear_forward, linear_backward, (x, w, None), d, {}),
                (attention_forward, attention_backward, (q, k, v, None), dq, {"causal": True}),
            ):
                assert forward.twin() is not None and backward.twin() is not None
                (out, cache), (wanted, reference) = forward(*args, **options), forward.reference(*args, **options)
                for a, b in zip((out, *backward(dout, cache)), (wanted, *backward.reference(dout, reference))):
                    assert b is None or np.abs(a - b).max() < 1e-4 * np.abs(b).max(), np.abs(a - b).max()
            print(blas().product.name)
        """
        assert run_python(code, MINITRAIN_BLAS="openblas").strip() == "openblas"

    def test_an_unknown_blas_is_named(self):
        code = """
            from minitrain.backend.cpu.products.blas import blas
            from minitrain.errors import ConfigError
            try: blas()
            except ConfigError as error: print(error)
        """
        assert "choose one of mkl, openblas" in run_python(code, MINITRAIN_BLAS="fastest")


class TestDevices:
    def test_unknown_device(self):
        with pytest.raises(DeviceError, match="use 'cpu', 'cuda' or 'cuda:N'"):
            to_device(np.ones(2), "gpu")

    @pytest.mark.skipif(gpu_status()[0] is not None, reason="there is a GPU")
    def test_a_missing_gpu_is_explained(self):
        with pytest.raises(DeviceError, match=r"no GPU can be used: .* Use device=cpu"):
            to_device(np.ones(2), "cuda")


class TestProcessorName:
    """Systems on ARM list the numbers of a core in /proc/cpuinfo, but no name."""

    @pytest.fixture(autouse=True)
    def on_arm(self, monkeypatch):
        monkeypatch.setattr(info.Path, "read_text", lambda self: "processor\t: 0\nCPU part\t: 0xd0c\n")
        monkeypatch.setattr(info.platform, "processor", lambda: "")
        monkeypatch.setattr(info.platform, "machine", lambda: "aarch64")

    @pytest.mark.parametrize(
        ("core", "name"), [("neoverse-n1", "aarch64, neoverse-n1"), ("generic", "aarch64"), ("", "aarch64")]
    )
    def test_without_a_model_name_llvm_knows_the_core(self, monkeypatch, core, name):
        monkeypatch.setattr(llvmlite.binding, "get_host_cpu_name", lambda: core)
        assert info.processor_name() == name

    def test_a_model_name_is_all(self, monkeypatch):
        monkeypatch.setattr(info.Path, "read_text", lambda self: "processor\t: 0\nmodel name\t: Abacus 9000\n")
        assert info.processor_name() == "Abacus 9000"
