// exp, log, sin and cos from plain double arithmetic only: + - * / and the square root, each correctly rounded by IEEE 754, so
// the CPU and the GPU give the same bits (libm's last bits differ between vendors). The files that include this are compiled
// without fused multiply-add contraction. Errors stay below 1e-15 relative on the ranges used here (sin and cos: of 1).
//
// A division takes a GPU as long as a dozen products, and a row's are done one after the other: so the series have constant
// coefficients, summed in pairs, and a quotient is a product wherever it need not be exact.
#pragma once
#include <cstdint>
#include "macros.h"

namespace anamorph { namespace exact {

AM_HD double bits_to_double(uint64_t u) {
    union {
        uint64_t u;
        double d;
    } x;
    x.u = u;
    return x.d;
}
AM_HD uint64_t double_to_bits(double d) {
    union {
        uint64_t u;
        double d;
    } x;
    x.d = d;
    return x.u;
}

// Down to the next integer, for |x| < 2^62.
AM_HD double floor(double x) {
    double t = double(int64_t(x));
    return t > x ? t - 1.0 : t;
}
// To the nearest integer, ties to even: Python's round().
AM_HD double round_even(double x) {
    double f = floor(x), d = x - f;
    if (d > 0.5) return f + 1.0;
    if (d < 0.5) return f;
    return f - 2.0 * floor(f * 0.5) == 0.0 ? f : f + 1.0;
}
AM_HD double absolute(double x) { return x < 0.0 ? -x : x; }
AM_HD double minimum(double a, double b) { return a < b ? a : b; }
AM_HD double maximum(double a, double b) { return a > b ? a : b; }

// Of nothing and of what is below it: 0.
AM_HD double sqrt(double x) {
    if (!(x > 0.0)) return 0.0;
#if defined(__CUDA_ARCH__)
    return __dsqrt_rn(x);
#else
    return __builtin_sqrt(x);
#endif
}

// terms[0] + terms[1] x + terms[2] x^2 ...: neighbours are added first, so that few sums wait for one another.
template <int N> AM_HD double polynomial(double x, const double (&terms)[N]) {
    if constexpr (N == 1) {
        return terms[0];
    } else {
        double pairs[(N + 1) / 2];
        AM_UNROLL
        for (int i = 0; i < N / 2; ++i) pairs[i] = terms[2 * i] + terms[2 * i + 1] * x;
        if constexpr (N % 2) pairs[N / 2] = terms[N - 1];
        return polynomial(x * x, pairs);
    }
}

AM_CALLED double exp(double x) {
    if (x > 700.0) x = 700.0;
    if (x < -700.0) return 0.0;
    double k = floor(x * 1.4426950408889634 + 0.5);
    double r = (x - k * 0.693147180369123816490) - k * 1.90821492927058770002e-10;
    double s = 1.0 + r * polynomial(r, {1.0, 1.0 / 2, 1.0 / 6, 1.0 / 24, 1.0 / 120, 1.0 / 720, 1.0 / 5040, 1.0 / 40320,
                                        1.0 / 362880, 1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800});
    return s * bits_to_double(uint64_t(int64_t(k) + 1023) << 52);
}

AM_CALLED double log(double x) {  // x > 0, normal
    uint64_t u = double_to_bits(x);
    int e = int(u >> 52) - 1023;
    double m = bits_to_double((u & 0x000FFFFFFFFFFFFFull) | 0x3FF0000000000000ull);
    if (m > 1.4142135623730951) {
        m = m * 0.5;
        e = e + 1;
    }
    double z = (m - 1.0) / (m + 1.0), z2 = z * z;
    double s = 1.0 + z2 * polynomial(z2, {1.0 / 3, 1.0 / 5, 1.0 / 7, 1.0 / 9, 1.0 / 11, 1.0 / 13, 1.0 / 15, 1.0 / 17, 1.0 / 19,
                                          1.0 / 21});
    return 2.0 * z * s + double(e) * 0.69314718055994530942;
}

struct SinCos {
    double sin, cos;
};
// Of an angle in degrees: the reduction to [-45, 45] is exact there.
AM_CALLED SinCos sincos_deg(double deg) {
    double q = floor(deg * (1.0 / 90.0) + 0.5);
    double r = (deg - q * 90.0) * 0.017453292519943295769, r2 = r * r;
    double s = r + r * (r2 * polynomial(r2, {-1.0 / 6, 1.0 / 120, -1.0 / 5040, 1.0 / 362880, -1.0 / 39916800, 1.0 / 6227020800,
                                             -1.0 / 1307674368000, 1.0 / 355687428096000}));
    double c = 1.0 + r2 * polynomial(r2, {-1.0 / 2, 1.0 / 24, -1.0 / 720, 1.0 / 40320, -1.0 / 3628800, 1.0 / 479001600,
                                          -1.0 / 87178291200, 1.0 / 20922789888000});
    int n = int(int64_t(q) & 3);
    return {n == 0 ? s : n == 1 ? c : n == 2 ? -s : -c, n == 0 ? c : n == 1 ? -s : n == 2 ? -c : s};
}

}}  // namespace anamorph::exact
