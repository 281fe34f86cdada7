// classes.h, a class at a time: its rows are added up in packs of dimensions, and then looked at once more.
#pragma once
#include "../classes.h"
#include "packs.h"

namespace anamorph { namespace AM_LEVEL {

template <class S> void class_moments_task(const ClassArgs<S>& a, int64_t c) {
    S *mean = a.mean + c * a.size, *squares = a.squares + c * a.size;
    for (int64_t k = 0; k < a.size; ++k) mean[k] = squares[k] = S(0);
    const int64_t first = inside(a.first[c], a.rows), last = inside(a.first[c + 1], a.rows);
    if (first >= last) return;
    const auto row = [&](int64_t r) { return a.x + inside(a.order[r], a.rows - 1) * a.size; };
    for (int64_t r = first; r < last; ++r) {
        const S* x = row(r);
        over<S>(a.size, [&](int64_t i, auto kind) { put(take(mean + i, kind) + take(x + i, kind), mean + i); });
    }
    for (int64_t k = 0; k < a.size; ++k) mean[k] = mean[k] / S(last - first);
    for (int64_t r = first; r < last; ++r) {
        const S* x = row(r);
        over<S>(a.size, [&](int64_t i, auto kind) {
            const auto far = take(x + i, kind) - take(mean + i, kind);
            put(take(squares + i, kind) + far * far, squares + i);
        });
    }
}

template void class_moments_task(const ClassArgs<float>&, int64_t);
template void class_moments_task(const ClassArgs<double>&, int64_t);

}}  // namespace anamorph::AM_LEVEL
