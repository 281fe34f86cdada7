// mix.h on a GPU: a block for a part of a row, so that weights and partner are the block's.
#include "../../core/launch.h"
#include "../mix.h"
#include "grid.h"
#include "../values.h"

namespace anamorph {
namespace AM_LEVEL { namespace {

enum : int { EACH = 4 };

template <class T> __global__ void __launch_bounds__(THREADS)
    mix_rows_kernel(const __grid_constant__ RowMixArgs<T> a, int parts) {
    const int64_t b = int(blockIdx.x) / parts, begin = int64_t(int(blockIdx.x) % parts) * THREADS * EACH + threadIdx.x;
    const auto own = a.own[b], other = a.other[b];
    const T *x = a.x + b * a.size, *y = a.x + partner_of(a.partner, b, a.batch) * a.size;
    AM_UNROLL
    for (int k = 0; k < EACH; ++k) {
        const int64_t i = begin + k * THREADS;
        if (i >= a.size) return;
        if (a.holes && !a.holes[i]) a.out[b * a.size + i] = x[i];
        else store(mixed(own, other, value(x + i), value(y + i)), a.out + b * a.size + i);
    }
}

}}  // namespace AM_LEVEL

template <class T> void mix_rows_cuda(const RowMixArgs<T>& a, void* stream) {
    using namespace AM_LEVEL;
    const int64_t parts = (a.size + THREADS * EACH - 1) / (THREADS * EACH);
    launch("mix_rows", mix_rows_kernel<T>, grid_of(a.batch * parts, 1), THREADS, 0, stream, a, int(parts));
}

template void mix_rows_cuda(const RowMixArgs<float>&, void*);
template void mix_rows_cuda(const RowMixArgs<double>&, void*);
template void mix_rows_cuda(const RowMixArgs<Half>&, void*);
template void mix_rows_cuda(const RowMixArgs<BFloat>&, void*);

}  // namespace anamorph
