// Rows of a batch with their partners: out[b] = own[b] x[b] + other[b] x[partner[b]], everywhere or in holes that all samples share
// (out[b] = x[b] elsewhere). A weight of 0 takes nothing: what is not finite there is not seen. The gradient of a mix is one too, with the
// inverse of the permutation and the others' weights.
#pragma once
#include <cstdint>
#include "../core/halves.h"
#include "../core/macros.h"
#include "planes.h"

namespace anamorph {

template <class T> struct RowMixArgs {
    using S = typename StatOf<T>::type;
    const T* x;
    T* out;
    const int64_t* partner;
    const S *own, *other;  // [batch]
    const uint8_t* holes;  // [size], or null
    int64_t batch, size;
};

constexpr int64_t MIX_CHUNK = 8192;

namespace AM_LEVEL {

template <class S, class F> AM_HD F mixed(S own, S other, F x, F y) {
    if (other == S(0)) return own == S(1) ? x : x * F(own);
    if (own == S(0)) return other == S(1) ? y : y * F(other);
    return x * F(own) + y * F(other);
}
// A partner that is none is nobody: a place read from memory is one whatever is there.
AM_HD int64_t partner_of(const int64_t* partner, int64_t b, int64_t batch) {
    const int64_t p = partner[b];
    return p >= 0 && p < batch ? p : b;
}

}  // namespace AM_LEVEL

template <class T> void mix_rows_cpu(const RowMixArgs<T>&, int threads);
template <class T> void mix_rows_cuda(const RowMixArgs<T>&, void* stream);

}  // namespace anamorph
