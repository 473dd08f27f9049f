// What g++ is told to check (-fsanitize=alignment,bounds,...) ends here, so no other library is needed: a vector load
// from an address that it does not fit, an index outside an array of fixed size, an int that overflows.
#pragma once
#include "errors.h"

namespace emu {
struct SourceLocation { const char* file; unsigned line, column; };
struct TypeMismatch { SourceLocation at; const void* type; unsigned char log_alignment, kind; };
struct AnyCheck { SourceLocation at; };  // what the data of all other checks begin with

inline Place place_of(const SourceLocation& at) { return {at.file, int(at.line)}; }
inline void found(void* data, const char* what) {
    if (current) fail(what, place_of(static_cast<AnyCheck*>(data)->at));
}
}  // namespace emu

#define EMU_CHECK(name, what, ...)                                                                                    \
    extern "C" __attribute__((visibility("hidden"), used, no_sanitize("undefined"))) inline void                      \
        __ubsan_handle_##name(void* data, ##__VA_ARGS__) { emu::found(data, what); }
EMU_CHECK(out_of_bounds, "an index is outside its array", uintptr_t)
EMU_CHECK(add_overflow, "an int overflows in an addition", uintptr_t, uintptr_t)
EMU_CHECK(sub_overflow, "an int overflows in a subtraction", uintptr_t, uintptr_t)
EMU_CHECK(mul_overflow, "an int overflows in a product", uintptr_t, uintptr_t)
EMU_CHECK(negate_overflow, "an int overflows in a negation", uintptr_t)
EMU_CHECK(divrem_overflow, "a division by zero, or one that overflows", uintptr_t, uintptr_t)
EMU_CHECK(shift_out_of_bounds, "a shift by more bits than there are", uintptr_t, uintptr_t)
#undef EMU_CHECK

extern "C" __attribute__((visibility("hidden"), used, no_sanitize("undefined"))) inline void
__ubsan_handle_type_mismatch_v1(emu::TypeMismatch* data, uintptr_t address) {
    if (!emu::current) return;
    const unsigned alignment = 1u << data->log_alignment;
    if (address && address % alignment)
        emu::fail("an address is not a multiple of " + std::to_string(alignment) + " as its type needs",
                  emu::place_of(data->at));
}
