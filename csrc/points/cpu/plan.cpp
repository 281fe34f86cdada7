// Plans for point clouds on a CPU. Without fused multiply-add, as all that draws.
#include "../../core/parallel.h"
#include "../plan.h"

namespace anamorph { namespace points {

void plan_cpu(const PlanArgs& a, int threads) {
    parallel_for(a.batch, a.batch >= 64 ? threads : 1, [&](int64_t i) { plan_row(a, a.slots, int(i)); });
}

}}  // namespace anamorph::points
