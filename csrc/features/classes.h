// The moments of the features of each class: how many, their mean, and for each dimension the squares of their distances from it, added
// up. Rows come in the order of their classes: those of class c are order[first[c]] .. order[first[c + 1] - 1].
#pragma once
#include <cstdint>
#include "../core/macros.h"
#include "planes.h"

namespace anamorph {

template <class S> struct ClassArgs {
    const S* x;  // [rows, size]
    const int64_t *order, *first;
    S *mean, *squares;  // [classes, size]
    int64_t rows, size, classes;
};

namespace AM_LEVEL {

AM_HD int64_t inside(int64_t i, int64_t n) { return i < 0 ? 0 : i > n ? n : i; }

}  // namespace AM_LEVEL

template <class S> void class_moments_cpu(const ClassArgs<S>&, int threads);
template <class S> void class_moments_cuda(const ClassArgs<S>&, void* stream);

}  // namespace anamorph
