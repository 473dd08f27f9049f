// The emulator's stand-in for minitrain/kernels/cuda/include/ptx.cuh, the one file with inline PTX: the same functions.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>

typedef __nv_bfloat16 bf16;
typedef __half f16;

template <int BYTES> inline void cp_async(void* to, const void* from, bool valid = true, EMU_HERE) {
    static_assert(BYTES == 4 || BYTES == 8 || BYTES == 16, "cp.async copies 4, 8 or 16 bytes");
    emu::issue_copy(to, valid ? from : nullptr, BYTES, place);
}
inline void cp_async16(void* to, const void* from, bool valid = true, EMU_HERE) {
    emu::issue_copy(to, valid ? from : nullptr, 16, place);
}
inline void cp_async_commit() { emu::commit_copies(); }
template <int N> inline void cp_async_wait() { emu::wait_copies(N); }

inline void ldmatrix_x4(unsigned (&r)[4], const void* row, EMU_HERE) {
    const auto words = emu::ldmatrix<4>(row, false, place);
    for (int i = 0; i < 4; ++i) r[i] = words.r[i];
}
inline void ldmatrix_x4_trans(unsigned (&r)[4], const void* row, EMU_HERE) {
    const auto words = emu::ldmatrix<4>(row, true, place);
    for (int i = 0; i < 4; ++i) r[i] = words.r[i];
}
inline void ldmatrix_x2(unsigned (&r)[2], const void* row, EMU_HERE) {
    const auto words = emu::ldmatrix<2>(row, false, place);
    for (int i = 0; i < 2; ++i) r[i] = words.r[i];
}
inline void ldmatrix_x2_trans(unsigned (&r)[2], const void* row, EMU_HERE) {
    const auto words = emu::ldmatrix<2>(row, true, place);
    for (int i = 0; i < 2; ++i) r[i] = words.r[i];
}

namespace emu {
template <int K, int P, class Decode>
void multiply(const char* what, float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, Decode decode, Place place) {
    const MmaOut o = mma<K, P>(what, {{a[0], a[1], a[2], a[3]}, {b0, b1}, {d[0], d[1], d[2], d[3]}}, decode, place);
    for (int i = 0; i < 4; ++i) d[i] = o.d[i];
}
}  // namespace emu
inline void mma_bf16(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, EMU_HERE) {
    emu::multiply<16, 2>("mma.bf16", d, a, b0, b1, [](unsigned word, int p) { return __uint_as_float(word >> 16 * p << 16); }, place);
}
inline void mma_f16(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, EMU_HERE) {
    emu::multiply<16, 2>("mma.f16", d, a, b0, b1, [](unsigned word, int p) { return __half2float({uint16_t(word >> 16 * p)}); }, place);
}
// The low 13 bits of a tf32 operand count for nothing; the device may not even read them.
inline void mma_tf32(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, EMU_HERE) {
    emu::multiply<8, 1>("mma.tf32", d, a, b0, b1, [](unsigned word, int) { return __uint_as_float(word & 0xffffe000); }, place);
}
inline unsigned float_to_tf32(float x) {  // to the nearest, ties away from zero
    const unsigned u = __float_as_uint(x);
    return (u & 0x7f800000) == 0x7f800000 ? u : (u + 0x1000) & 0xffffe000;
}
inline float exp2_approx(float x) { return std::exp2(x); }
