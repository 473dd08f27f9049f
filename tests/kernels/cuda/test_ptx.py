"""The one header that the emulator replaces: each function of ``ptx.cuh`` is the machine instruction that it should be.

The kernel around a function is compiled for each kind of GPU, and its machine code is disassembled.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from minitrain.backend.cuda import nvrtc
from minitrain.backend.cuda.cubin_cache import load_or_compile
from minitrain.backend.cuda.source import INCLUDE
from minitrain.errors import DeviceError
from tests.helpers.cuda import needs_nvrtc, source_of
from tools.cuda_resources import ARCHS


def disassembler() -> str | None:
    try:
        beside = nvrtc.find_toolkit().library.parents[1] / "bin" / "nvdisasm"
    except DeviceError:
        return None
    return str(beside) if beside.exists() else shutil.which("nvdisasm")


pytestmark = [
    *needs_nvrtc,
    pytest.mark.skipif(disassembler() is None, reason="no nvdisasm: pip install nvidia-cuda-nvdisasm"),
]

LOAD = "unsigned r[{n}]; {call}; for (int i = 0; i < {n}; ++i) out[i * 32 + threadIdx.x] = __uint_as_float(r[i]);"
MULTIPLY = (
    "unsigned a[4]; float d[4];"
    "for (int i = 0; i < 4; ++i) {{ a[i] = in[i * 32 + threadIdx.x]; d[i] = out[threadIdx.x]; }}"
    "{name}(d, a, in[0], in[1]); for (int i = 0; i < 4; ++i) out[i * 32 + threadIdx.x] = d[i];"
)
FUNCTIONS = {  # name -> what a kernel does with it, and the instructions that must be in its machine code
    "cp_async16": ("cp_async16(s + 4 * threadIdx.x, in, n > 3);", ["LDGSTS", ".128"]),
    "cp_async": ("cp_async<4>(s + threadIdx.x, in, n > 3);", ["LDGSTS"]),
    "cp_async_commit": ("cp_async16(s, in); cp_async_commit();", ["LDGDEPBAR"]),
    "cp_async_wait": ("cp_async16(s, in); cp_async_commit(); cp_async_wait<1>();", ["DEPBAR.LE"]),
    "ldmatrix_x4": (LOAD.format(n=4, call="ldmatrix_x4(r, s + 4 * threadIdx.x)"), ["LDSM.16.M88.4"]),
    "ldmatrix_x4_trans": (LOAD.format(n=4, call="ldmatrix_x4_trans(r, s + 4 * threadIdx.x)"), ["LDSM.16.MT88.4"]),
    "ldmatrix_x2": (LOAD.format(n=2, call="ldmatrix_x2(r, s + 4 * threadIdx.x)"), ["LDSM.16.M88.2"]),
    "ldmatrix_x2_trans": (LOAD.format(n=2, call="ldmatrix_x2_trans(r, s + 4 * threadIdx.x)"), ["LDSM.16.MT88.2"]),
    "mma_bf16": (MULTIPLY.format(name="mma_bf16"), ["HMMA.16816.F32.BF16"]),
    "mma_f16": (MULTIPLY.format(name="mma_f16"), ["HMMA.16816.F32 "]),
    "mma_tf32": (MULTIPLY.format(name="mma_tf32"), ["HMMA.1688.F32.TF32"]),
    "float_to_tf32": ("out[threadIdx.x] = __uint_as_float(float_to_tf32(out[threadIdx.x + n]));", []),
    "exp2_approx": ("out[threadIdx.x] = exp2_approx(out[threadIdx.x + n]);", ["MUFU.EX2"]),
    "shared_address": ("out[0] = shared_address(s + n);", []),
}
TEXT = """
#include <ptx.cuh>
__global__ void kernel(const unsigned* in, float* out, int n) {{
    __shared__ __align__(16) unsigned s[128];
    if (n > 0) s[threadIdx.x] = n;
    __syncthreads();
    {body}
}}
"""


def test_every_function_of_the_header_is_here():
    found = {
        line.partition("(")[0].split()[-1]
        for line in (INCLUDE / "ptx.cuh").read_text().splitlines()
        if line.startswith("__device__")
    }
    assert found == FUNCTIONS.keys()


def test_inline_assembly_is_in_no_other_file():
    kernels = [path for end in ("*.cu", "*.cuh") for path in INCLUDE.parent.rglob(end)]
    assert [path.name for path in kernels if "asm" in path.read_text().replace("asm volatile", "asm")] == ["ptx.cuh"]


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_its_instruction(name, arch):
    body, expected = FUNCTIONS[name]
    source, _ = source_of(TEXT.format(body=body), kernel="u4* in, f4* out, i4 n")
    code = machine_code(load_or_compile(source, arch).path)
    assert "EXIT" in code
    for instruction in expected:
        assert instruction in code, f"{name} on {arch}"


def machine_code(cubin: Path) -> str:
    done = subprocess.run([str(disassembler()), "--print-code", str(cubin)], capture_output=True, text=True, check=True)
    return done.stdout
