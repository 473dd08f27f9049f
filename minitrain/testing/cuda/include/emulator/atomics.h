// Atomic operations. A thread is never interrupted inside one, so here they are plain.
#pragma once
#include "tensor_cores.h"

namespace emu {
template <class T, class F> T atomic(T* p, F f) {
#ifdef __SANITIZE_THREAD__  // which must see that they are atomic
    T old, next;
    __atomic_load(p, &old, __ATOMIC_RELAXED);
    next = f(old);
    __atomic_store(p, &next, __ATOMIC_RELAXED);
#else
    const T old = *p;
    *p = f(old);
#endif
    return old;
}
}  // namespace emu

template <class T> T atomicAdd(T* p, T v) { return emu::atomic(p, [v](T a) { return T(a + v); }); }
template <class T> T atomicMax(T* p, T v) { return emu::atomic(p, [v](T a) { return std::max(a, v); }); }
template <class T> T atomicMin(T* p, T v) { return emu::atomic(p, [v](T a) { return std::min(a, v); }); }
template <class T> T atomicOr(T* p, T v) { return emu::atomic(p, [v](T a) { return T(a | v); }); }
template <class T> T atomicExch(T* p, T v) { return emu::atomic(p, [v](T) { return v; }); }
template <class T> T atomicCAS(T* p, T expected, T v) {
    return emu::atomic(p, [expected, v](T a) { return a == expected ? v : a; });
}
