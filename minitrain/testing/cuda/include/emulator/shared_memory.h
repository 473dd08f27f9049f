// Shared memory is thread-local storage of this library: arrays of fixed size, and `smem`, the one name for memory whose
// size a launch chooses. Before each block it is filled with NaN; after it, the bytes behind the chosen size must be
// as they were.
#pragma once
#include <link.h>

#include "errors.h"

constexpr size_t MOST_SHARED = 227 * 1024;  // of sm_90; launches check the limit of their own device
thread_local __attribute__((aligned(1024))) unsigned char smem[MOST_SHARED];

namespace emu {
constexpr size_t GUARD = 4096;
struct Segment { unsigned char* begin; size_t size; };
static Segment shared;  // of the thread that launches

inline Segment shared_segment() {
    Segment segment = {};
    smem[0] = 0;  // makes the loader allocate it
    dl_iterate_phdr(
        [](dl_phdr_info* info, size_t, void* out) {
            for (int i = 0; i < info->dlpi_phnum; ++i) {
                auto* begin = static_cast<unsigned char*>(info->dlpi_tls_data);
                const size_t size = info->dlpi_phdr[i].p_memsz;
                if (info->dlpi_phdr[i].p_type == PT_TLS && begin && smem >= begin && smem < begin + size)
                    *static_cast<Segment*>(out) = {begin, size};
            }
            return 0;
        },
        &segment);
    return segment;
}
inline size_t guarded_size() { return std::min(engine.dynamic_shared + GUARD, MOST_SHARED); }
inline void fill_shared() {
    unsigned char* unused = smem + guarded_size();  // nobody looks at what lies behind the guard
    memset(shared.begin, 0xff, unused - shared.begin);
    memset(smem + MOST_SHARED, 0xff, shared.begin + shared.size - (smem + MOST_SHARED));
}
inline void check_guard() {
    for (size_t i = engine.dynamic_shared; i < guarded_size(); ++i)
        if (smem[i] != 0xff && engine.error.empty())
            engine.error = "byte " + std::to_string(i) + " of the dynamic shared memory was written, and the launch asked for " +
                           std::to_string(engine.dynamic_shared) + ", in block " + text(engine.block) + " of " + engine.kernel;
}
inline bool in_shared(const void* p, size_t bytes) {
    const auto* b = static_cast<const unsigned char*>(p);
    return b >= shared.begin && b + bytes <= shared.begin + shared.size;
}
}  // namespace emu
