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

template <class S> void class_moments_cpu(const ClassArgs<S>&, int threads);
template <class S> void class_moments_cuda(const ClassArgs<S>&, void* stream);

}  // namespace anamorph
