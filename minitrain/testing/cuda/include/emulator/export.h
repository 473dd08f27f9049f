// What Python calls: a function for each kernel that it declared, whose parameters are compared with the declaration.
#pragma once
#include <tuple>
#include <type_traits>
#include <utility>

#include "launch.h"

namespace emu {
template <class... Declared> struct Signature {};
template <class T> struct Plain { using type = std::remove_cv_t<T>; };
template <class T> struct Plain<T*> { using type = std::remove_cv_t<T>*; };
template <class Declared, class Real>
constexpr bool fits = std::is_same<typename Plain<Declared>::type, typename Plain<Real>::type>::value;

template <class... Declared, class... Real>
constexpr bool agree(Signature<Declared...>, void (*)(Real...)) {
    if constexpr (sizeof...(Declared) != sizeof...(Real)) return false;
    else return (fits<Declared, Real> && ...);
}

template <class... A, size_t... I>
void call(void (*kernel)(A...), void** p, std::index_sequence<I...>) { kernel(*static_cast<A*>(p[I])...); }
template <class... A>
void call(void (*kernel)(A...), void** p) { call(kernel, p, std::index_sequence_for<A...>()); }
}  // namespace emu

#define EMU_PUBLIC __attribute__((used, visibility("default")))
// EMU_EXPORT(0, "scale<float>", (float*, int), scale<float>)
#define EMU_UNWRAP(...) __VA_ARGS__
#define EMU_EXPORT(n, name, types, ...)                                                                               \
    static_assert(emu::agree(emu::Signature<EMU_UNWRAP types>(), &__VA_ARGS__),                                       \
                  "the parameters of " name " are not those that Python declares");                                   \
    extern "C" EMU_PUBLIC const char* emu_launch_##n(const emu::Launch* launch, void** arguments) {                   \
        return emu::launch(name, *launch, [](void* p) { emu::call(&__VA_ARGS__, static_cast<void**>(p)); }, arguments); \
    }
extern "C" EMU_PUBLIC inline const emu::Statistics* emu_statistics() { return &emu::engine.statistics; }
extern "C" EMU_PUBLIC inline const uintptr_t* emu_fault() { return emu::engine.fault; }
