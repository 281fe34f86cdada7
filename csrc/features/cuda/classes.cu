// classes.h on a GPU: a block for a class and 32 dimensions, whose warps take every eighth of its rows.
#include "../../core/launch.h"
#include "../classes.h"
#include "sums.h"

namespace anamorph {
namespace AM_LEVEL { namespace {

template <class S>
__global__ void __launch_bounds__(THREADS) class_moments_kernel(const __grid_constant__ ClassArgs<S> a, int groups) {
    __shared__ S room[WARPS][32];
    const int64_t c = int(blockIdx.x) / groups, k = int64_t(int(blockIdx.x) % groups) * 32 + int(threadIdx.x) % 32;
    const bool here = k < a.size;
    const int warp = int(threadIdx.x) / 32;
    const int64_t first = inside(a.first[c], a.rows), last = inside(a.first[c + 1], a.rows);
    const auto at = [&](int64_t r) { return a.x[inside(a.order[r], a.rows - 1) * a.size + k]; };
    S mean = S(0), squares = S(0);
    for (int64_t r = first + warp; here && r < last; r += WARPS) mean += at(r);
    mean = sum_of_warps(mean, room);
    if (last > first) mean = mean / S(last - first);
    for (int64_t r = first + warp; here && r < last; r += WARPS) squares += (at(r) - mean) * (at(r) - mean);
    squares = sum_of_warps(squares, room);
    if (here && warp == 0) {
        a.mean[c * a.size + k] = mean;
        a.squares[c * a.size + k] = squares;
    }
}

}}  // namespace AM_LEVEL

template <class S> void class_moments_cuda(const ClassArgs<S>& a, void* stream) {
    using namespace AM_LEVEL;
    const int64_t groups = (a.size + 31) / 32;
    launch("class_moments", class_moments_kernel<S>, grid_of(a.classes * groups, 1), THREADS, 0, stream, a, int(groups));
}

template void class_moments_cuda(const ClassArgs<float>&, void*);
template void class_moments_cuda(const ClassArgs<double>&, void*);

}  // namespace anamorph
