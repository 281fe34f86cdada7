// Graphs by rows (CSR): the edges of node i are indptr[i] to indptr[i + 1], and indices[e] is the node at the other end of edge e.
//     aggregate   out[i] = sum of weights[e] x[indices[e]] over the edges of i, added up in their order
//     edge_dots   out[e] = left[i] . right[indices[e]], of each edge of each i: the gradient of aggregate that weights have
//     sample      k neighbours of a node, chosen by (seed, step, node)
// An edge whose index is no node counts as none, and rows keep to the edges that are there: a place read from memory is one, whatever a
// tensor on a GPU holds. x, left, right and out of aggregate are of one dtype; weights and sums are float, or double for doubles. Nothing is
// fused, so a CPU and a GPU give the same bits.
#pragma once
#include "draws.h"
#include "planes.h"

namespace anamorph {

struct Graph {
    const int64_t *indptr, *indices;  // [rows + 1], [edges]
    int64_t rows, edges, columns;     // columns: nodes at the other end

    AM_HD int64_t begin(int64_t row) const { return inside(indptr[row], edges); }
    AM_HD int64_t end(int64_t row) const { return inside(indptr[row + 1], edges); }
    AM_HD int64_t other(int64_t edge) const {  // -1: nobody
        const int64_t j = indices[edge];
        return j >= 0 && j < columns ? j : -1;
    }
};

template <class T> struct AggregateArgs {
    Graph graph;
    const typename StatOf<T>::type* weights;  // [edges], or null: all of them 1
    const T* x;                               // [columns, features]
    int64_t features;
    T* out;  // [rows, features]
};

// A product's terms are added up in so many sums, one after the other, and these in pairs.
enum : int { DOT_LANES = 32 };
template <class T> struct EdgeDotArgs {
    Graph graph;
    const T *left, *right;  // [rows, features], [columns, features]
    int64_t features;
    typename StatOf<T>::type* out;  // [edges], 0 where an edge is no row's
};

struct SampleArgs {
    Graph graph;
    const int64_t* nodes;  // [count]
    const int64_t* step;   // (seed, step), where the kernels run
    uint32_t stream;
    int64_t count;
    int32_t k;
    int64_t* out;  // [count, k]
};

namespace AM_LEVEL {

// The neighbours of a node in the order in which they are taken: all of them as they stand where they are fewer than k, then -1;
// else by a permutation of its own.
struct Choice {
    int64_t begin, degree;
    Permutation order;

    AM_HD Choice(const SampleArgs& a, const Stream& s, int64_t i) : begin(0), degree(0) {
        const int64_t node = a.nodes[i];
        if (node >= 0 && node < a.graph.rows) {
            begin = a.graph.begin(node);
            degree = a.graph.end(node) - begin;
        }
        if (degree < a.k) return;
        const Philox4 p = philox4x32_10(uint32_t(uint64_t(node)), uint32_t(uint64_t(node) >> 32), 0u, 0u, s.first, s.second);
        order.begin(p.v[0], p.v[1], uint32_t(degree));
    }
    AM_HD int64_t at(const SampleArgs& a, int32_t slot) const {
        if (degree >= a.k) return a.graph.indices[begin + int64_t(order.forward(uint32_t(slot)))];
        return slot < degree ? a.graph.indices[begin + slot] : -1;
    }
};

}  // namespace AM_LEVEL

template <class T> void aggregate_cpu(const AggregateArgs<T>&, int threads);
template <class T> void edge_dots_cpu(const EdgeDotArgs<T>&, int threads);
void sample_neighbours_cpu(const SampleArgs&, int threads);
template <class T> void aggregate_cuda(const AggregateArgs<T>&, void* stream);
template <class T> void edge_dots_cuda(const EdgeDotArgs<T>&, void* stream);
void sample_neighbours_cuda(const SampleArgs&, void* stream);

}  // namespace anamorph
