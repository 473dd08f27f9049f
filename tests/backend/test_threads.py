"""Kernels beside the user's own NumPy, BLAS and numba, whichever came first; the same bytes from the same threads."""

from __future__ import annotations

import json

import pytest

from tests.helpers.own_product import only_with_own_product
from tests.helpers.processes import run_python

WORK = """
import hashlib, json, os
import numpy as np

def work():
    from minitrain.ops import layer_norm_backward, layer_norm_forward, linear_backward, linear_forward
    x, weight = (np.random.default_rng(n).standard_normal((n, 96), np.float32) for n in (3000, 48))
    y, linear = linear_forward(x, weight)
    out, norm = layer_norm_forward(y, np.ones(48, np.float32), None)
    gradients = layer_norm_backward(out + 1, norm)[:2] + linear_backward(y, linear)[:2]
    return hashlib.sha256(b"".join(a.tobytes() for a in (y, out, *gradients))).hexdigest()
"""
MINITRAIN_FIRST = "print(json.dumps(work()))"
NUMBA_FIRST = """
import numba
import scipy.linalg  # numba loads it, and its BLAS starts threads

count = lambda: len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 0
before = numba.get_num_threads(), count()
digest = work()
from minitrain.backend.cpu import workers
after = numba.get_num_threads(), count() - (workers.size() - 1 if count() else 0)  # without the kernels' own
assert after == before, (before, after)
print(json.dumps(digest))
"""
BESIDE_THE_USERS_OWN = """
import numba
from threadpoolctl import threadpool_info

@numba.njit(parallel=True)
def squares(n):
    out = np.zeros(n)
    for i in numba.prange(n):
        out[i] = i * i
    return out.sum(), numba.get_num_threads()

numba.set_num_threads(2)
numpys = lambda: [pool["num_threads"] for pool in threadpool_info() if "numpy" in pool["filepath"]]
a, own = np.full((300, 300), 2.0), squares(100)
before = numpys()
digests = set()
for _ in range(3):
    assert (a @ a == 1200).all()
    digests.add(work())
    assert squares(100) == own == (328350.0, 2), squares(100)
assert numba.get_num_threads() == 2
assert numpys() == before, (before, numpys())
[digest] = digests
print(json.dumps(digest))
"""


@pytest.fixture(scope="module")
def digest() -> str:
    """What two threads compute when nothing else is there."""
    return json.loads(run_python(WORK + MINITRAIN_FIRST, MINITRAIN_NUM_THREADS="2", MINITRAIN_KERNELS="auto"))


@pytest.mark.parametrize(
    ("code", "environment"),
    [
        pytest.param(NUMBA_FIRST, {"NUMBA_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "2"}, id="a pool of one thread"),
        pytest.param(
            MINITRAIN_FIRST,
            {"NUMBA_NUM_THREADS": "3", "NUMBA_THREADING_LAYER": "workqueue", "MINITRAIN_THREAD_POOL": "numba"},
            id="another kind of pool",
        ),
        pytest.param(
            BESIDE_THE_USERS_OWN, {"NUMBA_NUM_THREADS": "4", "OPENBLAS_NUM_THREADS": "2"}, id="both used in turn"
        ),
    ],
)
def test_the_users_numba_and_numpy_come_first_and_stay_as_they_were(digest, code, environment):
    pytest.importorskip("threadpoolctl")
    settings = {"MINITRAIN_NUM_THREADS": "2", "MINITRAIN_KERNELS": "auto", **environment}
    assert json.loads(run_python(WORK + code, **settings)) == digest


@pytest.mark.parametrize("pool", ["own", "numba"])
def test_kernels_leave_the_users_setting(pool):
    """Also when one raises, and in threads of Python's, each of which has a setting of its own."""
    code = """
import numba, threading
from minitrain.backend import set_threads
from minitrain.kernels.cpu.activations import relu
seen = []
set_threads(1)
work()
def run():
    numba.set_num_threads(2)
    kernel = relu._forward
    kernel(np.ones(3, np.float32), np.empty(3, np.float32), 1)
    for parts in (1, 2, 5):
        out = np.empty(3, np.float32)
        kernel(np.ones(3, np.float32), out, parts)
        seen.append([numba.get_num_threads(), out.sum().item()])
    try: kernel(np.ones(3, np.float64), out, 2)
    except TypeError: seen.append(numba.get_num_threads())
other = threading.Thread(target=run)
other.start(); other.join()
print(json.dumps([seen, numba.get_num_threads()]))
"""
    settings = {"NUMBA_NUM_THREADS": "3", "MINITRAIN_THREAD_POOL": pool}
    answer = run_python(WORK + code, MINITRAIN_KERNELS="auto", **settings)
    assert json.loads(answer) == [[[2, 3.0], [2, 3.0], [2, 3.0], 2], 3]


@only_with_own_product
def test_the_number_of_threads_changes_no_byte():
    """A training with 1, 2 and 3 threads, in two processes whose pools differ and which begin at either end."""
    code = """
import hashlib, json, os
import numpy as np
from minitrain.backend import set_threads
from minitrain.data import TokenLoader
from minitrain.models import GPT, GPTConfig
from minitrain.nn import pack
from minitrain.optim import AdamW, clip_by_global_norm
from minitrain.random import Key

def train(threads):
    set_threads(threads)
    model = GPT(GPTConfig(vocab_size=50, block_size=32, n_layer=1, n_head=2, n_embd=64, dropout=0.1))
    pack(model)
    optimizer = AdamW(model, lr=1e-2)
    loader = TokenLoader(np.random.default_rng(0).integers(0, 50, 4000), batch_size=96, block_size=32, seed=0)
    for step in range(2):
        optimizer.zero_grad()
        loss, cache = model.loss(loader.batch(step), key=Key.from_seed(0).fold(step))
        model.loss_backward(cache)
        optimizer.step(clip_by_global_norm(model, 1.0, count=float(loss.count)).scale)
    return hashlib.sha256(b"".join(p.data.tobytes() for _, p in model.named_parameters())).hexdigest()

counts = (1, 2, 3) if os.environ["MINITRAIN_NUM_THREADS"] == "3" else (3, 2, 1)
print(json.dumps({count: train(count) for count in counts}))
"""
    runs = [json.loads(run_python(code, MINITRAIN_NUM_THREADS=pool, MINITRAIN_KERNELS="auto")) for pool in "32"]
    assert runs[0] == runs[1]
    assert set(runs[0]) == {"1", "2", "3"}
    assert len(set(runs[0].values())) == 1
