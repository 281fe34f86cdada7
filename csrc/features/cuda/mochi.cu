// mochi.h on a GPU. The hardest: a block for each query, which finds the last of them by its bits. What is mixed: a warp for each synthetic
// negative; for the gradient a block for each query, each of whose warps adds up some of them in a line of shared memory.
#include "../../core/launch.h"
#include "../../points/cuda/block.h"
#include "../mochi.h"
#include "sums.h"

namespace anamorph {
namespace AM_LEVEL { namespace {


__global__ void __launch_bounds__(THREADS) hardest_kernel(const __grid_constant__ HardestArgs a) {
    __shared__ Meeting<THREADS> meet;
    float* v = a.scores + int64_t(blockIdx.x) * a.stride;
    int32_t* index = a.index + int64_t(blockIdx.x) * a.count;
    if (a.count) {
        const auto key = [&](int i) { return falling(v[i]); };
        const Selected last = block_select(a.size, a.count, key, meet);
        const auto keep = [&](int i, bool yes, int rank) {
            if (yes) index[rank] = i;
        };
        block_chosen(a.size, last, key, keep, meet);
    }
    for (int i = int(threadIdx.x); i < a.size; i += THREADS) v[i] = v[i] / a.tau;
}

AM_D float mixed_at(const Pair& h, int i) { return h.p[i] * h.a + h.r[i] * h.b; }

__global__ void __launch_bounds__(THREADS) mochi_kernel(const __grid_constant__ MochiArgs a) {
    const int count = a.mixes + a.query_mixes, lane = int(threadIdx.x) % 32;
    const int64_t at = int64_t(blockIdx.x) * WARPS + threadIdx.x / 32;
    if (at >= int64_t(a.batch) * count) return;
    const int b = int(at / count), s = int(at % count);
    const Pair h(a, b, MochiStreams(a).of(a, b, s));
    const float* q = a.query + int64_t(b) * a.dim;
    float dot = 0.0f, squares = 0.0f;
    for (int i = lane; i < a.dim; i += 32) {
        const float v = mixed_at(h, i);
        dot += v * q[i];
        squares += v * v;
    }
    const float length = length_of(sum_of_warp(squares));
    dot = sum_of_warp(dot);
    if (lane == 0) a.scores[b * a.stride + s] = dot / length / a.tau;
    if (!a.made) return;
    for (int i = lane; i < a.dim; i += 32) a.made[at * a.dim + i] = mixed_at(h, i) / length;
}

__global__ void __launch_bounds__(THREADS) mochi_grad_kernel(const __grid_constant__ MochiArgs a) {
    float* room = dynamic_shared<float>();  // a line for each warp
    const int count = a.mixes + a.query_mixes, lane = int(threadIdx.x) % 32, warp = int(threadIdx.x) / 32, b = int(blockIdx.x);
    float* own = room + warp * a.dim;
    for (int i = lane; i < a.dim; i += 32) own[i] = 0.0f;
    const MochiStreams streams(a);
    for (int s = warp; s < count; s += WARPS) {
        const float g = a.grad[b * a.stride + s];
        if (g == 0.0f) continue;
        const Pair h(a, b, streams.of(a, b, s));
        float squares = 0.0f;
        for (int i = lane; i < a.dim; i += 32) squares += mixed_at(h, i) * mixed_at(h, i);
        const float weight = g / a.tau / length_of(sum_of_warp(squares));
        for (int i = lane; i < a.dim; i += 32) own[i] += mixed_at(h, i) * weight;
    }
    __syncthreads();
    for (int i = int(threadIdx.x); i < a.dim; i += THREADS) {
        float all = 0.0f;
        for (int w = 0; w < WARPS; ++w) all += room[w * a.dim + i];
        a.grad_query[int64_t(b) * a.dim + i] = all;
    }
}

}}  // namespace AM_LEVEL

void hardest_cuda(const HardestArgs& a, void* stream) {
    using namespace AM_LEVEL;
    launch("hardest", hardest_kernel, grid_of(a.batch, 1), THREADS, 0, stream, a);
}

void mochi_cuda(const MochiArgs& a, void* stream) {
    using namespace AM_LEVEL;
    launch("mochi", mochi_kernel, grid_of(int64_t(a.batch) * (a.mixes + a.query_mixes), WARPS), THREADS, 0, stream, a);
}

void mochi_grad_cuda(const MochiArgs& a, void* stream) {
    using namespace AM_LEVEL;
    launch("mochi_grad", mochi_grad_kernel, grid_of(a.batch, 1), THREADS, size_t(a.dim) * WARPS * sizeof(float), stream, a);
}

}  // namespace anamorph
