// mix.h on CPU threads, at the best SIMD level of this machine.
#include "../mix.h"
#include "../../core/best_level.h"
#include "../../core/parallel.h"

namespace anamorph {

AM_AT_LEVELS(template <class T> void mix_row(const RowMixArgs<T>&, int64_t, int64_t, int64_t);)

template <class T> void mix_rows_cpu(const RowMixArgs<T>& a, int threads) {
    auto task = AM_BEST(mix_row<T>);
    const int64_t parts = (a.size + MIX_CHUNK - 1) / MIX_CHUNK;
    parallel_for(a.batch * parts, threads_for(a.batch * a.size, threads), [&](int64_t t) {
        const int64_t b = t / parts, first = t % parts * MIX_CHUNK;
        task(a, b, first, first + MIX_CHUNK < a.size ? first + MIX_CHUNK : a.size);
    });
}

template void mix_rows_cpu(const RowMixArgs<float>&, int);
template void mix_rows_cpu(const RowMixArgs<double>&, int);
template void mix_rows_cpu(const RowMixArgs<Half>&, int);
template void mix_rows_cpu(const RowMixArgs<BFloat>&, int);

}  // namespace anamorph
