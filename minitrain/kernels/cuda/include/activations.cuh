// Activations: the value and the slope of an element. What a caller does not use, the compiler leaves out.
#pragma once

struct Activation { float value, slope; };

__device__ __forceinline__ float logistic(float x) { return 1.f / (1.f + expf(-x)); }

// 1 - s for s = logistic(x). Where s is nearly 1, the difference would keep few of its digits.
__device__ __forceinline__ float one_minus_logistic(float x, float s) { return x > 0.f ? expf(-x) * s : 1.f - s; }

struct Silu {
    static __device__ __forceinline__ Activation at(float x) {
        const float s = logistic(x);
        return {x * s, s * (1.f + x * one_minus_logistic(x, s))};
    }
};

// GPT-2's form: the normal distribution function is about 0.5 (1 + tanh(u / 2)), the logistic function of u.
struct GeluTanh {
    static __device__ __forceinline__ Activation at(float x) {
        constexpr float a = 0.7978845608028654f, b = 0.044715f;  // sqrt(2 / pi), and the cubic term
        const float u = 2.f * a * (x + b * x * x * x), cdf = logistic(u);
        const float density = 2.f * cdf * one_minus_logistic(u, cdf) * a * (1.f + 3.f * b * x * x);
        return {x * cdf, cdf + x * density};
    }
};

// The exact form. 1 + erf would lose its digits where x is far below 0; erfc does not.
struct GeluExact {
    static __device__ __forceinline__ Activation at(float x) {
        const float cdf = 0.5f * erfcf(-0.7071067811865476f * x);
        const float density = 0.3989422804014327f * expf(-0.5f * x * x);
        return {x * cdf, cdf + x * density};
    }
};
