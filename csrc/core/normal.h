// Normal numbers by their place: no state, so any thread may ask for any of them, one by one or in packs.
#pragma once
#include <cstdint>
#include "simd.h"

namespace anamorph { namespace AM_LEVEL {

// Word `at` of the sequence that two keys name. Each step can be undone, so no word of the first 2^32 comes twice; the second key
// stands between the two products, where sequences with near first keys would else be one another's continuation. The
// multipliers: C. Wellons' and T. Peters' search for those that mix best.
template <class W> AM_HD W word_at(W at, uint32_t key, uint32_t second) {
    W h = at + W(key);
    h = (h ^ h >> 16) * W(0x21F0AAADu);
    h = ((h ^ h >> 15) + W(second)) * W(0x735A2D97u);
    return h ^ h >> 15;
}

// The sum of n terms: the first, the second times x, the third times x * x ...
template <class F, class... Terms> AM_HD F horner(F x, float first, Terms... rest) {
    if constexpr (sizeof...(rest) == 0) return F(first);
    else return horner(x, rest...) * x + F(first);
}

// The normal number that a random word stands for, which is monotonic in its upper 24 bits: t, on (0, 1], is how likely a number
// farther from 0 is, and the lowest bit its sign. With w = -log t (2 - t) its size is sqrt(w) times a function that hardly
// bends, a polynomial here. Off by 4e-6 at most; the largest is 5.4.
template <class W> AM_HD typename FloatOf<W>::type normal(W word) {
    using F = typename FloatOf<W>::type;
    F t = (signed_float(word >> 8) + F(0.5f)) * F(5.9604644775390625e-08f), x = F(1.0f) - t, v = t * (F(2.0f) - t);
    // v = 2^e (1 + f), f from -1/3 to 1/3. Where e is 0, 1 + f would have lost what x * x says of f.
    W up = float_bits(v) - W(0x3F2AAAABu - (64u << 23));  // e + 64 in the upper bits
    F f = select(v >= F(0.6666667f), F(0.0f) - x * x, v * bits_float(W(0x5F800000u) - (up & W(0xFF800000u))) - F(1.0f));
    F log = horner(f, 0.9999998f, -0.4999993f, 0.3333799f, -0.25008026f, 0.1979503f, -0.16412799f, 0.17111227f, -0.15403156f);
    F w = F(0.0f) - (signed_float((up >> 23) - W(64u)) * F(0.69314718f) + log * f);
    F size = sqrt_(w) * horner(w, 1.253328f, 0.014723749f, -3.3109874e-04f, -1.4174475e-04f, 2.3437595e-05f, -1.8595233e-06f,
                               8.4170814e-08f, -2.076614e-09f, 2.1685658e-11f);
    return bits_float(float_bits(size) ^ word << 31);
}

}}  // namespace anamorph::AM_LEVEL
