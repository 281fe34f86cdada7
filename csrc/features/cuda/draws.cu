// draws.h on a GPU: a thread for each number.
#include "../../core/launch.h"
#include "../draws.h"
#include "grid.h"

namespace anamorph {
namespace AM_LEVEL { namespace {

__global__ void __launch_bounds__(THREADS) draw_kernel(const __grid_constant__ DrawArgs a) {
    const int64_t i = int64_t(blockIdx.x) * THREADS + threadIdx.x;
    if (i >= a.n) return;
    const Stream s(a.step, a.stream, uint32_t(uint64_t(i) >> 32));
    const uint32_t at = uint32_t(uint64_t(i));
    if (a.kind == DRAW_UNIFORM) {
        const float low = float(a.a);
        a.numbers[i] = low + unit(word_at(at, s.first, s.second)) * (float(a.b) - low);
    } else if (a.kind == DRAW_NORMAL) {
        a.numbers[i] = normal(word_at(at, s.first, s.second));
    } else if (a.kind == DRAW_PERMUTATION) {
        Permutation p;
        p.begin(s.first, s.second, uint32_t(a.n));
        a.integers[i] = int64_t(p.forward(at));
    } else {
        draw_one(a, s, i);
    }
}

}}  // namespace AM_LEVEL

void draw_cuda(const DrawArgs& a, void* stream) {
    using namespace AM_LEVEL;
    launch("draw", draw_kernel, grid_of(a.n, THREADS), THREADS, 0, stream, a);
}

}  // namespace anamorph
