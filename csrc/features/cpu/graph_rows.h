// graph.h, some rows at a time.
#pragma once
#include "../graph.h"
#include "packs.h"

namespace anamorph { namespace AM_LEVEL {

// As simd.h's: rounded before it is added to, whatever this file is compiled with.
AM_HD double product(double a, double b) {
    a = a * b;
    AM_PIN(a);
    return a;
}

// Some features of a row, in N packs: the sums stay in registers while the edges go by.
template <int N, class F, class T>
AM_HD void aggregate_packs(const AggregateArgs<T>& a, int64_t row, int64_t feature, F kind) {
    using S = typename StatOf<T>::type;
    F sums[N];
    for (int n = 0; n < N; ++n) sums[n] = F(S(0));
    for (int64_t e = a.graph.begin(row), end = a.graph.end(row); e < end; ++e) {
        const int64_t j = a.graph.other(e);
        if (j < 0) continue;
        const F w(a.weights ? a.weights[e] : S(1));
        const T* x = a.x + j * a.features + feature;
        for (int n = 0; n < N; ++n) sums[n] = sums[n] + product(w, take(x + n * LanesOf<F>::value, kind));
    }
    T* out = a.out + row * a.features + feature;
    for (int n = 0; n < N; ++n) put(sums[n], out + n * LanesOf<F>::value);
}

// The first `count` values as a pack, zeros behind them; `end`: of what may be read.
template <class T> AM_HD Floats part(const T* p, int64_t count, const T* end) {
    if (end - p >= LANES) return select(Floats::iota() < Floats(float(count)), take(p, Floats()), Floats(0.0f));
    T copy[LANES] = {};
    for (int64_t k = 0; k < count; ++k) copy[k] = p[k];
    return take(copy, Floats());
}

// A row of fewer features than a pack.
template <class T> AM_HD void aggregate_narrow(const AggregateArgs<T>& a, int64_t row) {
    const T* end_of_x = a.x + a.graph.columns * a.features;
    Floats sums(0.0f);
    for (int64_t e = a.graph.begin(row), end = a.graph.end(row); e < end; ++e) {
        const int64_t j = a.graph.other(e);
        if (j < 0) continue;
        sums = sums + product(Floats(a.weights ? a.weights[e] : 1.0f), part(a.x + j * a.features, a.features, end_of_x));
    }
    float lanes[LANES];
    sums.store(lanes);
    for (int64_t k = 0; k < a.features; ++k) put(lanes[k], a.out + row * a.features + k);
}

template <class T> void aggregate_task(const AggregateArgs<T>& a, int64_t first, int64_t last) {
    using F = typename ValuePack<T>::type;
    enum : int { L = LanesOf<F>::value, MANY = 8 };
    for (int64_t row = first; row < last; ++row) {
        if constexpr (L > 1) {
            if (a.features < L) {
                aggregate_narrow(a, row);
                continue;
            }
        }
        int64_t f = 0;
        for (; f + MANY * L <= a.features; f += MANY * L) aggregate_packs<MANY>(a, row, f, F());
        for (; f + L <= a.features; f += L) aggregate_packs<1>(a, row, f, F());
        if (f < a.features) aggregate_packs<1>(a, row, a.features - L, F());  // some of them once more
    }
}

template <class T>
AM_HD typename StatOf<T>::type dot(const T* left, const T* right, int64_t count, const T* left_end, const T* right_end) {
    using F = typename ValuePack<T>::type;
    using S = typename StatOf<T>::type;
    enum : int { L = LanesOf<F>::value, PACKS = DOT_LANES / L };
    F sums[PACKS];
    for (int k = 0; k < PACKS; ++k) sums[k] = F(S(0));
    int64_t i = 0;
    for (; i + DOT_LANES <= count; i += DOT_LANES)
        for (int k = 0; k < PACKS; ++k) sums[k] = sums[k] + product(take(left + i + k * L, F()), take(right + i + k * L, F()));
    int k = 0;
    for (; i + L <= count; i += L, ++k) sums[k] = sums[k] + product(take(left + i, F()), take(right + i, F()));
    if constexpr (L > 1) {
        if (i < count) sums[k] = sums[k] + product(part(left + i, count - i, left_end), part(right + i, count - i, right_end));
    }
    for (int half = PACKS / 2; half > 0; half /= 2)
        for (k = 0; k < half; ++k) sums[k] = sums[k] + sums[k + half];
    S lanes[L];
    put(sums[0], lanes);
    for (int half = L / 2; half > 0; half /= 2)
        for (k = 0; k < half; ++k) lanes[k] = lanes[k] + lanes[k + half];
    return lanes[0];
}

template <class T> void edge_dots_task(const EdgeDotArgs<T>& a, int64_t first, int64_t last) {
    using S = typename StatOf<T>::type;
    for (int64_t row = first; row < last; ++row)
        for (int64_t e = a.graph.begin(row), end = a.graph.end(row); e < end; ++e) {
            const int64_t j = a.graph.other(e);
            a.out[e] = j < 0 ? S(0)
                             : dot(a.left + row * a.features, a.right + j * a.features, a.features,
                                   a.left + a.graph.rows * a.features, a.right + a.graph.columns * a.features);
        }
    for (int64_t e = 0; first == 0 && e < a.graph.begin(0); ++e) a.out[e] = S(0);
    for (int64_t e = a.graph.end(last - 1); last == a.graph.rows && e < a.graph.edges; ++e) a.out[e] = S(0);
}

template void aggregate_task(const AggregateArgs<float>&, int64_t, int64_t);
template void aggregate_task(const AggregateArgs<double>&, int64_t, int64_t);
template void aggregate_task(const AggregateArgs<Half>&, int64_t, int64_t);
template void aggregate_task(const AggregateArgs<BFloat>&, int64_t, int64_t);
template void edge_dots_task(const EdgeDotArgs<float>&, int64_t, int64_t);
template void edge_dots_task(const EdgeDotArgs<double>&, int64_t, int64_t);
template void edge_dots_task(const EdgeDotArgs<Half>&, int64_t, int64_t);
template void edge_dots_task(const EdgeDotArgs<BFloat>&, int64_t, int64_t);

}}  // namespace anamorph::AM_LEVEL
