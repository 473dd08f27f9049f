// Errors say what is wrong, in which kernel, at which line of its text, and in which thread of which block.
#pragma once
#include <csetjmp>
#include <csignal>
#include <ucontext.h>

#include "fibres.h"

namespace emu {
inline std::string text(uint3 i) {
    return "(" + std::to_string(i.x) + ", " + std::to_string(i.y) + ", " + std::to_string(i.z) + ")";
}
inline std::string text(Place place) {
    const char* name = strrchr(place.file, '/');
    return std::string(name ? name + 1 : place.file) + ":" + std::to_string(place.line);
}
inline std::string where(const Fibre& f) {
    return "in thread " + text(f.index) + " of block " + text(engine.block) + " of " + engine.kernel;
}
[[noreturn]] inline void fail(const std::string& what, Place place) {
    Quiet quiet;
    if (engine.error.empty()) engine.error = what + ", at " + text(place) + " " + where(*current);
    current->state = DONE;
    for (;;) pause();  // never taken again: the scheduler stops at the first error
}
inline void check(bool right, const char* what, Place place) {
    if (!right) fail(what, place);
}

// An access to a guard page behind an array ends the launch with an error, not the process.
static sigjmp_buf after_fault;
static volatile sig_atomic_t in_kernel;
static struct sigaction before[2];

inline void on_fault(int signal, siginfo_t* info, void* context) {
    if (!in_kernel) {  // not ours
        sigaction(signal, &before[signal == SIGBUS], nullptr);
        return;
    }
    engine.fault[0] = reinterpret_cast<uintptr_t>(info->si_addr);
    auto& machine = static_cast<ucontext_t*>(context)->uc_mcontext;
#if defined(__x86_64__)
    engine.fault[1] = uintptr_t(machine.gregs[REG_RIP]);
#elif defined(__aarch64__)
    engine.fault[1] = uintptr_t(machine.pc);
#endif
    siglongjmp(after_fault, 1);
}
inline void watch_faults(bool on) {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // which have reports of their own
    static char signal_stack[64 * 1024];
    static stack_t stack_before;
    const int signals[2] = {SIGSEGV, SIGBUS};
    if (on) {
        stack_t stack = {};
        stack.ss_sp = signal_stack;
        stack.ss_size = sizeof signal_stack;
        sigaltstack(&stack, &stack_before);
        struct sigaction action = {};
        action.sa_sigaction = on_fault;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        for (int i = 0; i < 2; ++i) sigaction(signals[i], &action, &before[i]);
    } else {
        for (int i = 0; i < 2; ++i) sigaction(signals[i], &before[i], nullptr);
        sigaltstack(&stack_before, nullptr);
    }
    in_kernel = on;
#else
    (void)on;
#endif
}
}  // namespace emu
