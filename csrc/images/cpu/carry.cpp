// carry.h on CPU threads, at the best SIMD level of this machine.
#include "../carry.h"
#include "../../core/parallel.h"
#include "../../core/simd_level.h"
#include "../render.h"

namespace anamorph {

#define AM_DECLARE(level)                             \
    namespace level {                                 \
    void carry_task(const CarryArgs&, int, int, int); \
    void boxes_task(const BoxArgs&, int);             \
    void points_task(const PointArgs&, int);          \
    }
AM_DECLARE(base)
#if defined(AM_X86)
AM_DECLARE(avx2)
AM_DECLARE(avx512)
#define AM_BEST(task) \
    (simd_level() == SimdLevel::avx512 ? avx512::task : simd_level() == SimdLevel::avx2 ? avx2::task : base::task)
#else
#define AM_BEST(task) base::task
#endif

void carry_cpu(const CarryArgs& a, int threads) {
    auto task = AM_BEST(carry_task);
    // A few samples on many threads are cut into bands of rows, but what is added up is one thread's.
    const int bands = a.scatter || a.batch >= 4 * threads ? 1 : (4 * threads + a.batch - 1) / a.batch;
    if (int64_t(a.batch) * a.out_h * a.out_w < 16384) threads = 1;  // waking a thread costs more
    parallel_for(int64_t(a.batch) * bands, threads, [&](int64_t t) {
        const int i = int(t / bands), b = int(t % bands), h = planes_of(a.undo ? a.source : a.view, i).h;
        task(a, i, int(int64_t(h) * b / bands), int(int64_t(h) * (b + 1) / bands));
    });
}

void boxes_cpu(const BoxArgs& a, int threads) {
    auto task = AM_BEST(boxes_task);
    parallel_for(a.batch, int64_t(a.batch) * a.count >= 1024 ? threads : 1, [&](int64_t i) { task(a, int(i)); });
}

void points_cpu(const PointArgs& a, int threads) {
    auto task = AM_BEST(points_task);
    parallel_for(a.batch, int64_t(a.batch) * a.count >= 4096 ? threads : 1, [&](int64_t i) { task(a, int(i)); });
}

}  // namespace anamorph
