// Clouds on CPU threads, at the best SIMD level of this machine.
#include "../../core/parallel.h"
#include "../../core/best_level.h"
#include "../program.h"

namespace anamorph {

AM_AT_LEVELS(void cloud_task(const points::RenderArgs&, int);)

namespace points {

void render_cpu(const RenderArgs& a, int threads) {
    auto task = AM_BEST(cloud_task);
    if (int64_t(a.batch) * a.points < 4096) threads = 1;  // waking a thread costs more
    parallel_for(a.batch, threads, [&](int64_t i) { task(a, int(i)); });
}

}  // namespace points
}  // namespace anamorph
