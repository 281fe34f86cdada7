// Numbers in packs. The ops' headers are templates over F: `float`, or `Floats` of several lanes (4, 8 or 16 on a CPU, by
// the flags this file is compiled with; on a GPU the four pixels of a thread). Both understand + - * / < and the
// functions below, so the arithmetic of an op is written once.
#pragma once
#include <math.h>

#include <cstdint>
#include <cstring>
#include "halves.h"
#if defined(__AVX2__) && !defined(__CUDACC__)
#include <immintrin.h>
#endif

namespace anamorph { namespace AM_LEVEL {

// ---- one lane ----
#if defined(__CUDA_ARCH__)  // one instruction each, where a choice takes two
AM_HD float min_(float a, float b) { return fminf(a, b); }
AM_HD float max_(float a, float b) { return fmaxf(a, b); }
#else
AM_HD float min_(float a, float b) { return a < b ? a : b; }
AM_HD float max_(float a, float b) { return a > b ? a : b; }
#endif
AM_HD int min_(int a, int b) { return a < b ? a : b; }
AM_HD int max_(int a, int b) { return a > b ? a : b; }
AM_HD float select(bool m, float a, float b) { return m ? a : b; }
AM_HD int select(bool m, int a, int b) { return m ? a : b; }
AM_HD int to_int(float a) { return int(a); }
AM_HD float to_float(int a) { return float(a); }
AM_HD float to_float(float a) { return a; }
AM_HD float reciprocal(float a) { return 1.0f / a; }
AM_HD float abs_(float a) { return fabsf(a); }
AM_HD float sqrt_(float a) { return sqrtf(a); }
AM_HD uint32_t float_bits(float a) { return uint32_t(float_word(a)); }
AM_HD float bits_float(uint32_t a) { return word_float(int32_t(a)); }
AM_HD float signed_float(uint32_t a) { return float(int32_t(a)); }
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
AM_HD int packs_below(int x) { return x / LANES * LANES; }
AM_HD int packs_above(int x) { return packs_below(x + LANES - 1); }
typedef float FloatBits __attribute__((vector_size(LANES * 4), may_alias));
typedef int32_t IntBits __attribute__((vector_size(LANES * 4), may_alias));
typedef uint32_t WordBits __attribute__((vector_size(LANES * 4), may_alias));
typedef uint16_t ShortBits __attribute__((vector_size(LANES * 2), may_alias));
typedef uint8_t ByteBits __attribute__((vector_size(LANES), may_alias));

struct Ints {
    IntBits v;
    Ints() = default;
    AM_HD Ints(IntBits x) : v(x) {}
    AM_HD Ints(int x) : v(IntBits{} + x) {}
    AM_HD void store(int32_t* p) const { std::memcpy(p, &v, sizeof v); }
};
struct Words {  // without a sign
    WordBits v;
    Words() = default;
    AM_HD Words(WordBits x) : v(x) {}
    AM_HD explicit Words(Ints x) : v((WordBits)x.v) {}
    AM_HD Words(uint32_t x) : v(WordBits{} + x) {}
};
struct Floats {
    FloatBits v;
    Floats() = default;
    AM_HD Floats(FloatBits x) : v(x) {}
    AM_HD Floats(float x) : v(x - FloatBits{}) {}  // not 0 + x, which is an addition where x may be -0
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

// clang-format off
#define AM_BINARY(T, op) AM_HD T operator op(T a, T b) { return T(a.v op b.v); }
AM_BINARY(Floats, +) AM_BINARY(Floats, -) AM_BINARY(Floats, *) AM_BINARY(Floats, /)
AM_BINARY(Ints, +) AM_BINARY(Ints, -) AM_BINARY(Ints, *)
AM_BINARY(Words, +) AM_BINARY(Words, -) AM_BINARY(Words, *) AM_BINARY(Words, ^) AM_BINARY(Words, &)
#undef AM_BINARY
AM_HD Words operator>>(Words a, int bits) { return Words(a.v >> bits); }
AM_HD Words operator<<(Words a, int bits) { return Words(a.v << bits); }
AM_HD Floats operator-(Floats a) { return Floats(-a.v); }
// clang-format on
#if defined(__AVX512F__)
struct Mask {
    __mmask16 v;
};
// clang-format off
#define AM_COMPARE(op, float_code, int_code)                                                                        \
    AM_HD Mask operator op(Floats a, Floats b) { return {_mm512_cmp_ps_mask((__m512)a.v, (__m512)b.v, float_code)}; } \
    AM_HD Mask operator op(Ints a, Ints b) { return {_mm512_cmp_epi32_mask((__m512i)a.v, (__m512i)b.v, int_code)}; }
AM_COMPARE(<, _CMP_LT_OQ, _MM_CMPINT_LT) AM_COMPARE(>, _CMP_GT_OQ, _MM_CMPINT_NLE) AM_COMPARE(==, _CMP_EQ_OQ, _MM_CMPINT_EQ)
AM_COMPARE(<=, _CMP_LE_OQ, _MM_CMPINT_LE) AM_COMPARE(>=, _CMP_GE_OQ, _MM_CMPINT_NLT)
AM_HD Mask operator&&(Mask a, Mask b) { return {__mmask16(a.v & b.v)}; }
// clang-format on
AM_HD bool all(Mask m) { return m.v == 0xFFFF; }
AM_HD Floats select(Mask m, Floats a, Floats b) { return Floats((FloatBits)_mm512_mask_blend_ps(m.v, (__m512)b.v, (__m512)a.v)); }
AM_HD Ints select(Mask m, Ints a, Ints b) { return Ints((IntBits)_mm512_mask_blend_epi32(m.v, (__m512i)b.v, (__m512i)a.v)); }
#else
struct Mask {
    IntBits v;
};  // all ones or zero in each lane
// clang-format off
#define AM_COMPARE(op)                                                              \
    AM_HD Mask operator op(Floats a, Floats b) { return {(IntBits)(a.v op b.v)}; } \
    AM_HD Mask operator op(Ints a, Ints b) { return {(IntBits)(a.v op b.v)}; }
AM_COMPARE(<) AM_COMPARE(>) AM_COMPARE(==) AM_COMPARE(<=) AM_COMPARE(>=)
AM_HD Mask operator&&(Mask a, Mask b) { return {a.v & b.v}; }
// clang-format on
AM_HD bool all(Mask m) {
#if defined(__AVX2__)
    return _mm256_movemask_ps((__m256)m.v) == 0xFF;
#else
    int lanes = -1;
    for (int i = 0; i < LANES; ++i) lanes &= m.v[i];
    return lanes != 0;
#endif
}
AM_HD Floats select(Mask m, Floats a, Floats b) { return Floats((FloatBits)(m.v ? a.v : b.v)); }
AM_HD Ints select(Mask m, Ints a, Ints b) { return Ints((IntBits)(m.v ? a.v : b.v)); }
#endif
#undef AM_COMPARE

AM_HD Floats select(bool m, Floats a, Floats b) { return m ? a : b; }
AM_HD Ints to_int(Floats a) { return Ints(__builtin_convertvector(a.v, IntBits)); }
AM_HD Floats to_float(Ints a) { return Floats(__builtin_convertvector(a.v, FloatBits)); }
AM_HD int highest(Ints a) {
    int32_t v[LANES];
    a.store(v);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int k = 0; k < half; ++k) v[k] = max_(v[k], v[k + half]);
    return v[0];
}
AM_HD Words float_bits(Floats a) { return Words((WordBits)a.v); }
AM_HD Floats bits_float(Words a) { return Floats((FloatBits)a.v); }
AM_HD Floats signed_float(Words a) { return to_float(Ints((IntBits)a.v)); }
AM_HD Floats abs_(Floats a) { return Floats((FloatBits)((IntBits)a.v & 0x7FFFFFFF)); }
// byte<K>: byte K of each lane's words d[0], d[1], ..., counted from the lowest. A shuffle does a shift's and a mask's work.
template <int K> AM_HD Floats byte(const Ints* d) {
    WordBits w = (WordBits)d[K / 4].v;
    if constexpr (K % 4 == 0) w = w & 255;
    else if constexpr (K % 4 == 3) w = w >> 24;
#if defined(__AVX512F__)
    else
        w = (WordBits)_mm512_shuffle_epi8((__m512i)w,
                                          _mm512_set4_epi32(-0xF4 + K % 4, -0xF8 + K % 4, -0xFC + K % 4, -0x100 + K % 4));
#elif defined(__AVX2__)
    else
        w = (WordBits)_mm256_shuffle_epi8(
            (__m256i)w, _mm256_set_epi32(-0xF4 + K % 4, -0xF8 + K % 4, -0xFC + K % 4, -0x100 + K % 4, -0xF4 + K % 4,
                                         -0xF8 + K % 4, -0xFC + K % 4, -0x100 + K % 4));
#else
    else w = w >> (K % 4 * 8) & 255;
#endif
    return to_float(Ints((IntBits)w));
}
// deal<W>: to each lane its own W words, which lie side by side in memory (W = 2: eight bytes apart, 3 or 4: sixteen).
#if defined(__AVX512F__)
AM_HD Floats min_(Floats a, Floats b) { return Floats((FloatBits)_mm512_min_ps((__m512)a.v, (__m512)b.v)); }
AM_HD Floats max_(Floats a, Floats b) { return Floats((FloatBits)_mm512_max_ps((__m512)a.v, (__m512)b.v)); }
AM_HD Ints min_(Ints a, Ints b) { return Ints((IntBits)_mm512_min_epi32((__m512i)a.v, (__m512i)b.v)); }
AM_HD Ints max_(Ints a, Ints b) { return Ints((IntBits)_mm512_max_epi32((__m512i)a.v, (__m512i)b.v)); }
AM_HD Floats sqrt_(Floats a) { return Floats((FloatBits)_mm512_sqrt_ps((__m512)a.v)); }
AM_HD Floats floor_(Floats a) {
    return Floats((FloatBits)_mm512_roundscale_ps((__m512)a.v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC));
}
// load_pack and store_pack: numbers of any kind, side by side. narrowed: the bits of such numbers.
AM_HD Floats load_pack(const uint8_t* p) {
    return Floats((FloatBits)_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)p))));
}
AM_HD Floats load_pack(const Half* p) { return Floats((FloatBits)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p))); }
AM_HD ShortBits narrowed(Floats a, const Half*) { return (ShortBits)_mm512_cvtps_ph((__m512)a.v, _MM_FROUND_TO_NEAREST_INT); }
AM_HD void stream_bits(void* p, FloatBits x) { _mm512_stream_si512((__m512i*)p, (__m512i)x); }
AM_HD void stream_bits(void* p, ShortBits x) { _mm256_stream_si256((__m256i*)p, (__m256i)x); }
AM_HD void stream_bits(void* p, ByteBits x) { _mm_stream_si128((__m128i*)p, (__m128i)x); }
AM_HD void stream_end() { _mm_sfence(); }
AM_HD Floats reciprocal(Floats a) {  // one Newton step from 14 bits: a division takes as long as sixteen products
    __m512 x = _mm512_rcp14_ps((__m512)a.v);
    return Floats((FloatBits)_mm512_mul_ps(x, _mm512_fnmadd_ps((__m512)a.v, x, _mm512_set1_ps(2.0f))));
}
template <int W> AM_HD void deal(const uint8_t* p, Ints* d) {
    const __m512i* from = reinterpret_cast<const __m512i*>(p);
    __m512i a = _mm512_loadu_si512(from), b, c, e;
    if constexpr (W == 1) {
        d[0] = Ints((IntBits)a);
    } else if constexpr (W == 2) {
        b = _mm512_loadu_si512(from + 1);
        const __m512i even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
        d[0] = Ints((IntBits)_mm512_permutex2var_epi32(a, even, b));
        d[1] = Ints((IntBits)_mm512_permutex2var_epi32(a, _mm512_add_epi32(even, _mm512_set1_epi32(1)), b));
    } else {
        b = _mm512_loadu_si512(from + 1), c = _mm512_loadu_si512(from + 2), e = _mm512_loadu_si512(from + 3);
        const __m512i order = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
        __m512i low = _mm512_unpacklo_epi32(a, b), low2 = _mm512_unpacklo_epi32(c, e);
        __m512i high = _mm512_unpackhi_epi32(a, b), high2 = _mm512_unpackhi_epi32(c, e);
        d[0] = Ints((IntBits)_mm512_permutexvar_epi32(order, _mm512_unpacklo_epi64(low, low2)));
        d[1] = Ints((IntBits)_mm512_permutexvar_epi32(order, _mm512_unpackhi_epi64(low, low2)));
        d[2] = Ints((IntBits)_mm512_permutexvar_epi32(order, _mm512_unpacklo_epi64(high, high2)));
        if constexpr (W == 4) d[3] = Ints((IntBits)_mm512_permutexvar_epi32(order, _mm512_unpackhi_epi64(high, high2)));
    }
}
#elif defined(__AVX2__)
AM_HD Floats min_(Floats a, Floats b) { return Floats((FloatBits)_mm256_min_ps((__m256)a.v, (__m256)b.v)); }
AM_HD Floats max_(Floats a, Floats b) { return Floats((FloatBits)_mm256_max_ps((__m256)a.v, (__m256)b.v)); }
AM_HD Ints min_(Ints a, Ints b) { return Ints((IntBits)_mm256_min_epi32((__m256i)a.v, (__m256i)b.v)); }
AM_HD Ints max_(Ints a, Ints b) { return Ints((IntBits)_mm256_max_epi32((__m256i)a.v, (__m256i)b.v)); }
AM_HD Floats sqrt_(Floats a) { return Floats((FloatBits)_mm256_sqrt_ps((__m256)a.v)); }
AM_HD Floats floor_(Floats a) { return Floats((FloatBits)_mm256_floor_ps((__m256)a.v)); }
AM_HD Floats load_pack(const uint8_t* p) {
    return Floats((FloatBits)_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)p))));
}
AM_HD Floats load_pack(const Half* p) { return Floats((FloatBits)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p))); }
AM_HD ShortBits narrowed(Floats a, const Half*) { return (ShortBits)_mm256_cvtps_ph((__m256)a.v, _MM_FROUND_TO_NEAREST_INT); }
AM_HD void stream_bits(void* p, FloatBits x) { _mm256_stream_si256((__m256i*)p, (__m256i)x); }
AM_HD void stream_bits(void* p, ShortBits x) { _mm_stream_si128((__m128i*)p, (__m128i)x); }
AM_HD void stream_bits(void* p, ByteBits x) { std::memcpy(p, &x, sizeof x); }  // eight bytes are too few to be worth it
AM_HD void stream_end() { _mm_sfence(); }
AM_HD Floats reciprocal(Floats a) { return Floats(1.0f) / a; }
template <int W> AM_HD void deal(const uint8_t* p, Ints* d) {
    const __m256i* from = reinterpret_cast<const __m256i*>(p);
    __m256i a = _mm256_loadu_si256(from), b, c, e;
    if constexpr (W == 1) {
        d[0] = Ints((IntBits)a);
    } else if constexpr (W == 2) {  // shuffles work within halves, so the pairs are put in order afterwards
        b = _mm256_loadu_si256(from + 1);
        __m256 x = _mm256_castsi256_ps(a), y = _mm256_castsi256_ps(b);
        d[0] = Ints((IntBits)_mm256_permute4x64_epi64(_mm256_castps_si256(_mm256_shuffle_ps(x, y, 0x88)), 0xD8));
        d[1] = Ints((IntBits)_mm256_permute4x64_epi64(_mm256_castps_si256(_mm256_shuffle_ps(x, y, 0xDD)), 0xD8));
    } else {
        b = _mm256_loadu_si256(from + 1), c = _mm256_loadu_si256(from + 2), e = _mm256_loadu_si256(from + 3);
        const __m256i order = _mm256_set_epi32(7, 3, 6, 2, 5, 1, 4, 0);
        __m256i low = _mm256_unpacklo_epi32(a, b), low2 = _mm256_unpacklo_epi32(c, e);
        __m256i high = _mm256_unpackhi_epi32(a, b), high2 = _mm256_unpackhi_epi32(c, e);
        d[0] = Ints((IntBits)_mm256_permutevar8x32_epi32(_mm256_unpacklo_epi64(low, low2), order));
        d[1] = Ints((IntBits)_mm256_permutevar8x32_epi32(_mm256_unpackhi_epi64(low, low2), order));
        d[2] = Ints((IntBits)_mm256_permutevar8x32_epi32(_mm256_unpacklo_epi64(high, high2), order));
        if constexpr (W == 4) d[3] = Ints((IntBits)_mm256_permutevar8x32_epi32(_mm256_unpackhi_epi64(high, high2), order));
    }
}
#else
AM_HD Floats min_(Floats a, Floats b) { return select(a < b, a, b); }
AM_HD Floats max_(Floats a, Floats b) { return select(a > b, a, b); }
AM_HD Ints min_(Ints a, Ints b) { return select(a < b, a, b); }
AM_HD Ints max_(Ints a, Ints b) { return select(a > b, a, b); }
AM_HD Floats sqrt_(Floats a) {
    for (int i = 0; i < LANES; ++i) a.v[i] = sqrtf(a.v[i]);
    return a;
}
AM_HD Floats floor_(Floats a) {
    Floats t = to_float(to_int(a));
    return select(t > a, t - Floats(1.0f), t);
}
AM_HD Floats load_pack(const uint8_t* p) {
    FloatBits x;
    for (int i = 0; i < LANES; ++i) x[i] = float(p[i]);
    return Floats(x);
}
AM_HD Floats load_pack(const Half* p) {
    FloatBits x;
    for (int i = 0; i < LANES; ++i) x[i] = to_float(p[i]);
    return Floats(x);
}
AM_HD ShortBits narrowed(Floats a, const Half*) {
    ShortBits x;
    for (int i = 0; i < LANES; ++i) x[i] = to_half(a.v[i]).bits;
    return x;
}
template <class Bits> AM_HD void stream_bits(void* p, Bits x) { std::memcpy(p, &x, sizeof x); }
AM_HD void stream_end() {}
AM_HD Floats reciprocal(Floats a) { return Floats(1.0f) / a; }
template <int W> AM_HD void deal(const uint8_t* p, Ints* d) {
    for (int i = 0; i < LANES; ++i)
        for (int k = 0; k < W; ++k) std::memcpy(reinterpret_cast<int32_t*>(d + k) + i, p + (W == 3 ? 16 : 4 * W) * i + 4 * k, 4);
}
#endif
AM_HD Floats load_pack(const float* p) { return Floats::load(p); }
AM_HD Floats load_pack(const BFloat* p) {
    ShortBits x;
    std::memcpy(&x, p, sizeof x);
    return Floats((FloatBits)(__builtin_convertvector(x, WordBits) << 16));
}
AM_HD FloatBits narrowed(Floats a, const float*) { return a.v; }
AM_HD ShortBits narrowed(Floats a, const BFloat*) {  // halves.h's to_bfloat
    WordBits u = (WordBits)a.v;
    return __builtin_convertvector((u & 0x7FFFFFFF) > 0x7F800000 ? u >> 16 | 0x40 : (u + 0x7FFF + (u >> 16 & 1)) >> 16,
                                   ShortBits);
}
AM_HD ByteBits narrowed(Floats a, const uint8_t*) {  // [0, 1] as 0..255
    Floats q = min_(max_(a * Floats(255.0f) + Floats(0.5f), Floats(0.0f)), Floats(255.0f));
    return __builtin_convertvector(to_int(q).v, ByteBits);
}
template <class T> AM_HD void store_pack(Floats a, T* p) {
    auto x = narrowed(a, p);
    std::memcpy(p, &x, sizeof x);
}
// A store past the caches to a place on a pack's edge; stream_end: before another thread may look.
template <class T> AM_HD void stream_pack(Floats a, T* p) { stream_bits(p, narrowed(a, p)); }
#else   // __CUDACC__
enum : int { LANES = 4 };
struct Mask {
    bool v[LANES];
};
struct Floats {
    float v[LANES];
    Floats() = default;
    AM_HD Floats(float x) {
        for (int i = 0; i < LANES; ++i) v[i] = x;
    }
    AM_HD Floats(float a, float b, float c, float d) : v{a, b, c, d} {}
};
// clang-format off
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
AM_LANES(Floats, min_, Floats, min_(a.v[i], b.v[i])) AM_LANES(Floats, max_, Floats, max_(a.v[i], b.v[i]))
AM_LANES(Mask, operator&&, Mask, a.v[i] && b.v[i])
#undef AM_LANES
AM_HD Floats abs_(Floats a) {
    for (int i = 0; i < LANES; ++i) a.v[i] = abs_(a.v[i]);
    return a;
}
// clang-format on
AM_HD Floats select(Mask m, Floats a, Floats b) {
    for (int i = 0; i < LANES; ++i) a.v[i] = m.v[i] ? a.v[i] : b.v[i];
    return a;
}
AM_HD Floats select(bool m, Floats a, Floats b) {  // lane by lane: a choice between two packs would need their addresses
    for (int i = 0; i < LANES; ++i) a.v[i] = m ? a.v[i] : b.v[i];
    return a;
}
AM_HD Floats floor_(Floats a) {
    for (int i = 0; i < LANES; ++i) a.v[i] = floor_(a.v[i]);
    return a;
}
#endif  // __CUDACC__

