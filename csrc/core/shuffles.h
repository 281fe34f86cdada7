// Lanes in another order, on a CPU: pixels whose channels lie side by side are taken apart into packs of a channel each, and put
// together again.
#pragma once
#include <utility>
#include "simd.h"

namespace anamorph { namespace AM_LEVEL {

// Lane k of the result is lane Order::at(k) of a and b, one after the other.
template <class Order, int... K> AM_HD Floats shuffle(Floats a, Floats b, std::integer_sequence<int, K...>) {
#if defined(__clang__)
    return Floats(__builtin_shufflevector(a.v, b.v, Order::at(K)...));
#else
    return Floats(__builtin_shuffle(a.v, b.v, IntBits{Order::at(K)...}));
#endif
}

// Pack TO of the result, made by taking over from one pack after the other what lies in it. What pack FROM is taken into holds the
// lanes of those before it in their places, and the lanes of pack 0 where they were.
template <class Source, int TO, int FROM> struct Takeover {
    static constexpr int at(int k) {
        int pack = Source::pack(TO, k), lane = Source::lane(TO, k);
        return pack == FROM ? LANES + lane : pack == 0 && FROM == 1 ? lane : k;
    }
};
template <int C, class Source, int TO, int FROM = 1> AM_HD Floats gathered(const Floats* v, Floats sum) {
    if constexpr (FROM < C) {
        sum = shuffle<Takeover<Source, TO, FROM>>(sum, v[FROM], std::make_integer_sequence<int, LANES>());
        return gathered<C, Source, TO, FROM + 1>(v, sum);
    }
    return sum;
}
template <int C, class Source, int TO = 0> AM_HD void rearrange(const Floats* v, Floats* out) {
    if constexpr (TO < C) {
        out[TO] = gathered<C, Source, TO>(v, v[0]);
        rearrange<C, Source, TO + 1>(v, out);
    }
}

// Where channel c of pixel k lies.
template <int C> struct Apart {
    static constexpr int pack(int c, int k) { return (k * C + c) / LANES; }
    static constexpr int lane(int c, int k) { return (k * C + c) % LANES; }
};
// Where value k of pack `to` of pixels side by side comes from.
template <int C> struct Together {
    static constexpr int pack(int to, int k) { return (to * LANES + k) % C; }
    static constexpr int lane(int to, int k) { return (to * LANES + k) / C; }
};
struct Backwards {
    static constexpr int at(int k) { return LANES - 1 - k; }
};

// Of each four lanes the first two (UPPER: the last two) of a and of b: SINGLY in turns, or a's before b's.
template <bool UPPER, bool SINGLY> struct Halves {
    static constexpr int at(int k) {
        int lane = k % 4, of = SINGLY ? lane / 2 : lane % 2, from_b = SINGLY ? lane % 2 : lane / 2;
        return k / 4 * 4 + of + (UPPER ? 2 : 0) + from_b * LANES;
    }
};
template <bool UPPER, bool SINGLY> AM_HD Floats halves(Floats a, Floats b) {
    return shuffle<Halves<UPPER, SINGLY>>(a, b, std::make_integer_sequence<int, LANES>());
}

// Four values each from LANES / 4 places, `step` values apart.
AM_HD Floats load_quads(const float* p, int64_t step) {
#if defined(__AVX512F__)
    __m512 v = _mm512_castps128_ps512(_mm_loadu_ps(p));
    v = _mm512_insertf32x4(v, _mm_loadu_ps(p + step), 1);
    v = _mm512_insertf32x4(v, _mm_loadu_ps(p + 2 * step), 2);
    return Floats((FloatBits)_mm512_insertf32x4(v, _mm_loadu_ps(p + 3 * step), 3));
#elif defined(__AVX2__)
    return Floats((FloatBits)_mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), _mm_loadu_ps(p + step), 1));
#else
    (void)step;
    return Floats::load(p);
#endif
}

AM_HD void store_quads(Floats v, float* p, int64_t step) {
    for (int k = 0; k < LANES / 4; ++k)
        std::memcpy(p + k * step, reinterpret_cast<const float*>(&v.v) + 4 * k, 4 * sizeof(float));
}

// Of each four lanes two of a, then two of b.
template <int A0, int A1, int B0, int B1> struct InFours {
    static constexpr int at(int k) {
        const int lane[] = {A0, A1, LANES + B0, LANES + B1};
        return k / 4 * 4 + lane[k % 4];
    }
};
template <int A0, int A1, int B0, int B1> AM_HD Floats in_fours(Floats a, Floats b) {
    return shuffle<InFours<A0, A1, B0, B1>>(a, b, std::make_integer_sequence<int, LANES>());
}

// A pack of points, three coordinates side by side, to a pack for each coordinate, and back: shuffles within four lanes, which
// processors do faster than any others.
AM_HD void load_points(const float* p, Floats& x, Floats& y, Floats& z) {
    const Floats a = load_quads(p, 12), b = load_quads(p + 4, 12), c = load_quads(p + 8, 12);
    const Floats xy = in_fours<2, 3, 1, 2>(b, c), yz = in_fours<1, 2, 0, 1>(a, b);
    x = in_fours<0, 3, 0, 2>(a, xy);
    y = in_fours<0, 2, 1, 3>(yz, xy);
    z = in_fours<1, 3, 0, 3>(yz, c);
}
AM_HD void store_points(Floats x, Floats y, Floats z, float* p) {
    const Floats xy = in_fours<0, 2, 0, 2>(x, y), yz = in_fours<1, 3, 1, 3>(y, z), zx = in_fours<0, 2, 1, 3>(z, x);
    store_quads(in_fours<0, 2, 0, 2>(xy, zx), p, 12);
    store_quads(in_fours<0, 2, 1, 3>(yz, xy), p + 4, 12);
    store_quads(in_fours<1, 3, 1, 3>(zx, yz), p + 8, 12);
}

// The columns of LANES x LANES values in rows that begin `step` apart: put(number, column).
template <class Put> AM_HD void transpose(const float* rows, int64_t step, const Put& put) {
#pragma GCC unroll 4
    for (int x = 0; x < LANES; x += 4) {
        Floats v[4];
#pragma GCC unroll 4
        for (int k = 0; k < 4; ++k) v[k] = load_quads(rows + k * step + x, 4 * step);
        Floats a = halves<false, true>(v[0], v[1]), b = halves<false, true>(v[2], v[3]);
        Floats c = halves<true, true>(v[0], v[1]), d = halves<true, true>(v[2], v[3]);
        put(x, halves<false, false>(a, b));
        put(x + 1, halves<true, false>(a, b));
        put(x + 2, halves<false, false>(c, d));
        put(x + 3, halves<true, false>(c, d));
    }
}

// C packs of pixels side by side to a pack for each channel, and back.
template <int C> AM_HD void take_apart(const Floats* v, Floats* out) { rearrange<C, Apart<C>>(v, out); }
template <int C> AM_HD void put_together(const Floats* v, Floats* out) { rearrange<C, Together<C>>(v, out); }
AM_HD Floats reversed(Floats v) { return shuffle<Backwards>(v, v, std::make_integer_sequence<int, LANES>()); }

}}  // namespace anamorph::AM_LEVEL
