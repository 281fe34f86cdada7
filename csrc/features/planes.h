// The statistics of feature maps and what is done with them: style. A plane is one channel of one sample, its area H * W or whatever
// stands behind the channels; planes lie one after the other (NCHW), or side by side (channels last).
//     moments   mean and unbiased variance of each plane
//     affine    out = (x - mean) * scale + shift
//     sums      of g, and of g * (x - mean): what a gradient needs before
//     combine   out = g * scale + (x - mean) * slope + shift: what it is then
// x, g and out are of one dtype; everything of a plane is float, or double for doubles.
#pragma once
#include <cstdint>
#include "../core/halves.h"
#include "../core/macros.h"

namespace anamorph {

template <class T> struct StatOf {
    using type = float;
};
template <> struct StatOf<double> {
    using type = double;
};

// A place read from memory is one, whatever a tensor on a GPU holds.
AM_HD int64_t inside(int64_t i, int64_t n) { return i < 0 ? 0 : i > n ? n : i; }

template <class T> struct PlaneArgs {
    using S = typename StatOf<T>::type;
    const T *x, *g;
    T* out;
    const S *mean, *scale, *slope, *shift;  // [batch, channels] each
    S *first, *second;                      // mean and variance, or the two sums
    int64_t batch, channels, area;
    bool last;  // channels last
};

// So many values are looked at twice at a time: for their mean, then for how far they are from it.
constexpr int64_t PLANE_CHUNK = 4096, LAST_ROWS = 32;

namespace AM_LEVEL {

// Numbers seen so far: how many, their mean, and the squares of their distances from it, added up. Two of them are one (Chan, Golub and
// LeVeque, 1979).
template <class S> struct Seen {
    S count, mean, squares;
    AM_HD void merge(S n, S its_mean, S its_squares) {
        if (n == S(0)) return;
        const S all = count + n, far = its_mean - mean, share = n / all;
        mean = mean + far * share;
        squares = squares + its_squares + far * far * count * share;
        count = all;
    }
};

}  // namespace AM_LEVEL

template <class T> void moments_cpu(const PlaneArgs<T>&, int threads);
template <class T> void affine_cpu(const PlaneArgs<T>&, int threads);
template <class T> void sums_cpu(const PlaneArgs<T>&, int threads);
template <class T> void combine_cpu(const PlaneArgs<T>&, int threads);
template <class T> void moments_cuda(const PlaneArgs<T>&, void* stream);
template <class T> void affine_cuda(const PlaneArgs<T>&, void* stream);
template <class T> void sums_cuda(const PlaneArgs<T>&, void* stream);
template <class T> void combine_cuda(const PlaneArgs<T>&, void* stream);

}  // namespace anamorph
