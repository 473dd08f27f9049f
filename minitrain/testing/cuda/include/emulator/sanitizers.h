// ThreadSanitizer sees each fibre as a thread. Only barriers and the begin and end of a block order their accesses;
// shuffles, ldmatrix and mma order nothing, as on the device.
#pragma once
#include "engine.h"

#ifdef __SANITIZE_THREAD__
extern "C" {
void* __tsan_get_current_fiber();
void* __tsan_create_fiber(unsigned);
void __tsan_destroy_fiber(void*);
void __tsan_switch_to_fiber(void*, unsigned);
void __tsan_acquire(void*);
void __tsan_release(void*);
void __tsan_read_range(void*, unsigned long);
void __tsan_write_range(void*, unsigned long);
void AnnotateIgnoreReadsBegin(const char*, int);
void AnnotateIgnoreReadsEnd(const char*, int);
void AnnotateIgnoreWritesBegin(const char*, int);
void AnnotateIgnoreWritesEnd(const char*, int);
}
#define TSAN(...) __VA_ARGS__
#else
#define TSAN(...)
#endif

namespace emu {
static char tsan_start, tsan_end, tsan_barrier[2], tsan_warp[32];  // what threads meet at
static void* tsan_scheduler;

struct Quiet {  // while it lives, accesses are the engine's own and not the kernel's
    Quiet() { TSAN(AnnotateIgnoreReadsBegin("", 0); AnnotateIgnoreWritesBegin("", 0);) }
    ~Quiet() { TSAN(AnnotateIgnoreWritesEnd("", 0); AnnotateIgnoreReadsEnd("", 0);) }
};
}  // namespace emu
