"""Every kernel compiles for every kind of GPU, spills nothing, and needs as many registers as the table says."""

from __future__ import annotations

import pytest

from minitrain.backend.cuda import nvrtc
from minitrain.backend.cuda.cubin_cache import load_or_compile
from minitrain.backend.cuda.source import KERNELS
from minitrain.errors import DeviceError
from tests.helpers.cuda import needs_nvrtc, source_of
from tools.cuda_resources import ARCHS, TABLE, header, lines, measure, sources

pytestmark = needs_nvrtc


@pytest.mark.parametrize("source", sources(), ids=lambda source: source.path)
def test_kernels_compile_and_need_what_the_table_says(source):
    spilled = {
        (name, arch): used.spills
        for name, by_arch in measure(source).items()
        for arch, used in by_arch.items()
        if used.spills
    }
    assert not spilled, "these kernels keep numbers in memory that have no room in registers"
    known = TABLE.read_text()
    if known.partition("\n")[0] != header().partition("\n")[0]:
        pytest.skip("the table is of another NVRTC: python -m tools.cuda_resources --write")
    assert "\n".join(lines(source)) in known, "python -m tools.cuda_resources --write renews the table"


def test_the_table_has_no_other_kernels():
    paths = {line for line in TABLE.read_text().splitlines() if line.endswith(".cu")}
    assert paths == {source.path for source in sources()}


def test_every_file_of_kernels_is_declared():
    declared = {source.file for source in sources()}
    assert declared == set(KERNELS.rglob("*.cu"))


def test_a_spill_would_be_seen():
    text = """
    __global__ void __launch_bounds__(1024, 2) crowded(const float* x, float* y, int n) {
        float v[64];
        for (int i = 0; i < 64; ++i) v[i] = x[i * n + threadIdx.x];
        for (int k = 0; k < n; ++k)
            for (int i = 0; i < 64; ++i) v[i] = v[i] * v[(i + 1) % 64] + v[(i + 7) % 64];
        for (int i = 0; i < 64; ++i) y[i * n + threadIdx.x] = v[i];
    }"""
    source, _ = source_of(text, crowded="f4* x, f4* y, i4 n")
    assert load_or_compile(source, "sm_80").resources["crowded"].spills > 0


def test_what_the_compiler_says_of_a_mistake_is_passed_on():
    source, _ = source_of("__global__ void broken(float* x) { x[0] = y; }", broken="f4* x")
    with pytest.raises(DeviceError, match=r'test.cu does not compile for sm_90:\n.*identifier "y" is undefined'):
        load_or_compile(source, "sm_90")


def test_a_declaration_that_does_not_fit_does_not_compile():
    source, _ = source_of("__global__ void one(float* x, int n) { x[0] = n; }", one="f4* x, i8 n")
    with pytest.raises(DeviceError, match="the parameters of one are not those that Python declares"):
        load_or_compile(source, "sm_90")


def test_a_file_is_compiled_once_for_each_kind_of_gpu(tmp_path, monkeypatch):
    monkeypatch.setenv("MINITRAIN_CACHE_DIR", str(tmp_path))
    compiled = []
    plain = nvrtc.compile_cubin
    monkeypatch.setattr(nvrtc, "compile_cubin", lambda *given: compiled.append(given[3]) or plain(*given))
    source, _ = source_of("__global__ void one(float* x) { x[0] = 1; }", one="f4* x")
    first, again, other = (load_or_compile(source, arch) for arch in ("sm_80", "sm_80", ARCHS[1]))
    assert compiled == ["sm_80", ARCHS[1]]
    assert first == again
    assert first.path != other.path
    assert first.path.read_bytes()[:4] == b"\x7fELF"
    changed, _ = source_of("__global__ void one(float* x) { x[0] = 2; }", one="f4* x")
    assert load_or_compile(changed, "sm_80").path != first.path
