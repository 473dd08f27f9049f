// Blocks run one after another. Which thread runs next is the caller's choice, so a missing barrier gives a wrong result
// in one order or another.
#pragma once
#include <numeric>
#include <random>

#include "checks.h"
#include "device_math.h"

namespace emu {
inline void leave() {
    Quiet quiet;
    Fibre& f = *current;
    f.state = DONE;
    ++engine.finished;
    engine.ready[f.warp] &= ~(1u << f.lane);
    for (unsigned l = 0; l < 32; ++l) {  // lanes that wait for this one wait in vain
        const size_t i = f.warp * 32 + l;
        if (i < engine.fibres.size() && engine.fibres[i].state == IN_WARP_OPERATION)
            try_warp(f.warp, engine.fibres[i].mask, engine.fibres[i].place);
    }
    try_barrier();
}
inline void fibre_main() {
    TSAN(__tsan_acquire(&tsan_start);)
    engine.body(engine.arguments);
    TSAN(__tsan_release(&tsan_end);)
    leave();
    for (;;) pause();
}

inline Fibre* next_fibre(Order order, std::mt19937& random) {
    static unsigned last;
    const int warps = int(engine.ready.size());
    if (order == ROUND_ROBIN || order == RANDOM) {
        const unsigned n = unsigned(engine.fibres.size()), from = order == RANDOM ? random() % n : last + 1;
        for (unsigned k = 0; k < n; ++k) {
            const unsigned i = (from + k) % n;
            if (engine.ready[i / 32] >> i % 32 & 1) return &engine.fibres[last = i];
        }
        return nullptr;
    }
    for (int k = 0; k < warps; ++k) {
        const int w = order == FORWARD ? k : warps - 1 - k;
        const unsigned word = engine.ready[w];
        if (word) return &engine.fibres[w * 32 + (order == FORWARD ? __builtin_ctz(word) : 31 - __builtin_clz(word))];
    }
    return nullptr;
}

inline void start_block() {
    fill_shared();
    const uint3 d = engine.block_dim;
    engine.waiting = engine.finished = engine.barriers = 0;
    std::fill(engine.ready.begin(), engine.ready.end(), 0u);
    for (unsigned i = 0; i < engine.fibres.size(); ++i) {
        Fibre& f = engine.fibres[i];
        f.index = {i % d.x, i / d.x % d.y, i / d.x / d.y};
        f.id = i;
        f.warp = i / 32;
        f.lane = i % 32;
        f.copies.clear();
        f.group_ends.clear();
        TSAN(f.tsan = __tsan_create_fiber(0);)
        prepare(f);
        set_ready(f);
    }
}
inline void run_block(Order order, std::mt19937& random) {
    Quiet quiet;
    start_block();
    TSAN(tsan_scheduler = __tsan_get_current_fiber(); __tsan_release(&tsan_start);)
    while (engine.error.empty() && engine.finished < engine.fibres.size()) {
        current = next_fibre(order, random);
        if (current) {
            void* to = current->stack_pointer;
            TSAN(__tsan_switch_to_fiber(current->tsan, 1);)
            switch_stacks(&engine.scheduler, to);
            continue;
        }
        for (Fibre& f : engine.fibres)
            if (f.state == AT_BARRIER || f.state == IN_WARP_OPERATION) {
                engine.error = std::string("a deadlock: a thread waits in ") + f.waits_in + " for others that do not come, at " +
                               text(f.place) + " " + where(f);
                break;
            }
    }
    TSAN(__tsan_acquire(&tsan_end); for (Fibre& f : engine.fibres) __tsan_destroy_fiber(f.tsan);)
    check_guard();
}

struct Launch { unsigned grid[3], block[3], shared, seed; int order, late; };  // as Python fills it

inline const char* launch(const char* kernel, const Launch& l, void (*body)(void*), void** arguments) {
    std::mt19937 random(l.seed);
    engine.kernel = kernel;
    engine.grid_dim = {l.grid[0], l.grid[1], l.grid[2]};
    engine.block_dim = {l.block[0], l.block[1], l.block[2]};
    engine.dynamic_shared = l.shared;
    engine.late_copies = l.late;
    engine.body = body;
    engine.arguments = arguments;
    engine.error.clear();
    engine.statistics = {};
    engine.fault[0] = engine.fault[1] = 0;
    const size_t threads = size_t(l.block[0]) * l.block[1] * l.block[2];
    if (threads > MOST_THREADS || l.shared > MOST_SHARED) return "the launch is larger than any device takes";
    engine.fibres.resize(threads);
    engine.ready.assign((threads + 31) / 32, 0u);
    shared = shared_segment();
    std::vector<unsigned> blocks(size_t(l.grid[0]) * l.grid[1] * l.grid[2]);
    std::iota(blocks.begin(), blocks.end(), 0u);
    if (l.order == BACKWARD) std::reverse(blocks.begin(), blocks.end());
    if (l.order == RANDOM) std::shuffle(blocks.begin(), blocks.end(), random);
    if (sigsetjmp(after_fault, 1) == 0) {
        watch_faults(true);
        for (size_t i = 0; i < blocks.size() && engine.error.empty(); ++i) {
            const unsigned b = blocks[i];
            engine.block = {b % l.grid[0], b / l.grid[0] % l.grid[1], b / l.grid[0] / l.grid[1]};
            run_block(Order(l.order), random);
        }
    } else {
        engine.error = "an access outside the arrays, " + where(*current);
    }
    watch_faults(false);
    current = nullptr;
    return engine.error.empty() ? nullptr : engine.error.c_str();
}
}  // namespace emu
