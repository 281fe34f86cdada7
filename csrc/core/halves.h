// Floats by their bits, and the two formats of 16 bits: IEEE's half and bfloat16. Rounded to nearest, ties to even.
#pragma once
#include <cstdint>
#include "macros.h"
#if defined(__F16C__) && !defined(__CUDACC__)
#include <immintrin.h>
#endif

namespace anamorph {

struct Half {
    uint16_t bits;
};
struct BFloat {
    uint16_t bits;
};

AM_HD float word_float(int32_t w) {
    union {
        int32_t i;
        float f;
    } x;
    x.i = w;
    return x.f;
}
AM_HD int32_t float_word(float f) {
    union {
        int32_t i;
        float f;
    } x;
    x.f = f;
    return x.i;
}

AM_HD float to_float(Half h) {
#if defined(__F16C__) && !defined(__CUDACC__)
    return _cvtsh_ss(h.bits);
#else
    uint32_t sign = uint32_t(h.bits & 0x8000u) << 16, e = (h.bits >> 10) & 31u, m = h.bits & 1023u;
    if (e == 0) {
        float v = float(m) * 5.9604644775390625e-08f;
        return sign ? -v : v;
    }
    return word_float(int32_t(sign | (e == 31 ? 0x7F800000u | (m << 13) : ((e + 112u) << 23) | (m << 13))));
#endif
}
AM_HD float to_float(BFloat b) { return word_float(int32_t(uint32_t(b.bits) << 16)); }

AM_HD Half to_half(float f) {
    uint32_t u = uint32_t(float_word(f)), sign = (u >> 16) & 0x8000u;
    u &= 0x7FFFFFFFu;
    if (u >= 0x7F800000u) return {uint16_t(sign | (u > 0x7F800000u ? 0x7E00u : 0x7C00u))};
    if (u >= 0x477FF000u) return {uint16_t(sign | 0x7C00u)};  // rounds to infinity
    if (u < 0x38800000u) {                                    // subnormal: let the adder round
        float v = word_float(int32_t(u)) + 0.5f;
        return {uint16_t(sign | uint32_t(float_word(v) - float_word(0.5f)))};
    }
    uint32_t odd = (u >> 13) & 1u;
    return {uint16_t(sign | ((u - 0x38000000u + 0xFFFu + odd) >> 13))};
}
AM_HD BFloat to_bfloat(float f) {
    uint32_t u = uint32_t(float_word(f));
    if ((u & 0x7FFFFFFFu) > 0x7F800000u) return {uint16_t((u >> 16) | 0x40u)};
    return {uint16_t((u + 0x7FFFu + ((u >> 16) & 1u)) >> 16)};
}

// A value as any of the dtypes: uint8 for [0, 1].
AM_HD void store_value(float v, uint8_t* to) {
    float q = v * 255.0f + 0.5f;
    *to = uint8_t(q < 0.0f ? 0 : q > 255.0f ? 255 : int(q));
}
AM_HD void store_value(float v, float* to) { *to = v; }
AM_HD void store_value(float v, Half* to) { *to = to_half(v); }
AM_HD void store_value(float v, BFloat* to) { *to = to_bfloat(v); }

}  // namespace anamorph
