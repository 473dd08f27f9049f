// Warp operations are done once all lanes of their mask wait in them, for all lanes together.
#pragma once
#include "shared_memory.h"

namespace emu {
inline void try_warp(unsigned warp, unsigned mask, Place place) {
    Fibre* lanes[32] = {};
    const Fibre* first = nullptr;
    for (unsigned l = 0; l < 32; ++l) {
        if (!(mask >> l & 1)) continue;
        const size_t i = warp * 32 + l;
        if (i >= engine.fibres.size() || engine.fibres[i].state == DONE)
            fail("a warp operation waits for lane " + std::to_string(l) + ", which has left the kernel or never was", place);
        Fibre& f = engine.fibres[i];
        if (f.state != IN_WARP_OPERATION) return;
        if (!first) first = &f;
        if (strcmp(f.waits_in, first->waits_in) || f.place.line != first->place.line || f.mask != mask)
            fail("lanes of a warp wait in different operations, " + std::string(first->waits_in) + " at " +
                 text(first->place) + " and " + f.waits_in + " at " + text(f.place), place);
        lanes[l] = &f;
    }
    ++engine.statistics.warp_operations;
    first->operation(lanes, mask);
    for (unsigned l = 0; l < 32; ++l)
        if (mask >> l & 1) set_ready(*lanes[l]);
}

// One lane's part in an operation: f(in, out, mask) has what 32 lanes give and what they get. What lanes outside the
// mask would give is 0xff in each byte.
template <class In, class Out, class F>
Out collective(const char* what, Place place, unsigned mask, In in, F f) {
    Quiet quiet;
    check(mask >> current->lane & 1, "a lane is not in its own mask", place);
    Out out;
    current->mask = mask;
    current->in = &in;
    current->out = &out;
    current->operation_data = &f;
    current->operation = [](Fibre** lanes, unsigned mask) {
        In ins[32];
        Out outs[32];
        memset(static_cast<void*>(ins), 0xff, sizeof ins);
        memset(static_cast<void*>(outs), 0xff, sizeof outs);
        const F* operation = nullptr;
        for (int l = 0; l < 32; ++l)
            if (mask >> l & 1) {
                ins[l] = *static_cast<const In*>(lanes[l]->in);
                if (!operation) operation = static_cast<const F*>(lanes[l]->operation_data);
            }
        (*operation)(ins, outs, mask);
        for (int l = 0; l < 32; ++l)
            if (mask >> l & 1) *static_cast<Out*>(lanes[l]->out) = outs[l];
    };
    set_waiting(*current, IN_WARP_OPERATION, what, place);
    try_warp(current->warp, mask, place);
    pause();
    return out;
}
}  // namespace emu
