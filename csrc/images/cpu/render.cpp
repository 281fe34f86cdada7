// Renders on CPU threads, at the best SIMD level of this machine.
#include "../../core/parallel.h"
#include "../../core/simd_level.h"
#include "../mix.h"
#include "../render.h"

namespace anamorph {

#define AM_DECLARE(level)                               \
    namespace level {                                   \
    void render_task(const RenderArgs&, int, int, int); \
    void render_views(const RenderArgs&, int);          \
    }
AM_DECLARE(base)
#if defined(AM_X86)
AM_DECLARE(avx2)
AM_DECLARE(avx512)
#endif

void render_cpu(const RenderArgs& a, int threads) {
    auto task = base::render_task;
    auto views_of = base::render_views;
#if defined(AM_X86)
    if (simd_level() == SimdLevel::avx512) task = avx512::render_task, views_of = avx512::render_views;
    else if (simd_level() == SimdLevel::avx2) task = avx2::render_task, views_of = avx2::render_views;
#endif
    // A few samples on many threads are cut into bands of rows; a view that is made ready is drawn whole by one thread.
    int bands = 1;
    if (a.info.most.wholes == 0 && a.batch < 4 * threads) bands = (4 * threads + a.batch - 1) / a.batch;
    if (bands > a.out_h) bands = a.out_h;
    int64_t pixels = int64_t(a.batch) * a.out_h * a.out_w;
    if (pixels < 16384) threads = bands = 1;  // waking a thread costs more
    // All views of a picture after each other, while the caches have it; by one thread, where there are pictures enough for all.
    const int views = a.batch / a.in.batch;
    if (views > 1 && (threads <= 1 || a.in.batch >= 4 * threads)) {
        parallel_for(a.in.batch, threads, [&](int64_t b) {
            views_of(a, int(b));
            for (int i = int(b); i < a.batch; i += a.in.batch) write_targets(a, i);
        });
        return;
    }
    parallel_for(int64_t(a.batch) * bands, threads, [&](int64_t t) {
        int i = int(t / bands), b = int(t % bands);
        i = i % views * a.in.batch + i / views;
        task(a, i, int(int64_t(a.out_h) * b / bands), int(int64_t(a.out_h) * (b + 1) / bands));
        if (b == 0) write_targets(a, i);
    });
}

}  // namespace anamorph
