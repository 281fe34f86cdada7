// classes.h on CPU threads, at the best SIMD level of this machine.
#include "../classes.h"
#include "../../core/best_level.h"
#include "../../core/parallel.h"

namespace anamorph {

AM_AT_LEVELS(template <class S> void class_moments_task(const ClassArgs<S>&, int64_t);)

template <class S> void class_moments_cpu(const ClassArgs<S>& a, int threads) {
    auto task = AM_BEST(class_moments_task<S>);
    parallel_for(a.classes, threads_for((a.rows + a.classes) * a.size, threads), [&](int64_t c) { task(a, c); });
}

template void class_moments_cpu(const ClassArgs<float>&, int);
template void class_moments_cpu(const ClassArgs<double>&, int);

}  // namespace anamorph
