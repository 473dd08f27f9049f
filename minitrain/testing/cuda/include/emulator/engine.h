// What the emulator knows while a kernel runs. One library holds the kernels of one .cu file and has one engine; a
// launch runs on one thread of the operating system, and Python lets in one launch at a time.
#pragma once
#include <string>
#include <vector>

#include "language.h"

namespace emu {
enum Order { FORWARD, BACKWARD, RANDOM, ROUND_ROBIN };  // in which threads that can run are taken
enum State { READY, AT_BARRIER, IN_WARP_OPERATION, DONE };

struct Place { const char* file; int line; };  // where in the kernel's text

struct Copy { void* to; const void* from; int bytes; };  // a null source writes zeros

// A thread of the kernel. It runs until it must wait for others.
struct Fibre {
    void* stack_pointer;
    uint3 index;           // threadIdx
    unsigned id, warp, lane;
    State state;
    const char* waits_in;  // the operation it waits in, and from where
    Place place;
    // A warp operation: its lanes, what the lane gives and gets, and the function for all lanes together.
    unsigned mask;
    const void* in;
    void* out;
    void (*operation)(Fibre** lanes, unsigned here);
    const void* operation_data;
    // Asynchronous copies not yet done; group_ends[i] counts the copies in groups 0 to i.
    std::vector<Copy> copies;
    std::vector<size_t> group_ends;
    int vote, votes;       // what it brings to __syncthreads_count and takes from it
    void* tsan;
};

struct Statistics { uint64_t switches, barriers, warp_operations, ldmatrix, ldmatrix_conflicts; };

struct Engine {
    const char* kernel = "";
    uint3 block, block_dim, grid_dim;
    std::vector<Fibre> fibres;
    std::vector<unsigned> ready;  // a bit for each lane that can run, a word for each warp
    unsigned waiting, finished, barriers, dynamic_shared;
    bool late_copies;             // whether an asynchronous copy is done when it is waited for, not when it is issued
    std::string error;
    void* scheduler;              // its stack pointer while a fibre runs
    void (*body)(void*);          // calls the kernel
    void* arguments;
    Statistics statistics;
    uintptr_t fault[2];           // the address that a kernel must not touch, and the instruction that did
};

static Engine engine;
static Fibre* current;

inline void set_ready(Fibre& f) {
    f.state = READY;
    engine.ready[f.warp] |= 1u << f.lane;
}
inline void set_waiting(Fibre& f, State state, const char* what, Place place) {
    f.state = state;
    f.waits_in = what;
    f.place = place;
    engine.ready[f.warp] &= ~(1u << f.lane);
}
}  // namespace emu

#define EMU_HERE emu::Place place = {__builtin_FILE(), __builtin_LINE()}
