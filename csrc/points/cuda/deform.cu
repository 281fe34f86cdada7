// deform_args.h on a GPU.
#include "../../core/launch.h"
#include "../deform_args.h"

namespace anamorph {
namespace AM_LEVEL { namespace {

enum : int { THREADS = 256, WARPS = THREADS / 32, EACH = DEFORM_CHUNK / THREADS };

template <class S> AM_D void open_anchors(const DeformArgs<S>& a, int cloud, AnchorOf<S> (&anchors)[MOST_ANCHORS]) {
    if (int(threadIdx.x) < a.anchors) anchors[threadIdx.x] = anchor_of(a, cloud, int(threadIdx.x));
    __syncthreads();
}

// A block for THREADS points of a cloud.
template <class S> __global__ void __launch_bounds__(THREADS) deform_kernel(const __grid_constant__ DeformArgs<S> a, int blocks) {
    __shared__ AnchorOf<S> anchors[MOST_ANCHORS];
    const int cloud = int(blockIdx.x) / blocks;
    open_anchors(a, cloud, anchors);
    const int64_t i = int64_t(int(blockIdx.x) - cloud * blocks) * THREADS + threadIdx.x, at = (int64_t(cloud) * a.n + i) * 3;
    if (i >= a.n) return;
    S x = S(0), y = S(0), z = S(0);
    if (i < points_there(a, cloud)) {
        const Falling<S> how(a, cloud);
        x = a.points[at], y = a.points[at + 1], z = a.points[at + 2];
        deform(anchors, a.anchors, how.axes, how.falloff, x, y, z);
    }
    a.out[at] = x, a.out[at + 1] = y, a.out[at + 2] = z;
}

// The sums of 16 numbers over a warp: lane L is left with that of number L / 2. Each step halves how many numbers a lane holds,
// so it takes 16 shuffles in the place of 80.
template <class S> AM_D S warp_sums(S (&v)[DEFORM_SUMS]) {
    const int lane = int(threadIdx.x) % 32;
    AM_UNROLL
    for (int half = 16; half > 1; half /= 2) {
        const bool upper = lane & half;
        AM_UNROLL
        for (int k = 0; k < half / 2; ++k) {
            const S give = upper ? v[k] : v[k + half / 2], stay = upper ? v[k + half / 2] : v[k];
            v[k] = stay + __shfl_xor_sync(0xFFFFFFFFu, give, half);
        }
    }
    return v[0] + __shfl_xor_sync(0xFFFFFFFFu, v[0], 1);
}

// A block for a chunk of a cloud: a thread looks at EACH points, then anchor by anchor at all of them, so that what an anchor adds
// up lies in registers.
template <class S>
__global__ void __launch_bounds__(THREADS) deform_grad_kernel(const __grid_constant__ DeformArgs<S> a, int chunks) {
    __shared__ AnchorOf<S> anchors[MOST_ANCHORS];
    __shared__ S room[2][WARPS][DEFORM_SUMS];  // two: the next anchor's sums may come while this one's are read
    const int cloud = int(blockIdx.x) / chunks, chunk = int(blockIdx.x) - cloud * chunks;
    open_anchors(a, cloud, anchors);
    const Falling<S> how(a, cloud);
    const int64_t there = points_there(a, cloud), first = int64_t(chunk) * DEFORM_CHUNK + threadIdx.x;
    S v[EACH][3], grad[EACH][3], own[EACH][3];
    Weighed<S> all[EACH];
    AM_UNROLL
    for (int k = 0; k < EACH; ++k) {
        const int64_t i = first + k * THREADS, at = (int64_t(cloud) * a.n + i) * 3;
        AM_UNROLL
        for (int c = 0; c < 3; ++c) {  // a point that is not there stands where an anchor does, and has no gradient
            v[k][c] = i < there ? a.points[at + c] : anchors[0].at[c];
            own[k][c] = grad[k][c] = i < there ? a.grad[at + c] : S(0);
        }
        all[k] = Weighed<S>(anchors, a.anchors, how.axes, how.falloff, v[k][0], v[k][1], v[k][2]);
    }
    S* to = a.sums + int64_t(blockIdx.x) * a.anchors * DEFORM_SUMS;
    for (int j = 0; j < a.anchors; ++j) {
        S sums[DEFORM_SUMS];
        AM_UNROLL
        for (int s = 0; s < DEFORM_SUMS; ++s) sums[s] = S(0);
        AM_UNROLL
        for (int k = 0; k < EACH; ++k) anchor_grad(anchors[j], how, all[k], v[k][0], v[k][1], v[k][2], grad[k], own[k], sums);
        const S total = warp_sums(sums);
        const int lane = int(threadIdx.x) % 32;
        if (lane % 2 == 0) room[j % 2][threadIdx.x / 32][lane / 2] = total;
        __syncthreads();
        if (threadIdx.x < DEFORM_SUMS) {
            S sum = S(0);
            for (int w = 0; w < WARPS; ++w) sum += room[j % 2][w][threadIdx.x];
            to[j * DEFORM_SUMS + threadIdx.x] = sum;
        }
    }
    AM_UNROLL
    for (int k = 0; k < EACH; ++k) {
        const int64_t i = first + k * THREADS, at = (int64_t(cloud) * a.n + i) * 3;
        if (i >= a.n) return;
        AM_UNROLL
        for (int c = 0; c < 3; ++c) a.grad_points[at + c] = own[k][c];
    }
}

template <class S> __global__ void __launch_bounds__(THREADS) deform_finish_kernel(const __grid_constant__ DeformArgs<S> a) {
    const int64_t k = int64_t(blockIdx.x) * THREADS + threadIdx.x;
    if (k < int64_t(a.batch) * a.anchors) finish_grad(a, int(k / a.anchors), int(k % a.anchors));
}

template <class S> __global__ void __launch_bounds__(THREADS) mask_kernel(const __grid_constant__ MaskArgs<S> a) {
    const int64_t i = int64_t(blockIdx.x) * THREADS + threadIdx.x;
    if (i < a.n) mask_point(a, i);
}

unsigned grid_of(int64_t blocks) {
    if (blocks > 0x7FFFFFFF)
        fail<ShapeError>("points: expected a smaller batch of clouds, given one that takes ", blocks, " blocks");
    return unsigned(blocks);
}

}}  // namespace AM_LEVEL

template <class S> void deform_cuda(const DeformArgs<S>& a, void* stream) {
    using namespace AM_LEVEL;
    const int64_t blocks = (a.n + THREADS - 1) / THREADS;
    launch("deform", deform_kernel<S>, grid_of(a.batch * blocks), THREADS, 0, stream, a, int(blocks));
}

template <class S> void deform_grad_cuda(const DeformArgs<S>& a, void* stream) {
    using namespace AM_LEVEL;
    const int64_t chunks = chunks_of(a);
    launch("deform_grad", deform_grad_kernel<S>, grid_of(a.batch * chunks), THREADS, 0, stream, a, int(chunks));
    launch("deform_finish", deform_finish_kernel<S>, grid_of((int64_t(a.batch) * a.anchors + THREADS - 1) / THREADS), THREADS, 0,
           stream, a);
}

template <class S> void mask_cuda(const MaskArgs<S>& a, void* stream) {
    using namespace AM_LEVEL;
    launch("mask", mask_kernel<S>, grid_of((a.n + THREADS - 1) / THREADS), THREADS, 0, stream, a);
}

template void deform_cuda(const DeformArgs<float>&, void*);
template void deform_cuda(const DeformArgs<double>&, void*);
template void deform_grad_cuda(const DeformArgs<float>&, void*);
template void deform_grad_cuda(const DeformArgs<double>&, void*);
template void mask_cuda(const MaskArgs<float>&, void*);
template void mask_cuda(const MaskArgs<double>&, void*);

}  // namespace anamorph
