// Asynchronous copies from global to shared memory. The device may do one at any moment from its issue to the wait for
// it, so the emulator does all at the one moment or all at the other: late copies show a missing wait, early copies show
// memory that is overwritten too soon.
#pragma once
#include "shuffles.h"

namespace emu {
inline void run_copy(const Copy& c) { c.from ? memcpy(c.to, c.from, c.bytes) : memset(c.to, 0, c.bytes); }

inline void issue_copy(void* to, const void* from, int bytes, Place place) {
    check((uintptr_t(to) | uintptr_t(from)) % bytes == 0, "an address of cp.async is not a multiple of its size", place);
    check(in_shared(to, bytes), "cp.async does not copy to shared memory", place);
    check(!from || !in_shared(from, bytes), "cp.async copies from shared memory", place);
    if (!engine.late_copies) return run_copy({to, from, bytes});
    TSAN(__tsan_write_range(to, bytes);)
    Quiet quiet;
    current->copies.push_back({to, from, bytes});
}
inline void commit_copies() {
    Quiet quiet;
    current->group_ends.push_back(current->copies.size());
}
inline void wait_copies(size_t pending) {  // for all groups but the `pending` newest
    Quiet quiet;
    Fibre& f = *current;
    if (f.group_ends.size() <= pending) return;
    const size_t groups = f.group_ends.size() - pending, done = f.group_ends[groups - 1];
    for (size_t i = 0; i < done; ++i) run_copy(f.copies[i]);
    f.copies.erase(f.copies.begin(), f.copies.begin() + done);
    f.group_ends.erase(f.group_ends.begin(), f.group_ends.begin() + groups);
    for (size_t& end : f.group_ends) end -= done;
}
}  // namespace emu
