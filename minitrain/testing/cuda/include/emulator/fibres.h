// Switching from one stack to another. x86-64 has fifteen lines of assembly; other processors, AArch64 among them, use
// the C library's swapcontext, which asks the operating system for each switch and is slower.
#pragma once
#include <sys/mman.h>

#include "sanitizers.h"

namespace emu {
constexpr size_t STACK = 128 * 1024, MOST_THREADS = 1024;

inline char* stacks() {  // mapped once, used page by page
    static char* memory = static_cast<char*>(mmap(nullptr, STACK * MOST_THREADS, PROT_READ | PROT_WRITE,
                                                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    return memory;
}
inline void fibre_main();
}  // namespace emu

#if defined(__x86_64__) && !defined(EMU_UCONTEXT)
extern "C" void emu_switch(void** save, void* load);
asm(R"(.text
.type emu_switch, @function
emu_switch:
  pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
  ret
)");
namespace emu {
inline void prepare(Fibre& f) {
    auto* top = reinterpret_cast<void**>(stacks() + (f.id + 1) * STACK) - 2;
    *top = reinterpret_cast<void*>(&fibre_main);  // where the first switch "returns" to
    f.stack_pointer = top - 6;
}
inline void switch_stacks(void** save, void* load) { emu_switch(save, load); }
}  // namespace emu
#else
#include <ucontext.h>
namespace emu {
static ucontext_t contexts[MOST_THREADS], scheduler_context;
static void* unused_start;

inline void prepare(Fibre& f) {
    ucontext_t& c = contexts[f.id];
    getcontext(&c);
    c.uc_stack.ss_sp = stacks() + f.id * STACK;
    c.uc_stack.ss_size = STACK;
    c.uc_link = nullptr;
    makecontext(&c, reinterpret_cast<void (*)()>(&fibre_main), 0);
    f.stack_pointer = &c;
}
// A stack pointer is here the address of a context; the place to save to tells which context that is.
inline void switch_stacks(void** save, void* load) {
    ucontext_t* from = save == &engine.scheduler ? &scheduler_context : &contexts[current->id];
    *save = from;
    swapcontext(from, static_cast<ucontext_t*>(load));
}
}  // namespace emu
#endif

namespace emu {
inline void pause() {  // back to the scheduler, until it takes this fibre again
    void **from, *to;
    {
        Quiet quiet;
        ++engine.statistics.switches;
        from = &current->stack_pointer;
        to = engine.scheduler;
    }
    TSAN(__tsan_switch_to_fiber(tsan_scheduler, 1);)
    switch_stacks(from, to);
}
}  // namespace emu
