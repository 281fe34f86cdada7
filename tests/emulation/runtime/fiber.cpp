#include "fiber.h"

#include <cstdint>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#if defined(__x86_64__)
// The registers that a called function must keep, then the stack. A new fiber's stack holds zeros and its entry.
asm(R"(
    .text
    .globl emulated_switch
    .hidden emulated_switch
    .type emulated_switch, @function
emulated_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size emulated_switch, . - emulated_switch
)");
extern "C" void emulated_switch(void** save, void* load);
#endif

namespace emulated {
namespace {

Fiber *from, *to;  // of the switch in progress

}  // namespace

void Fiber::start(char* stack, size_t bytes, void (*entry)()) {
    stack_ = stack;
    bytes_ = bytes;
    fake_stack_ = nullptr;
    entry_ = entry;
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(stack, bytes);
#endif
#if defined(__x86_64__)
    auto* top = reinterpret_cast<void**>(stack + bytes);
    *--top = nullptr;  // the entry's return address: nobody called it, say debuggers
    *--top = reinterpret_cast<void*>(&Fiber::begin);
    for (int i = 0; i < 6; ++i) *--top = nullptr;
    top_ = top;
#else
    getcontext(&context_);
    context_.uc_stack = {};
    context_.uc_stack.ss_sp = stack;
    context_.uc_stack.ss_size = bytes;
    context_.uc_link = nullptr;
    makecontext(&context_, &Fiber::begin, 0);
#endif
}

void Fiber::switch_to(Fiber& next, [[maybe_unused]] bool forever) {
    from = this;
    to = &next;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(forever ? nullptr : &fake_stack_, next.stack_, next.bytes_);
#endif
#if defined(__x86_64__)
    emulated_switch(&top_, next.top_);
#else
    swapcontext(&context_, &next.context_);
#endif
    // Back again, from wherever.
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fake_stack_, &from->stack_, &from->bytes_);
#endif
}

void Fiber::begin() {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &from->stack_, &from->bytes_);  // where the first flow's stack is, it says
#endif
    to->entry_();
}

}  // namespace emulated
