// deform_args.h on CPU threads, at the best SIMD level of this machine.
#include "../../core/parallel.h"
#include "../deform_args.h"
#include "../../core/best_level.h"

namespace anamorph {

AM_AT_LEVELS(template <class S> void deform_task(const DeformArgs<S>&, int, int64_t);
             template <class S> void deform_grad_task(const DeformArgs<S>&, int, int64_t);
             template <class S> void mask_task(const MaskArgs<S>&, int64_t, int64_t);)

namespace {

template <class S, class Task> void each_chunk(const DeformArgs<S>& a, int threads, Task task) {
    const int64_t chunks = base::chunks_of(a);
    if (a.batch * a.n * a.anchors < 16384) threads = 1;  // waking a thread costs more
    parallel_for(a.batch * chunks, threads, [&](int64_t t) { task(a, int(t / chunks), t % chunks); });
}

}  // namespace

template <class S> void deform_cpu(const DeformArgs<S>& a, int threads) { each_chunk(a, threads, AM_BEST(deform_task<S>)); }

template <class S> void deform_grad_cpu(const DeformArgs<S>& a, int threads) {
    each_chunk(a, threads, AM_BEST(deform_grad_task<S>));
    for (int i = 0; i < a.batch; ++i)
        for (int j = 0; j < a.anchors; ++j) base::finish_grad(a, i, j);
}

template <class S> void mask_cpu(const MaskArgs<S>& a, int threads) {
    enum : int64_t { CHUNK = 16384 };
    auto task = AM_BEST(mask_task<S>);
    const int64_t chunks = (a.n + CHUNK - 1) / CHUNK;
    parallel_for(chunks, threads, [&](int64_t t) { task(a, t * CHUNK, (t + 1) * CHUNK < a.n ? (t + 1) * CHUNK : int64_t(a.n)); });
}

template void deform_cpu(const DeformArgs<float>&, int);
template void deform_cpu(const DeformArgs<double>&, int);
template void deform_grad_cpu(const DeformArgs<float>&, int);
template void deform_grad_cpu(const DeformArgs<double>&, int);
template void mask_cpu(const MaskArgs<float>&, int);
template void mask_cpu(const MaskArgs<double>&, int);

}  // namespace anamorph
