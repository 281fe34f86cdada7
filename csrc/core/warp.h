// Sums over the threads of a warp and of a block, always in the same order: the same bits every time, which atomics are not.
#pragma once
#include <cuda_runtime.h>

#include "macros.h"

namespace anamorph {

enum : int { WARP = 32 };

// The sum of `v` over the lanes of a warp, to each of them. All lanes must be here.
AM_D float warp_sum(float v) {
    for (int half = WARP / 2; half > 0; half /= 2) v += __shfl_xor_sync(0xFFFFFFFFu, v, half);
    return v;
}

// The sum over a block of `THREADS` threads, to thread 0. All threads must be here; `room` is shared by them.
template <int THREADS> AM_D float block_sum(float v, float (&room)[THREADS / WARP]) {
    v = warp_sum(v);
    if (threadIdx.x % WARP == 0) room[threadIdx.x / WARP] = v;
    __syncthreads();
    v = 0.0f;
    if (threadIdx.x == 0)
        for (float part : room) v += part;
    return v;
}

}  // namespace anamorph
