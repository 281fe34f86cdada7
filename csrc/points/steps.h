// What a plan's steps do to one point, or to a pack of them: read by both compilers.
#pragma once
#include "../core/normal.h"
#include "../core/permutation.h"
#include "deform.h"
#include "program.h"

namespace anamorph { namespace AM_LEVEL {

// A power of two by which a number between 0 and infinity comes near 1, so that squares neither overflow nor vanish.
AM_HD float power_near(float v) {
    const int32_t exponent = int32_t(float_bits(v) >> 23);
    return word_float((exponent < 253 ? 254 - exponent : 1) << 23);
}

// Words of a row's step as floats.
AM_HD float step_float(const int32_t* step, int at) { return word_float(step[at]); }

// p A + t.
struct AffineStep {
    float m[9], t[3];
    float normal[9];  // what a normal is multiplied by: A's cofactors, with the sign of its determinant

    AM_HD explicit AffineStep(const int32_t* step) {
        for (int k = 0; k < 9; ++k) m[k] = step_float(step, 2 + k);
        for (int k = 0; k < 3; ++k) t[k] = step_float(step, 11 + k);
        for (int r = 0; r < 3; ++r)
            for (int c = 0; c < 3; ++c) {
                const int r1 = (r + 1) % 3, r2 = (r + 2) % 3, c1 = (c + 1) % 3, c2 = (c + 2) % 3;
                normal[3 * r + c] = m[3 * r1 + c1] * m[3 * r2 + c2] - m[3 * r1 + c2] * m[3 * r2 + c1];
            }
        if (m[0] * normal[0] + m[1] * normal[1] + m[2] * normal[2] < 0.0f)
            for (float& v : normal) v = -v;
    }
};
template <class F> AM_HD void times(const float (&m)[9], F& x, F& y, F& z) {
    const F a = x * F(m[0]) + y * F(m[3]) + z * F(m[6]), b = x * F(m[1]) + y * F(m[4]) + z * F(m[7]);
    z = x * F(m[2]) + y * F(m[5]) + z * F(m[8]);
    x = a;
    y = b;
}
template <class F> AM_HD void affine_point(const AffineStep& a, F& x, F& y, F& z) {
    times(a.m, x, y, z);
    x = x + F(a.t[0]);
    y = y + F(a.t[1]);
    z = z + F(a.t[2]);
}
// To length 1; none stays none.
template <class F> AM_HD void to_unit(F& x, F& y, F& z) {
    const F length = sqrt_(x * x + y * y + z * z);
    const F by = select(length > F(0.0f), F(1.0f) / length, F(0.0f));
    x = x * by;
    y = y * by;
    z = z * by;
}
template <class F> AM_HD void affine_normal(const AffineStep& a, F& x, F& y, F& z) {
    times(a.normal, x, y, z);
    to_unit(x, y, z);
}

// Normal number `axis` of point `at` of a step with two keys.
template <class W> AM_HD typename FloatOf<W>::type point_noise(W at, int axis, uint32_t key, uint32_t second) {
    return normal(word_at(at, key + uint32_t(axis) * 0x9E3779B9u, second));
}
template <class F> AM_HD F jittered(F v, F noise, float sigma, float clip) {
    noise = noise * F(sigma);
    if (clip > 0.0f) noise = clamp_(noise, F(-clip), F(clip));
    return v + noise;
}

#if defined(__CUDACC__)
AM_HD float cube_root(float x) { return cbrtf(x); }
#else
AM_HD Floats cube_root(Floats x) { return power(x, 1.0f / 3.0f); }
#endif

// Uniform in the unit ball: a direction, and a radius whose cube is uniform.
template <class W, class F> AM_HD void in_ball(W at, uint32_t key, uint32_t second, F& x, F& y, F& z) {
    x = point_noise(at, 0, key, second);
    y = point_noise(at, 1, key, second);
    z = point_noise(at, 2, key, second);
    to_unit(x, y, z);
    const W word = word_at(at, key + 3u * 0x9E3779B9u, second);
    const F r = cube_root((signed_float(word >> 8) + F(0.5f)) * F(5.9604644775390625e-08f));
    x = x * r;
    y = y * r;
    z = z * r;
}
// ModelNet-C's rule for what a cluster adds beyond the unit ball: divided by its squared norm.
template <class F> AM_HD void kept_near(F& x, F& y, F& z) {
    const F square = x * x + y * y + z * z;
    const F by = select(square > F(1.0f), F(1.0f) / square, F(1.0f));
    x = x * by;
    y = y * by;
    z = z * by;
}

// What falls into [0, n) of a random word.
AM_HD int word_below(int32_t word, int n) { return int(uint64_t(uint32_t(word)) * uint64_t(uint32_t(n)) >> 32); }

// Which of n points is the i-th when `permutation`, of n, says in which order; once all have been, they come again in its order.
AM_HD int kept_point(const Permutation& permutation, int i, int n) { return int(permutation.forward(uint32_t(i % n))); }

// Of two distances the lower; squared, in doubles, so that all code finds the same farthest point.
AM_HD double squared_distance(float ax, float ay, float az, float bx, float by, float bz) {
    const double x = double(ax) - double(bx), y = double(ay) - double(by), z = double(az) - double(bz);
    return x * x + y * y + z * z;
}

// The anchors of a step WOLF, but for their places.
AM_HD Anchor wolf_anchor(const int32_t* step, int j) {
    Anchor a;
    const int32_t* from = step + 6 + 12 * j;
    for (int k = 0; k < 9; ++k) a.matrix[k] = word_float(from[k]);
    for (int k = 0; k < 3; ++k) a.shift[k] = word_float(from[9 + k]);
    return a;
}
enum WolfWord : int { WOLF_START = 2, WOLF_FALLOFF = 3, WOLF_AXES = 4, WOLF_ANCHORS = 5 };

}}  // namespace anamorph::AM_LEVEL
