// Numbers of 8 bits, backend/cuda/float8.py. The rounding is done here with whole numbers and float arithmetic that is exact, not
// by an instruction, so it is the same on every card and in the emulator.
#pragma once
#include <half.cuh>

struct E4M3 { static constexpr int digits = 3, bias = 7, top = 8; };
struct E5M2 { static constexpr int digits = 2, bias = 15, top = 15; };

constexpr unsigned INFINITE = 0x7f800000u, THREE_QUARTERS = 0x600000u;

__device__ __forceinline__ float two_to(int exponent) { return __uint_as_float(unsigned(exponent + 127) << 23); }

// To nearest, ties to even; beyond the range to the largest number, and NaN to NaN.
template <class Form>
__device__ __forceinline__ unsigned char to_float8(float x) {
    const unsigned bits = __float_as_uint(x);
    if ((bits & 0x7fffffffu) > INFINITE) return 0x7f;
    const float magnitude = fminf(fabsf(x), 1.75f * two_to(Form::top));
    // Below the least exponent the numbers of the format have equal distances.
    const int exponent = max(int(__float_as_uint(magnitude) >> 23) - 127, 1 - Form::bias);
    const int steps = int(rintf(magnitude * two_to(Form::digits - exponent)));
    return (unsigned char)((bits >> 24 & 0x80u) | unsigned(steps + ((exponent + Form::bias - 1) << Form::digits)));
}

// The scale of an array whose largest magnitude has these bits: the least power of two that brings it into range.
template <class Form>
__device__ __forceinline__ float float8_scale(unsigned bits) {
    if (bits >= INFINITE) return __uint_as_float(0x7fffffffu);
    const int exponent = int(bits >> 23) - 127 - Form::top + ((bits & 0x7fffffu) > THREE_QUARTERS);
    return two_to(max(exponent, -62));  // LEAST_EXPONENT
}
