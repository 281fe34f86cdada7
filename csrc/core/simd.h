// Numbers in packs. The ops' headers are templates over F: `float`, or `Floats` of several lanes (4, 8 or 16 on a CPU, by
// the flags this file is compiled with; on a GPU the four pixels of a thread). Both understand + - * / < and the
// functions below, so the arithmetic of an op is written once.
#pragma once
#include <cstdint>
#include <cstring>
#include "macros.h"
#if !defined(__CUDACC__)
#include <immintrin.h>
#endif

namespace anamorph { namespace AM_LEVEL {

// ---- one lane ----
AM_HD float min_(float a, float b) { return a < b ? a : b; }
AM_HD float max_(float a, float b) { return a > b ? a : b; }
AM_HD int min_(int a, int b) { return a < b ? a : b; }
AM_HD int max_(int a, int b) { return a > b ? a : b; }
AM_HD float select(bool m, float a, float b) { return m ? a : b; }
AM_HD int select(bool m, int a, int b) { return m ? a : b; }
AM_HD int to_int(float a) { return int(a); }
AM_HD float to_float(int a) { return float(a); }
AM_HD float floor_(float a) {
#if defined(__CUDA_ARCH__)
    return floorf(a);
#else
    float t = float(int(a));
    return t > a ? t - 1.0f : t;
#endif
}

#if !defined(__CUDACC__)
#if defined(__AVX512F__)
enum : int { LANES = 16 };
#elif defined(__AVX2__)
enum : int { LANES = 8 };
#else
enum : int { LANES = 4 };
#endif
typedef float FloatBits __attribute__((vector_size(LANES * 4), may_alias));
typedef int32_t IntBits __attribute__((vector_size(LANES * 4), may_alias));

struct Mask { IntBits v; };  // all ones or zero in each lane
struct Ints {
    IntBits v;
    Ints() = default;
    AM_HD Ints(IntBits x) : v(x) {}
    AM_HD Ints(int x) : v(IntBits{} + x) {}
};
struct Floats {
    FloatBits v;
    Floats() = default;
    AM_HD Floats(FloatBits x) : v(x) {}
    AM_HD Floats(float x) : v(FloatBits{} + x) {}
    static AM_HD Floats load(const float* p) {
        FloatBits x;
        std::memcpy(&x, p, sizeof x);
        return x;
    }
    AM_HD void store(float* p) const { std::memcpy(p, &v, sizeof v); }
    static AM_HD Floats iota() {
        FloatBits x;
        for (int i = 0; i < LANES; ++i) x[i] = float(i);
        return x;
    }
};

#define AM_BINARY(T, op) AM_HD T operator op(T a, T b) { return T(a.v op b.v); }
AM_BINARY(Floats, +) AM_BINARY(Floats, -) AM_BINARY(Floats, *) AM_BINARY(Floats, /)
AM_BINARY(Ints, +) AM_BINARY(Ints, -) AM_BINARY(Ints, *) AM_BINARY(Ints, &)
#undef AM_BINARY
AM_HD Floats operator-(Floats a) { return Floats(-a.v); }
#define AM_COMPARE(T, op) AM_HD Mask operator op(T a, T b) { return {(IntBits)(a.v op b.v)}; }
AM_COMPARE(Floats, <) AM_COMPARE(Floats, >) AM_COMPARE(Floats, <=) AM_COMPARE(Floats, >=) AM_COMPARE(Floats, ==)
AM_COMPARE(Ints, <) AM_COMPARE(Ints, >) AM_COMPARE(Ints, <=) AM_COMPARE(Ints, >=) AM_COMPARE(Ints, ==)
#undef AM_COMPARE
AM_HD Mask operator&&(Mask a, Mask b) { return {a.v & b.v}; }

AM_HD Floats select(Mask m, Floats a, Floats b) { return Floats((FloatBits)(m.v ? a.v : b.v)); }
AM_HD Ints select(Mask m, Ints a, Ints b) { return Ints((IntBits)(m.v ? a.v : b.v)); }
AM_HD Ints to_int(Floats a) { return Ints(__builtin_convertvector(a.v, IntBits)); }
AM_HD Floats to_float(Ints a) { return Floats(__builtin_convertvector(a.v, FloatBits)); }
AM_HD int64_t load_long(const uint8_t* p) {
    int64_t w;
    std::memcpy(&w, p, 8);
    return w;
}
// load_doubles: eight bytes from each place, as their low and high words. Plain loads: gathers are slower on many CPUs.
#if defined(__AVX512F__)
AM_HD Floats min_(Floats a, Floats b) { return Floats((FloatBits)_mm512_min_ps((__m512)a.v, (__m512)b.v)); }
AM_HD Floats max_(Floats a, Floats b) { return Floats((FloatBits)_mm512_max_ps((__m512)a.v, (__m512)b.v)); }
AM_HD Ints min_(Ints a, Ints b) { return Ints((IntBits)_mm512_min_epi32((__m512i)a.v, (__m512i)b.v)); }
AM_HD Ints max_(Ints a, Ints b) { return Ints((IntBits)_mm512_max_epi32((__m512i)a.v, (__m512i)b.v)); }
AM_HD Floats floor_(Floats a) {
    return Floats((FloatBits)_mm512_roundscale_ps((__m512)a.v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC));
}
AM_HD Ints gather_words(const uint8_t* base, Ints at) {
    return Ints((IntBits)_mm512_i32gather_epi32((__m512i)at.v, base, 1));
}
AM_HD Ints shift_right(Ints a, Ints n) { return Ints((IntBits)_mm512_srlv_epi32((__m512i)a.v, (__m512i)n.v)); }
AM_HD bool any(Mask m) { return _mm512_test_epi32_mask((__m512i)m.v, (__m512i)m.v) != 0; }
AM_HD __m512i load_eight(const uint8_t* base, const int32_t* i) {
    return _mm512_set_epi64(load_long(base + i[7]), load_long(base + i[6]), load_long(base + i[5]), load_long(base + i[4]),
                            load_long(base + i[3]), load_long(base + i[2]), load_long(base + i[1]), load_long(base + i[0]));
}
AM_HD void load_doubles(const uint8_t* base, Ints at, Ints& low, Ints& high) {
    alignas(64) int32_t i[16];
    std::memcpy(i, &at.v, sizeof i);
    __m512i a = load_eight(base, i), b = load_eight(base, i + 8);
    const __m512i even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    low = Ints((IntBits)_mm512_permutex2var_epi32(a, even, b));
    high = Ints((IntBits)_mm512_permutex2var_epi32(a, _mm512_add_epi32(even, _mm512_set1_epi32(1)), b));
}
template <int N> AM_HD Ints shift_right(Ints a) { return Ints((IntBits)_mm512_srli_epi32((__m512i)a.v, N)); }
#elif defined(__AVX2__)
AM_HD Floats min_(Floats a, Floats b) { return Floats((FloatBits)_mm256_min_ps((__m256)a.v, (__m256)b.v)); }
AM_HD Floats max_(Floats a, Floats b) { return Floats((FloatBits)_mm256_max_ps((__m256)a.v, (__m256)b.v)); }
AM_HD Ints min_(Ints a, Ints b) { return Ints((IntBits)_mm256_min_epi32((__m256i)a.v, (__m256i)b.v)); }
AM_HD Ints max_(Ints a, Ints b) { return Ints((IntBits)_mm256_max_epi32((__m256i)a.v, (__m256i)b.v)); }
AM_HD Floats floor_(Floats a) { return Floats((FloatBits)_mm256_floor_ps((__m256)a.v)); }
AM_HD Ints gather_words(const uint8_t* base, Ints at) {
    return Ints((IntBits)_mm256_i32gather_epi32((const int*)base, (__m256i)at.v, 1));
}
AM_HD Ints shift_right(Ints a, Ints n) { return Ints((IntBits)_mm256_srlv_epi32((__m256i)a.v, (__m256i)n.v)); }
AM_HD __m256 load_four(const uint8_t* base, const int32_t* i) {
    return _mm256_castsi256_ps(_mm256_set_epi64x(load_long(base + i[5]), load_long(base + i[4]), load_long(base + i[1]),
                                                 load_long(base + i[0])));
}
AM_HD bool any(Mask m) { return _mm256_movemask_epi8((__m256i)m.v) != 0; }
AM_HD void load_doubles(const uint8_t* base, Ints at, Ints& low, Ints& high) {
    alignas(32) int32_t i[8];
    std::memcpy(i, &at.v, sizeof i);
    __m256 a = load_four(base, i), b = load_four(base, i + 2);  // lanes 0 1 4 5 and 2 3 6 7: shuffles work within halves
    low = Ints((IntBits)_mm256_castps_si256(_mm256_shuffle_ps(a, b, 0x88)));
    high = Ints((IntBits)_mm256_castps_si256(_mm256_shuffle_ps(a, b, 0xDD)));
}
template <int N> AM_HD Ints shift_right(Ints a) { return Ints((IntBits)_mm256_srli_epi32((__m256i)a.v, N)); }
#else
AM_HD Floats min_(Floats a, Floats b) { return select(a < b, a, b); }
AM_HD Floats max_(Floats a, Floats b) { return select(a > b, a, b); }
AM_HD Ints min_(Ints a, Ints b) { return select(a < b, a, b); }
AM_HD Ints max_(Ints a, Ints b) { return select(a > b, a, b); }
AM_HD Floats floor_(Floats a) {
    Floats t = to_float(to_int(a));
    return select(t > a, t - Floats(1.0f), t);
}
AM_HD Ints gather_words(const uint8_t* base, Ints at) {
    IntBits r;
    for (int i = 0; i < LANES; ++i) {
        int32_t w;
        std::memcpy(&w, base + at.v[i], 4);
        r[i] = w;
    }
    return r;
}
AM_HD bool any(Mask m) { return (m.v[0] | m.v[1] | m.v[2] | m.v[3]) != 0; }
AM_HD void load_doubles(const uint8_t* base, Ints at, Ints& low, Ints& high) {
    for (int i = 0; i < LANES; ++i) {
        int64_t w = load_long(base + at.v[i]);
        low.v[i] = int32_t(w);
        high.v[i] = int32_t(w >> 32);
    }
}
AM_HD Ints shift_right(Ints a, Ints n) {
    IntBits r;
    for (int i = 0; i < LANES; ++i) r[i] = int32_t(uint32_t(a.v[i]) >> n.v[i]);
    return r;
}
template <int N> AM_HD Ints shift_right(Ints a) { return shift_right(a, Ints(N)); }
#endif
#else   // __CUDACC__
enum : int { LANES = 4 };
struct Mask { bool v[LANES]; };
struct Floats {
    float v[LANES];
    Floats() = default;
    AM_HD Floats(float x) {
        for (int i = 0; i < LANES; ++i) v[i] = x;
    }
};
#define AM_LANES(R, name, T, expression)    \
    AM_HD R name(T a, T b) {                \
        R r;                                \
        for (int i = 0; i < LANES; ++i) r.v[i] = expression; \
        return r;                           \
    }
AM_LANES(Floats, operator+, Floats, a.v[i] + b.v[i]) AM_LANES(Floats, operator-, Floats, a.v[i] - b.v[i])
AM_LANES(Floats, operator*, Floats, a.v[i] * b.v[i]) AM_LANES(Floats, operator/, Floats, a.v[i] / b.v[i])
AM_LANES(Mask, operator>, Floats, a.v[i] > b.v[i]) AM_LANES(Mask, operator<, Floats, a.v[i] < b.v[i])
AM_LANES(Mask, operator>=, Floats, a.v[i] >= b.v[i]) AM_LANES(Mask, operator==, Floats, a.v[i] == b.v[i])
AM_LANES(Floats, min_, Floats, fminf(a.v[i], b.v[i])) AM_LANES(Floats, max_, Floats, fmaxf(a.v[i], b.v[i]))
AM_LANES(Mask, operator&&, Mask, a.v[i] && b.v[i])
#undef AM_LANES
AM_HD Floats select(Mask m, Floats a, Floats b) {
    for (int i = 0; i < LANES; ++i) a.v[i] = m.v[i] ? a.v[i] : b.v[i];
    return a;
}
AM_HD Floats floor_(Floats a) {
    for (int i = 0; i < LANES; ++i) a.v[i] = floor_(a.v[i]);
    return a;
}
#endif  // __CUDACC__

template <class F> AM_HD F clamp_(F x, F low, F high) { return min_(max_(x, low), high); }
template <class F> AM_HD F unit_clamp(F x) { return clamp_(x, F(0.0f), F(1.0f)); }

template <class F> struct IntOf { using type = int; };
#if !defined(__CUDACC__)
template <> struct IntOf<Floats> { using type = Ints; };
#endif

}}  // namespace anamorph::AM_LEVEL
