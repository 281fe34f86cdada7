// planes.h on a GPU. Planes that lie one after the other: a warp for each where they are small, a block where they are large. Channels last:
// a block for 32 channels of a sample, its warps take every eighth row. Both look twice at a plane for its variance; the second time it
// comes from the caches.
#include "../../core/launch.h"
#include "../planes.h"
#include "sums.h"
#include "../values.h"

namespace anamorph {
namespace AM_LEVEL { namespace {

enum : int { SMALL_PLANE = 1024, EACH = 4 };

template <class T, int TEAM, bool SUMS>
__global__ void __launch_bounds__(THREADS) plane_kernel(const __grid_constant__ PlaneArgs<T> a) {
    using S = typename StatOf<T>::type;
    __shared__ S room[WARPS];
    const int64_t plane = (int64_t(blockIdx.x) * THREADS + threadIdx.x) / TEAM;
    if (plane >= a.batch * a.channels) return;  // the whole team
    const int own = int(threadIdx.x) % TEAM;
    const T* x = a.x + plane * a.area;
    S first = S(0), second = S(0);
    if (SUMS) {
        const T* g = a.g + plane * a.area;
        const S mean = a.mean[plane];
        AM_UNROLL_BY(4)
        for (int64_t i = own; i < a.area; i += TEAM) {
            const S v = value(g + i);
            first += v;
            second += v * (value(x + i) - mean);
        }
        first = sum_of_team<TEAM>(first, room);
        second = sum_of_team<TEAM>(second, room);
    } else {
        AM_UNROLL_BY(4)
        for (int64_t i = own; i < a.area; i += TEAM) first += value(x + i);
        first = sum_of_team<TEAM>(first, room) / S(a.area);
        AM_UNROLL_BY(4)
        for (int64_t i = own; i < a.area; i += TEAM) {
            const S far = value(x + i) - first;
            second += far * far;
        }
        second = sum_of_team<TEAM>(second, room) / S(a.area - 1);
    }
    if (own == 0) {
        a.first[plane] = first;
        a.second[plane] = second;
    }
}

template <class T, bool SUMS> __global__ void __launch_bounds__(THREADS)
    last_kernel(const __grid_constant__ PlaneArgs<T> a, int groups) {
    using S = typename StatOf<T>::type;
    __shared__ S room[WARPS][32];
    const int64_t sample = int(blockIdx.x) / groups, channel = int64_t(int(blockIdx.x) % groups) * 32 + int(threadIdx.x) % 32;
    const bool here = channel < a.channels;
    const int64_t begin = sample * a.area * a.channels + channel, plane = sample * a.channels + channel;
    const int warp = int(threadIdx.x) / 32;
    S first = S(0), second = S(0);
    if (SUMS) {
        const S mean = here ? a.mean[plane] : S(0);
        for (int64_t r = warp; here && r < a.area; r += WARPS) {
            const S v = value(a.g + begin + r * a.channels);
            first += v;
            second += v * (value(a.x + begin + r * a.channels) - mean);
        }
        first = sum_of_warps(first, room);
        second = sum_of_warps(second, room);
    } else {
        for (int64_t r = warp; here && r < a.area; r += WARPS) first += value(a.x + begin + r * a.channels);
        first = sum_of_warps(first, room) / S(a.area);
        for (int64_t r = warp; here && r < a.area; r += WARPS) {
            const S far = value(a.x + begin + r * a.channels) - first;
            second += far * far;
        }
        second = sum_of_warps(second, room) / S(a.area - 1);
    }
    if (here && warp == 0) {
        a.first[plane] = first;
        a.second[plane] = second;
    }
}

template <class T, bool COMBINE> __global__ void __launch_bounds__(THREADS) apply_kernel(const __grid_constant__ PlaneArgs<T> a) {
    using S = typename StatOf<T>::type;
    const int64_t count = a.batch * a.channels * a.area, begin = int64_t(blockIdx.x) * THREADS * EACH + threadIdx.x;
    AM_UNROLL
    for (int k = 0; k < EACH; ++k) {
        const int64_t i = begin + k * THREADS;
        if (i >= count) return;
        const int64_t plane = a.last ? i / (a.area * a.channels) * a.channels + i % a.channels : i / a.area;
        S v;
        if (COMBINE) v = value(a.g + i) * a.scale[plane] + ((value(a.x + i) - a.mean[plane]) * a.slope[plane] + a.shift[plane]);
        else v = (value(a.x + i) - a.mean[plane]) * a.scale[plane] + a.shift[plane];
        store(v, a.out + i);
    }
}

template <class T, bool SUMS> void start_look(const char* name, const PlaneArgs<T>& a, void* stream) {
    const int64_t planes = a.batch * a.channels;
    if (a.last) {
        const int64_t groups = (a.channels + 31) / 32;
        launch(name, last_kernel<T, SUMS>, grid_of(a.batch * groups, 1), THREADS, 0, stream, a, int(groups));
    } else if (a.area <= SMALL_PLANE) {
        launch(name, plane_kernel<T, 32, SUMS>, grid_of(planes, WARPS), THREADS, 0, stream, a);
    } else {
        launch(name, plane_kernel<T, THREADS, SUMS>, grid_of(planes, 1), THREADS, 0, stream, a);
    }
}

}}  // namespace AM_LEVEL

template <class T> void moments_cuda(const PlaneArgs<T>& a, void* stream) {
    AM_LEVEL::start_look<T, false>("moments", a, stream);
}
template <class T> void sums_cuda(const PlaneArgs<T>& a, void* stream) { AM_LEVEL::start_look<T, true>("sums", a, stream); }
template <class T> void affine_cuda(const PlaneArgs<T>& a, void* stream) {
    using namespace AM_LEVEL;
    launch("affine", apply_kernel<T, false>, grid_of(a.batch * a.channels * a.area, THREADS * EACH), THREADS, 0, stream, a);
}
template <class T> void combine_cuda(const PlaneArgs<T>& a, void* stream) {
    using namespace AM_LEVEL;
    launch("combine", apply_kernel<T, true>, grid_of(a.batch * a.channels * a.area, THREADS * EACH), THREADS, 0, stream, a);
}

#define AM_PLANES(T)                                        \
    template void moments_cuda(const PlaneArgs<T>&, void*); \
    template void sums_cuda(const PlaneArgs<T>&, void*);    \
    template void affine_cuda(const PlaneArgs<T>&, void*);  \
    template void combine_cuda(const PlaneArgs<T>&, void*);
AM_PLANES(float)
AM_PLANES(double)
AM_PLANES(Half)
AM_PLANES(BFloat)

}  // namespace anamorph
