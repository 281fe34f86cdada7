// A flow of control with a stack of its own. Switching costs a few nanoseconds: swapcontext would make a system call.
#pragma once
#include <cstddef>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace emulated {

class Fiber {
public:
    Fiber() = default;                                       // the flow that runs already
    void start(char* stack, size_t bytes, void (*entry)());  // entry must not return; whatever ran on this stack is forgotten
    void switch_to(Fiber& next, bool forever = false);       // forever: this one will not be resumed

private:
    const void* stack_ = nullptr;
    size_t bytes_ = 0;
    void* fake_stack_ = nullptr;  // AddressSanitizer's
    void (*entry_)() = nullptr;
#if defined(__x86_64__)
    void* top_ = nullptr;  // of the stack, where the saved registers lie
#else
    ucontext_t context_;
#endif
    static void begin();
};

}  // namespace emulated
