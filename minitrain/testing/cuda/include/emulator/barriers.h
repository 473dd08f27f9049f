// __syncthreads and its kin. Threads that have left the kernel count as arrived, as on the device. Two threads that wait
// at different lines are an error here, though devices allow it.
#pragma once
#include "warp.h"

namespace emu {
inline void try_barrier() {
    if (!engine.waiting || engine.waiting + engine.finished < engine.fibres.size()) return;
    const Fibre* first = nullptr;
    int votes = 0;
    for (Fibre& f : engine.fibres) {
        if (f.state != AT_BARRIER) continue;
        if (!first) first = &f;
        if (f.place.line != first->place.line)
            fail("threads wait at two barriers, " + text(first->place) + " and " + text(f.place), f.place);
        votes += f.vote;
    }
    for (Fibre& f : engine.fibres)
        if (f.state == AT_BARRIER) {
            f.votes = votes;
            set_ready(f);
        }
    engine.waiting = 0;
    ++engine.barriers;
    ++engine.statistics.barriers;
}
inline int barrier(const char* what, bool vote, Place place) {
    Quiet quiet;
    TSAN(char* sync = &tsan_barrier[engine.barriers % 2]; __tsan_release(sync);)
    current->vote = vote;
    set_waiting(*current, AT_BARRIER, what, place);
    ++engine.waiting;
    try_barrier();
    pause();
    TSAN(__tsan_acquire(sync);)
    return current->votes;
}
}  // namespace emu

inline void __syncthreads(EMU_HERE) { emu::barrier("__syncthreads", false, place); }
inline int __syncthreads_count(int vote, EMU_HERE) { return emu::barrier("__syncthreads_count", vote, place); }
inline int __syncthreads_or(int vote, EMU_HERE) { return emu::barrier("__syncthreads_or", vote, place) > 0; }
inline int __syncthreads_and(int vote, EMU_HERE) { return emu::barrier("__syncthreads_and", !vote, place) == 0; }
inline void __syncwarp(unsigned mask = ~0u, EMU_HERE) {
    TSAN(__tsan_release(&emu::tsan_warp[emu::current->warp]);)
    emu::collective<char, char>("__syncwarp", place, mask, 0, [](const char*, char*, unsigned) {});
    TSAN(__tsan_acquire(&emu::tsan_warp[emu::current->warp]);)
}
// Blocks run one after another here, so a fence between them has nothing to order.
inline void __threadfence() {}
inline void __threadfence_block() {}
