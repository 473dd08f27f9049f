// float16 for the emulator: what the kernels use of CUDA's header. The rounding is done in integers, for not every
// compiler has the type.
#pragma once
#include "emulator/export.h"

struct alignas(2) __half { uint16_t x; };
struct alignas(4) __half2 { __half x, y; };

inline float __half2float(__half h) {
    const unsigned sign = unsigned(h.x & 0x8000) << 16, exponent = h.x >> 10 & 31, fraction = h.x & 1023;
    if (exponent == 31) return __uint_as_float(sign | 0x7f800000 | fraction << 13);
    if (exponent == 0) return std::copysign(float(fraction) * 0x1p-24f, __uint_as_float(sign | 0x3f800000));
    return __uint_as_float(sign | (exponent + 112) << 23 | fraction << 13);
}
inline __half __float2half_rn(float f) {  // to the nearest, ties to even
    const unsigned u = __float_as_uint(f);
    const uint16_t sign = uint16_t(u >> 16 & 0x8000);
    const float a = std::fabs(f);
    if (f != f) return {0x7fff};
    if (a >= 65520.f) return {uint16_t(sign | 0x7c00)};
    if (a < 0x1p-14f) return {uint16_t(sign | unsigned(std::nearbyint(a * 0x1p24f)))};
    const unsigned v = u & 0x7fffffff;
    return {uint16_t(sign | ((v + 0xfff + (v >> 13 & 1)) >> 13) - (112 << 10))};
}
inline __half __float2half(float f) { return __float2half_rn(f); }
inline __half2 __floats2half2_rn(float a, float b) { return {__float2half_rn(a), __float2half_rn(b)}; }
inline float2 __half22float2(__half2 h) { return {__half2float(h.x), __half2float(h.y)}; }
inline float __low2float(__half2 h) { return __half2float(h.x); }
inline float __high2float(__half2 h) { return __half2float(h.y); }
