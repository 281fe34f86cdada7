// exp, log, sin, cos and tan from plain double arithmetic only: + - * / and rounding, each correctly rounded by IEEE 754,
// so the CPU and the GPU give the same bits (libm's last bits differ between vendors). The files that include this
// are compiled without fused multiply-add contraction. Errors stay below 1e-14 relative on the ranges used here.
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

// Newton's method from a bit-level guess. Not sqrt(): the device's and the host's are both correctly rounded, but
// their names live in different headers; five steps from this guess converge to within one unit in the last place,
// by the same operations everywhere.
AM_HD double sqrt(double x) {
    if (!(x > 0.0)) return 0.0;
    double y = bits_to_double((double_to_bits(x) >> 1) + 0x1FF7A3BEA91D9B1Bull);
    for (int i = 0; i < 5; ++i) y = 0.5 * (y + x / y);
    return y;
}

AM_HD double exp(double x) {
    if (x > 700.0) x = 700.0;
    if (x < -700.0) return 0.0;
    double k = floor(x * 1.4426950408889634 + 0.5);
    double r = (x - k * 0.693147180369123816490) - k * 1.90821492927058770002e-10;
    double s = 1.0;
    for (int i = 14; i >= 1; --i) s = 1.0 + s * r / double(i);
    return s * bits_to_double(uint64_t(int64_t(k) + 1023) << 52);
}

AM_HD double log(double x) {  // x > 0, normal
    uint64_t u = double_to_bits(x);
    int e = int(u >> 52) - 1023;
    double m = bits_to_double((u & 0x000FFFFFFFFFFFFFull) | 0x3FF0000000000000ull);
    if (m > 1.4142135623730951) {
        m = m * 0.5;
        e = e + 1;
    }
    double z = (m - 1.0) / (m + 1.0), z2 = z * z, s = 0.0;
    for (int i = 21; i >= 1; i -= 2) s = s * z2 + 1.0 / double(i);
    return 2.0 * z * s + double(e) * 0.69314718055994530942;
}

// sin and cos of an angle in degrees: the reduction to [-45, 45] is exact there.
AM_HD void sincos_deg(double deg, double& s, double& c) {
    double q = floor(deg / 90.0 + 0.5);
    double r = (deg - q * 90.0) * 0.017453292519943295769;
    double r2 = r * r, sr = 1.0, cr = 1.0;
    for (int i = 9; i >= 1; --i) {
        sr = 1.0 - sr * r2 / double((2 * i) * (2 * i + 1));
        cr = 1.0 - cr * r2 / double((2 * i - 1) * (2 * i));
    }
    sr = sr * r;
    int n = int(q - 4.0 * floor(q / 4.0));
    s = n == 0 ? sr : n == 1 ? cr : n == 2 ? -sr : -cr;
    c = n == 0 ? cr : n == 1 ? -sr : n == 2 ? -cr : sr;
}

}}  // namespace anamorph::exact
