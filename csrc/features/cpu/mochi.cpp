// mochi.h on CPU threads, at the best SIMD level of this machine.
#include "../mochi.h"
#include "../../core/best_level.h"
#include "../../core/parallel.h"

namespace anamorph {

AM_AT_LEVELS(void hardest_task(const HardestArgs&, int); void mochi_task(const MochiArgs&, int);
             void mochi_grad_task(const MochiArgs&, int);)

void hardest_cpu(const HardestArgs& a, int threads) {
    auto task = AM_BEST(hardest_task);
    parallel_for(a.batch, threads_for(int64_t(a.batch) * a.size, threads), [&](int64_t b) { task(a, int(b)); });
}

namespace {
int64_t work_of(const MochiArgs& a) { return int64_t(a.batch) * (a.mixes + a.query_mixes) * a.dim; }
}  // namespace

void mochi_cpu(const MochiArgs& a, int threads) {
    auto task = AM_BEST(mochi_task);
    parallel_for(a.batch, threads_for(work_of(a), threads), [&](int64_t b) { task(a, int(b)); });
}

void mochi_grad_cpu(const MochiArgs& a, int threads) {
    auto task = AM_BEST(mochi_grad_task);
    parallel_for(a.batch, threads_for(work_of(a), threads), [&](int64_t b) { task(a, int(b)); });
}

}  // namespace anamorph
