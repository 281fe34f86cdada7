// Plans on a CPU. A file of its own because it must be compiled without fused multiply-add (CMakeLists.txt).
#include "../../core/parallel.h"
#include "../plan.h"
#include "../render.h"

namespace anamorph {

void plan_cpu(const PlanArgs& args, int threads) {
    const int rows = args.batch * args.views;
    parallel_for(rows, rows >= 64 ? threads : 1, [&](int64_t i) { plan_row(args, args.slots, int(i)); });
}

}  // namespace anamorph
