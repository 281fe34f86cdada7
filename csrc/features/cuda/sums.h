// Sums over the threads of a block, always in the same order.
#pragma once
#include <cuda_runtime.h>
#include "../../core/macros.h"
#include "grid.h"

namespace anamorph { namespace AM_LEVEL {

enum : int { WARPS = THREADS / 32 };

template <class S> AM_D S sum_of_warp(S v) {
    for (int half = 16; half > 0; half /= 2) v += __shfl_xor_sync(0xFFFFFFFFu, v, half);
    return v;
}
// The sum over a team, of a warp or of the block, to each thread. The order is always the same.
template <int TEAM, class S> AM_D S sum_of_team(S v, S* room) {
    v = sum_of_warp(v);
    if (TEAM == 32) return v;
    const int lane = int(threadIdx.x) % 32, warp = int(threadIdx.x) / 32;
    if (lane == 0) room[warp] = v;
    __syncthreads();
    v = sum_of_warp(lane < WARPS ? room[lane] : S(0));
    __syncthreads();
    return v;
}

// The sums of each lane over the warps of a block, to the lanes of all of them.
template <class S> AM_D S sum_of_warps(S v, S (&room)[WARPS][32]) {
    const int lane = int(threadIdx.x) % 32;
    room[threadIdx.x / 32][lane] = v;
    __syncthreads();
    S all = S(0);
    for (int w = 0; w < WARPS; ++w) all += room[w][lane];
    __syncthreads();
    return all;
}

}}  // namespace anamorph::AM_LEVEL
