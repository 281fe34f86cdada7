// graph.h on CPU threads, at the best SIMD level of this machine.
#include "../graph.h"
#include "../../core/best_level.h"
#include "../../core/parallel.h"

namespace anamorph {

AM_AT_LEVELS(template <class T> void aggregate_task(const AggregateArgs<T>&, int64_t, int64_t);
             template <class T> void edge_dots_task(const EdgeDotArgs<T>&, int64_t, int64_t);)

namespace {

// task(first row, past the last): few rows at a time, for some have many edges.
template <class Task> void each_rows(int64_t rows, int64_t work, int threads, const Task& task) {
    enum : int64_t { ROWS = 64 };
    parallel_for((rows + ROWS - 1) / ROWS, threads_for(work, threads),
                 [&](int64_t t) { task(t * ROWS, (t + 1) * ROWS < rows ? (t + 1) * ROWS : rows); });
}

}  // namespace

template <class T> void aggregate_cpu(const AggregateArgs<T>& a, int threads) {
    auto task = AM_BEST(aggregate_task<T>);
    each_rows(a.graph.rows, (a.graph.rows + a.graph.edges) * a.features, threads,
              [&](int64_t first, int64_t last) { task(a, first, last); });
}

template <class T> void edge_dots_cpu(const EdgeDotArgs<T>& a, int threads) {
    auto task = AM_BEST(edge_dots_task<T>);
    each_rows(a.graph.rows, a.graph.edges * a.features, threads, [&](int64_t first, int64_t last) { task(a, first, last); });
}

void sample_neighbours_cpu(const SampleArgs& a, int threads) {
    const Stream s(a.step, a.stream);
    each_rows(a.count, a.count * a.k * 16, threads, [&](int64_t first, int64_t last) {
        for (int64_t i = first; i < last; ++i) {
            const base::Choice choice(a, s, i);
            for (int32_t slot = 0; slot < a.k; ++slot) a.out[i * a.k + slot] = choice.at(a, slot);
        }
    });
}

template void aggregate_cpu(const AggregateArgs<float>&, int);
template void aggregate_cpu(const AggregateArgs<double>&, int);
template void aggregate_cpu(const AggregateArgs<Half>&, int);
template void aggregate_cpu(const AggregateArgs<BFloat>&, int);
template void edge_dots_cpu(const EdgeDotArgs<float>&, int);
template void edge_dots_cpu(const EdgeDotArgs<double>&, int);
template void edge_dots_cpu(const EdgeDotArgs<Half>&, int);
template void edge_dots_cpu(const EdgeDotArgs<BFloat>&, int);

}  // namespace anamorph
