// Mistakes behind a switch: each function does what the code says, unless its own mistake is the one that is on.
#pragma once
#include <cmath>
#include <math.h>
#include <type_traits>

extern "C" {
__attribute__((visibility("default"), used)) inline int emu_mutant = 0;  // 0: none
}

namespace mut {
inline bool is(int id) { return emu_mutant == id; }
template <class T> constexpr bool is_number = std::is_arithmetic<T>::value;

#define MUT_BINARY(name, op, other)                                                                                   \
    template <class A, class B> auto name(int id, A a, B b) -> decltype(a op b) {                                     \
        using Result = decltype(a op b);                                                                              \
        const int which = emu_mutant - id;                                                                            \
        if constexpr (is_number<A> && is_number<B>) {                                                                 \
            if (which == 0) return a other b;                                                                         \
            if (which == 1) return static_cast<Result>(a);                                                            \
            if (which == 2) return static_cast<Result>(b);                                                            \
        } else if constexpr (std::is_convertible<A, Result>::value) {                                                 \
            if (which == 1) return a;                                                                                 \
            if (which == 0) return a other b;                                                                         \
        }                                                                                                             \
        return a op b;                                                                                                \
    }
MUT_BINARY(plus, +, -)
MUT_BINARY(minus, -, +)
MUT_BINARY(times, *, +)
#undef MUT_BINARY
#define MUT_ARITHMETIC(name, op, other)                                                                               \
    template <class A, class B> auto name(int id, A a, B b) -> decltype(a op b) {                                     \
        const int which = emu_mutant - id;                                                                            \
        return which == 0 ? static_cast<decltype(a op b)>(a other b) : which == 1 ? a : a op b;                       \
    }
MUT_ARITHMETIC(over, /, *)
MUT_ARITHMETIC(modulo, %, /)
MUT_ARITHMETIC(left, <<, >>)
MUT_ARITHMETIC(right, >>, <<)
MUT_ARITHMETIC(bit_and, &, |)
MUT_ARITHMETIC(bit_or, |, &)
MUT_ARITHMETIC(bit_xor, ^, |)
#undef MUT_ARITHMETIC
#define MUT_COMPARISON(name, op, other)                                                                               \
    template <class A, class B> bool name(int id, A a, B b) { return is(id) ? a other b : a op b; }
MUT_COMPARISON(less, <, <=)
MUT_COMPARISON(at_most, <=, <)
MUT_COMPARISON(more, >, >=)
MUT_COMPARISON(at_least, >=, >)
MUT_COMPARISON(equal, ==, !=)
MUT_COMPARISON(unequal, !=, ==)
#undef MUT_COMPARISON

// A condition that is always true (id) or always false (id + 1).
template <class T> bool condition(int id, T x) { return is(id) ? true : is(id + 1) ? false : static_cast<bool>(x); }
// A loop that never runs.
template <class T> bool loops(int id, T x) { return is(id) ? false : static_cast<bool>(x); }
// An operand of && or || that is left out.
template <class T> bool part(int id, bool neutral, T x) { return is(id) ? neutral : static_cast<bool>(x); }
template <class A, class B> auto number(int id, A right, B wrong) { return is(id) ? static_cast<A>(wrong) : right; }
template <class T> T other(int id, T right, T wrong) { return is(id) ? wrong : right; }
template <class T> auto negated(int id, T x) -> decltype(-x) { return is(id) ? x : -x; }
// What += adds, subtracted instead.
template <class T> T added(int id, T x) {
    if constexpr (is_number<T>) return is(id) ? static_cast<T>(-x) : x;
    else return x;
}
template <class A, class B> auto smaller(int id, A a, B b) { return (is(id) ? a < b : b < a) ? b : a; }
template <class A, class B> auto larger(int id, A a, B b) { return (is(id) ? b < a : a < b) ? b : a; }
inline float smaller_float(int id, float a, float b) { return is(id) ? fmaxf(a, b) : fminf(a, b); }
inline float larger_float(int id, float a, float b) { return is(id) ? fminf(a, b) : fmaxf(a, b); }
// The sum without its product, and the product without its sum.
inline float fused(int id, float a, float b, float c) { return is(id) ? c : is(id + 1) ? a * b : fmaf(a, b, c); }
}  // namespace mut
// A call that is left out: its argument in its place.
#define MUT_WITHOUT(id, call, argument) (mut::is(id) ? (argument) : (call))
