// Shuffles, votes and reductions over the lanes of a warp.
#pragma once
#include "barriers.h"

namespace emu {
template <class T>
T shuffle(const char* what, unsigned mask, T value, int source, Place place) {
    struct In { T value; int source; };
    return collective<In, T>(what, place, mask, In{value, source}, [=](const In* in, T* out, unsigned here) {
        for (int l = 0; l < 32; ++l) {
            if (!(here >> l & 1)) continue;
            if (!(here >> in[l].source & 1))
                fail("lane " + std::to_string(l) + " reads lane " + std::to_string(in[l].source) + ", which takes no part", place);
            out[l] = in[in[l].source].value;
        }
    });
}
template <class T, class F>
T reduce(const char* what, unsigned mask, T value, Place place, F f) {
    return collective<T, T>(what, place, mask, value, [f](const T* in, T* out, unsigned here) {
        T total = T();
        bool first = true;
        for (int l = 0; l < 32; ++l)
            if (here >> l & 1) {
                total = first ? in[l] : f(total, in[l]);
                first = false;
            }
        for (int l = 0; l < 32; ++l) out[l] = total;
    });
}
inline unsigned ballot(const char* what, unsigned mask, bool vote, Place place) {
    return collective<bool, unsigned>(what, place, mask, vote, [](const bool* in, unsigned* out, unsigned here) {
        unsigned votes = 0;
        for (int l = 0; l < 32; ++l)
            if (here >> l & 1 && in[l]) votes |= 1u << l;
        for (int l = 0; l < 32; ++l) out[l] = votes;
    });
}
}  // namespace emu

// A warp may be divided into parts of `width` lanes; a source outside the own part is the lane itself.
template <class T> T __shfl_sync(unsigned mask, T value, int source, int width = 32, EMU_HERE) {
    const int l = emu::current->lane;
    return emu::shuffle("__shfl_sync", mask, value, l / width * width + (source & (width - 1)), place);
}
template <class T> T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, EMU_HERE) {
    const int l = emu::current->lane, from = l ^ bits;
    return emu::shuffle("__shfl_xor_sync", mask, value, from / width <= l / width ? from : l, place);
}
template <class T> T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32, EMU_HERE) {
    const int l = emu::current->lane;
    return emu::shuffle("__shfl_down_sync", mask, value, l % width + int(by) < width ? l + int(by) : l, place);
}
template <class T> T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32, EMU_HERE) {
    const int l = emu::current->lane;
    return emu::shuffle("__shfl_up_sync", mask, value, l % width >= int(by) ? l - int(by) : l, place);
}
inline unsigned __ballot_sync(unsigned mask, int vote, EMU_HERE) {
    return emu::ballot("__ballot_sync", mask, vote, place);
}
inline int __any_sync(unsigned mask, int vote, EMU_HERE) { return emu::ballot("__any_sync", mask, vote, place) != 0; }
inline int __all_sync(unsigned mask, int vote, EMU_HERE) { return emu::ballot("__all_sync", mask, vote, place) == mask; }
template <class T> T __reduce_add_sync(unsigned mask, T value, EMU_HERE) {
    return emu::reduce("__reduce_add_sync", mask, value, place, [](T a, T b) { return T(a + b); });
}
template <class T> T __reduce_max_sync(unsigned mask, T value, EMU_HERE) {
    return emu::reduce("__reduce_max_sync", mask, value, place, [](T a, T b) { return std::max(a, b); });
}
template <class T> T __reduce_min_sync(unsigned mask, T value, EMU_HERE) {
    return emu::reduce("__reduce_min_sync", mask, value, place, [](T a, T b) { return std::min(a, b); });
}
template <class T> unsigned __match_any_sync(unsigned mask, T value, EMU_HERE) {
    return emu::collective<T, unsigned>("__match_any_sync", place, mask, value, [](const T* in, unsigned* out, unsigned here) {
        for (int l = 0; l < 32; ++l) {
            out[l] = 0;
            for (int other = 0; other < 32; ++other)
                if (here >> other & 1 && in[other] == in[l]) out[l] |= 1u << other;
        }
    });
}
