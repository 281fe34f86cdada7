// Looks at every load and store of the kernels, which are compiled with GCC's instrumentation for threads and call these hooks in
// place of ThreadSanitizer's. It finds accesses that share a byte of shared memory with no barrier between, reads of shared
// memory that nothing in the block has written, and accesses outside what the launch may touch.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "shared_memory.h"

namespace emulated {

// Memory that kernels may touch, beside their own. As long as none is named, all may be touched.
struct Memory {
    std::string name;
    uintptr_t begin, end;
    bool writable;
};
extern std::vector<Memory> allowed_memory;
extern bool watching;

// What is known of a block's shared memory while another block runs.
struct Watched {
    struct Cells;
    Cells* cells = nullptr;
};
void watch_change(Watched& other);  // and what is known of the one that ran

void watch_launch(const std::vector<Variable>& variables, Range dynamic, Range parameters);
void watch_stacks(Range stacks);                // of the running block's threads
void watch_block();                             // a block begins
void watch_barrier();                           // all its threads have met
void watch_syncwarp(int warp, unsigned lanes);  // these have

}  // namespace emulated