// A product that is rounded before it is added to, also where the processor could join the two (fused multiply-add).
#if defined(__CUDA_ARCH__)
AM_HD float product(float a, float b) { return __fmul_rn(a, b); }
#else
#if defined(__x86_64__) || defined(__i386__)
#define AM_PIN(x) __asm__("" : "+v"(x))
#elif defined(__aarch64__)
#define AM_PIN(x) __asm__("" : "+w"(x))
#else
#define AM_PIN(x) __asm__("" : "+m"(x))
#endif
AM_HD float product(float a, float b) {
    a = a * b;
    AM_PIN(a);
    return a;
}
#endif
#if !defined(__CUDACC__)
AM_HD Floats product(Floats a, Floats b) {
    a.v = a.v * b.v;
    AM_PIN(a.v);
    return a;
}
#endif

// x to the power p, x > 0. To 1e-6 of the result where that is at most 1.
#if defined(__CUDACC__)
AM_HD Floats power(Floats x, float p) {
    for (int i = 0; i < LANES; ++i) x.v[i] = exp2f(p * log2f(x.v[i]));
    return x;
}
#else
AM_HD Floats power(Floats x, float p) {
    x = max_(x, Floats(1e-38f));                                        // lanes that nobody wants hold anything
    IntBits bits = (IntBits)x.v, exponent = (bits - 0x3F3504F3) >> 23;  // x = m * 2^exponent, m from sqrt(1/2) to sqrt(2)
    Floats m((FloatBits)(bits - (exponent << 23)));
    Floats z = (m - Floats(1.0f)) / (m + Floats(1.0f)), z2 = z * z, log(1.0f / 9.0f);  // of m: 2 artanh(z)
    for (int k = 7; k > 0; k -= 2) log = log * z2 + Floats(1.0f / float(k));
    Floats t = Floats(p) * (to_float(Ints(exponent)) + Floats(2.8853900817779268f) * z * log);
    t = min_(max_(t, Floats(-126.0f)), Floats(127.0f));
    Floats whole = floor_(t + Floats(0.5f)), rest = (t - whole) * Floats(0.6931471805599453f), exp(1.0f);
    for (int k = 7; k > 0; --k) exp = exp * rest * Floats(1.0f / float(k)) + Floats(1.0f);
    return exp * Floats((FloatBits)((to_int(whole).v + 127) << 23));
}
#endif

