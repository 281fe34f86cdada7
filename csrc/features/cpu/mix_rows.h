// mix.h, a part of a row at a time.
#pragma once
#include "../mix.h"
#include "packs.h"

namespace anamorph { namespace AM_LEVEL {

AM_HD Floats chosen(const uint8_t* holes, Floats a, Floats b) { return select(load_pack(holes) > Floats(0.0f), a, b); }
AM_HD float chosen(const uint8_t* holes, float a, float b) { return *holes ? a : b; }
AM_HD double chosen(const uint8_t* holes, double a, double b) { return *holes ? a : b; }

template <class T> void mix_row(const RowMixArgs<T>& a, int64_t b, int64_t first, int64_t last) {
    const auto own = a.own[b], other = a.other[b];
    const T *x = a.x + b * a.size + first, *y = a.x + partner_of(a.partner, b, a.batch) * a.size + first;
    T* out = a.out + b * a.size + first;
    const uint8_t* holes = a.holes ? a.holes + first : nullptr;
    over<T>(last - first, [&](int64_t i, auto kind) {
        const auto v = take(x + i, kind), made = mixed(own, other, v, take(y + i, kind));
        put(holes ? chosen(holes + i, made, v) : made, out + i);
    });
}

template void mix_row(const RowMixArgs<float>&, int64_t, int64_t, int64_t);
template void mix_row(const RowMixArgs<double>&, int64_t, int64_t, int64_t);
template void mix_row(const RowMixArgs<Half>&, int64_t, int64_t, int64_t);
template void mix_row(const RowMixArgs<BFloat>&, int64_t, int64_t, int64_t);

}}  // namespace anamorph::AM_LEVEL
