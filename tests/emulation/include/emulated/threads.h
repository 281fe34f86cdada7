// A thread's place in the grid, and the block's barrier. The threads of a block are fibers: one runs until it waits or ends.
#pragma once
#include <cstdint>

#include "vectors.h"

namespace emulated {

extern uint3 thread_index, block_index;
extern dim3 block_size, grid_size;

// Where a thread waits, in the source.
struct Place {
    const char* file;
    int line;
};

enum class Vote { NONE, COUNT, AND, OR };
int barrier(Vote vote, int predicate, Place place);
void doze();   // the same; where no other thread of the block can run, other blocks do
void pause();  // lets another thread run: what a thread that waits for a word in memory has to do
[[noreturn]] void trap();

}  // namespace emulated

inline const uint3& threadIdx = emulated::thread_index;
inline const uint3& blockIdx = emulated::block_index;
inline const dim3& blockDim = emulated::block_size;
inline const dim3& gridDim = emulated::grid_size;
constexpr int warpSize = 32;

#define EMULATED_PLACE const char *file = __builtin_FILE(), int line = __builtin_LINE()
inline void __syncthreads(EMULATED_PLACE) { emulated::barrier(emulated::Vote::NONE, 0, {file, line}); }
inline int __syncthreads_count(int p, EMULATED_PLACE) { return emulated::barrier(emulated::Vote::COUNT, p, {file, line}); }
inline int __syncthreads_and(int p, EMULATED_PLACE) { return emulated::barrier(emulated::Vote::AND, p, {file, line}); }
inline int __syncthreads_or(int p, EMULATED_PLACE) { return emulated::barrier(emulated::Vote::OR, p, {file, line}); }
inline void __threadfence_block() { emulated::pause(); }
inline void __threadfence() { emulated::pause(); }
inline void __threadfence_system() { emulated::pause(); }
inline void __nanosleep(unsigned) { emulated::doze(); }
[[noreturn]] inline void __trap() { emulated::trap(); }