// A CPU's minimum and maximum give the second where there is a NaN: so that it becomes a bound, and a place read from memory is one
// whatever it was computed from.
template <class F> AM_HD F clamp_(F x, F low, F high) { return min_(max_(x, low), high); }
template <class F> AM_HD F unit_clamp(F x) { return clamp_(x, F(0.0f), F(1.0f)); }
#if defined(__CUDA_ARCH__)
AM_HD float unit_clamp(float x) { return __saturatef(x); }  // comes with the instruction before it
AM_HD Floats unit_clamp(Floats x) {
    for (int i = 0; i < LANES; ++i) x.v[i] = __saturatef(x.v[i]);
    return x;
}
#endif

// The same of values: a NaN stays one.
template <class F> AM_HD F clamp_or_nan(F x, F low, F high) {
#if defined(__CUDACC__)
    return select(x == x, clamp_(x, low, high), x);
#else
    return min_(high, max_(low, x));
#endif
}
template <class F> AM_HD F unit_clamp_or_nan(F x) {
#if defined(__CUDACC__)
    return select(x == x, unit_clamp(x), x);
#else
    return clamp_or_nan(x, F(0.0f), F(1.0f));
#endif
}

template <class F> struct IntOf {
    using type = int;
};
#if !defined(__CUDACC__)
template <> struct IntOf<Floats> {
    using type = Ints;
};
#endif
template <class F> struct WordOf {
    using type = uint32_t;
};
#if !defined(__CUDACC__)
template <> struct WordOf<Floats> {
    using type = Words;
};
#endif
template <class W> struct FloatOf {
    using type = float;
};
#if !defined(__CUDACC__)
template <> struct FloatOf<Words> {
    using type = Floats;
};
#endif

}}  // namespace anamorph::AM_LEVEL
