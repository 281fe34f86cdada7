// graph.h on a GPU.
#include "../../core/launch.h"
#include "../graph.h"
#include "sums.h"
#include "../values.h"

namespace anamorph {
namespace AM_LEVEL { namespace {

static_assert(int(DOT_LANES) == 32, "a lane of a warp for each of a product's sums");

// A thread for each feature of each row: neighbouring threads read neighbouring features, and all of a row the same edges.
template <class T> __global__ void __launch_bounds__(THREADS) aggregate_kernel(const __grid_constant__ AggregateArgs<T> a) {
    using S = typename StatOf<T>::type;
    const int64_t i = int64_t(blockIdx.x) * THREADS + threadIdx.x, row = i / a.features, feature = i - row * a.features;
    if (row >= a.graph.rows) return;
    const int64_t end = a.graph.end(row);
    S sum = S(0);
    AM_UNROLL_BY(4)
    for (int64_t e = a.graph.begin(row); e < end; ++e) {
        const int64_t j = a.graph.other(e);
        if (j >= 0) sum = sum + (a.weights ? a.weights[e] : S(1)) * value(a.x + j * a.features + feature);
    }
    store(sum, a.out + i);
}

// The row of an edge, or -1: the last that begins at or before it, if it does not end there.
AM_D int64_t row_of(const Graph& g, int64_t edge) {
    int64_t low = 0, high = g.rows;  // rows below `low` begin at or before the edge, those from `high` on behind it
    while (low < high) {
        const int64_t middle = (low + high) / 2;
        if (g.begin(middle) <= edge) low = middle + 1;
        else high = middle;
    }
    return low > 0 && edge < g.end(low - 1) ? low - 1 : -1;
}

// A warp for each edge.
template <class T> __global__ void __launch_bounds__(THREADS) edge_dots_kernel(const __grid_constant__ EdgeDotArgs<T> a) {
    using S = typename StatOf<T>::type;
    const int64_t e = int64_t(blockIdx.x) * WARPS + threadIdx.x / 32;
    if (e >= a.graph.edges) return;
    const int64_t row = row_of(a.graph, e), j = a.graph.other(e);
    S sum = S(0);
    if (row >= 0 && j >= 0) {
        const T *left = a.left + row * a.features, *right = a.right + j * a.features;
        for (int64_t f = threadIdx.x % 32; f < a.features; f += 32) sum = sum + value(left + f) * value(right + f);
        sum = sum_of_warp(sum);
    }
    if (threadIdx.x % 32 == 0) a.out[e] = sum;
}

// A thread for each neighbour.
__global__ void __launch_bounds__(THREADS) sample_kernel(const __grid_constant__ SampleArgs a) {
    const int64_t i = int64_t(blockIdx.x) * THREADS + threadIdx.x, node = i / a.k;
    if (node >= a.count) return;
    a.out[i] = Choice(a, Stream(a.step, a.stream), node).at(a, int32_t(i - node * a.k));
}

}}  // namespace AM_LEVEL

template <class T> void aggregate_cuda(const AggregateArgs<T>& a, void* stream) {
    using namespace AM_LEVEL;
    launch("aggregate", aggregate_kernel<T>, grid_of(a.graph.rows * a.features, THREADS), THREADS, 0, stream, a);
}

template <class T> void edge_dots_cuda(const EdgeDotArgs<T>& a, void* stream) {
    using namespace AM_LEVEL;
    launch("edge_dots", edge_dots_kernel<T>, grid_of(a.graph.edges, WARPS), THREADS, 0, stream, a);
}

void sample_neighbours_cuda(const SampleArgs& a, void* stream) {
    using namespace AM_LEVEL;
    launch("sample_neighbours", sample_kernel, grid_of(a.count * a.k, THREADS), THREADS, 0, stream, a);
}

template void aggregate_cuda(const AggregateArgs<float>&, void*);
template void aggregate_cuda(const AggregateArgs<double>&, void*);
template void aggregate_cuda(const AggregateArgs<Half>&, void*);
template void aggregate_cuda(const AggregateArgs<BFloat>&, void*);
template void edge_dots_cuda(const EdgeDotArgs<float>&, void*);
template void edge_dots_cuda(const EdgeDotArgs<double>&, void*);
template void edge_dots_cuda(const EdgeDotArgs<Half>&, void*);
template void edge_dots_cuda(const EdgeDotArgs<BFloat>&, void*);

}  // namespace anamorph
