// draws.h on CPU threads, at the best SIMD level of this machine.
#include "../draws.h"
#include "../../core/best_level.h"
#include "../../core/parallel.h"

namespace anamorph {

AM_AT_LEVELS(void draw_task(const DrawArgs&, int64_t, int64_t);)

void draw_cpu(const DrawArgs& a, int threads) {
    enum : int64_t { CHUNK = 16384 };
    auto task = AM_BEST(draw_task);
    parallel_for((a.n + CHUNK - 1) / CHUNK, threads,
                 [&](int64_t t) { task(a, t * CHUNK, (t + 1) * CHUNK < a.n ? (t + 1) * CHUNK : a.n); });
}

}  // namespace anamorph
