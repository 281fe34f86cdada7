// assign.h on CPU threads, at the best SIMD level of this machine: a cloud a task.
#include "../assign.h"

#include "../../core/parallel.h"

namespace anamorph {

void assign_cpu(const AssignArgs& a, int threads) {
    auto task = AM_BEST(assign_task);
    parallel_for(a.batch, a.n < 32 ? 1 : threads, [&](int64_t i) { task(a, int(i)); });
}

}  // namespace anamorph
