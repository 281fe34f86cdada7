// A cloud bent by anchors (PointWOLF): each anchor has an affine map of its own, and a point goes where the maps say, weighed by how
// near their anchors are.
//     q_j = (p - at_j) @ matrix_j + shift_j + at_j        rows; matrix = rotation @ diag(scale)
//     w_j = exp(-falloff * |axes * (p - at_j)|^2)         falloff = 1 / (2 sigma^2); axes: 0 or 1 for each
//     out = sum w_j q_j / sum w_j
// What is added up are the displacements q_j - p: without them a point stays where it is, to the last bit. The smallest squared
// distance is taken off before exp, so that one weight is 1 and sums never are 0, however small sigma is.
//
// Over F: `float`, `double`, or the packs of core/simd.h. Nothing is fused, so a CPU and a GPU give the same bits.
#pragma once
#include "../core/exact_math.h"
#include "../core/macros.h"
#include "../core/simd.h"

namespace anamorph {

template <class S> struct AnchorOf {
    S at[3], matrix[9], shift[3];
};
using Anchor = AnchorOf<float>;

enum : int { MOST_ANCHORS = 64 };

namespace AM_LEVEL {

// The kind of number that a pack holds.
template <class F> struct ScalarOf {
    using type = float;
};
template <> struct ScalarOf<double> {
    using type = double;
};

AM_HD double min_(double a, double b) { return exact::minimum(a, b); }
AM_HD double select(bool m, double a, double b) { return m ? a : b; }
AM_HD float root(float a) {
#if defined(__CUDA_ARCH__)
    return __fsqrt_rn(a);
#else
    return sqrt_(a);
#endif
}
AM_HD double root(double a) { return exact::sqrt(a); }

AM_HD float power_of_two(float whole) { return word_float((int32_t(whole) + 127) << 23); }  // -126 to 127
#if !defined(__CUDACC__)
AM_HD Floats root(Floats a) { return sqrt_(a); }
AM_HD Floats power_of_two(Floats whole) { return Floats((FloatBits)((to_int(whole).v + 127) << 23)); }
#endif

// e to the power x, for x of at most 0, to 1e-7 of the result. 0 below -87, also of minus infinity; of NaN a number.
template <class F> AM_HD F exp_(F x) {
    const F t = min_(max_(x, F(-87.0f)), F(0.0f));
    const F whole = floor_(t * F(1.44269504f) + F(0.5f));
    const F rest = (t - whole * F(0.693359375f)) - whole * F(-2.12194440e-4f);  // ln 2 in two parts: the first product is exact
    F sum(1.0f / 5040.0f);
    sum = sum * rest + F(1.0f / 720.0f);
    sum = sum * rest + F(1.0f / 120.0f);
    sum = sum * rest + F(1.0f / 24.0f);
    sum = sum * rest + F(1.0f / 6.0f);
    sum = sum * rest + F(0.5f);
    sum = sum * rest + F(1.0f);
    sum = sum * rest + F(1.0f);
    return select(x < F(-87.0f), F(0.0f), sum * power_of_two(whole));
}
AM_HD double exp_(double x) {
    if (x < -700.0) return 0.0;
    return exact::exp(x < 0.0 ? x : 0.0);
}

// From an anchor to a point, and along the axes that count, squared.
template <class F> struct FromAnchor {
    F d[3], squared;
    template <class S> AM_HD FromAnchor(const AnchorOf<S>& a, const S (&axes)[3], F x, F y, F z)
        : d{x - F(a.at[0]), y - F(a.at[1]), z - F(a.at[2])} {
        const F u = F(axes[0]) * d[0], v = F(axes[1]) * d[1], w = F(axes[2]) * d[2];
        squared = u * u + v * v + w * w;
    }
};

template <class F, class S>
AM_HD F nearest_anchor(const AnchorOf<S>* anchors, int count, const S (&axes)[3], F x, F y, F z) {
    F least = FromAnchor<F>(anchors[0], axes, x, y, z).squared;
    for (int j = 1; j < count; ++j) least = min_(least, FromAnchor<F>(anchors[j], axes, x, y, z).squared);
    return least;
}

// q - p along axis c.
template <class F, class S> AM_HD F displacement(const AnchorOf<S>& a, const F (&d)[3], int c) {
    return d[0] * F(a.matrix[c]) + d[1] * F(a.matrix[3 + c]) + d[2] * F(a.matrix[6 + c]) + F(a.shift[c]) - d[c];
}

// What is known of a point once all anchors were looked at: w_j = exp(falloff * (least - squared_j)), and their sum.
template <class F> struct Weighed {
    F least, sum, by[3];  // by: the mean displacement
    Weighed() = default;
    template <class S>
    AM_HD Weighed(const AnchorOf<S>* anchors, int count, const S (&axes)[3], S falloff, F x, F y, F z)
        : least(nearest_anchor(anchors, count, axes, x, y, z)), sum(S(0)), by{F(S(0)), F(S(0)), F(S(0))} {
        for (int j = 0; j < count; ++j) {
            const FromAnchor<F> apart(anchors[j], axes, x, y, z);
            const F w = exp_(F(falloff) * (least - apart.squared));
            sum = sum + w;
            AM_UNROLL
            for (int c = 0; c < 3; ++c) by[c] = by[c] + w * displacement(anchors[j], apart.d, c);
        }
        AM_UNROLL
        for (int c = 0; c < 3; ++c) by[c] = by[c] / sum;
    }
};

// The point (x, y, z) goes where the anchors, 1 to 64 of them, put it. falloff: finite.
template <class F, class S>
AM_HD void deform(const AnchorOf<S>* anchors, int count, const S (&axes)[3], typename ScalarOf<F>::type falloff, F& x, F& y,
                  F& z) {
    const Weighed<F> all(anchors, count, axes, falloff, x, y, z);
    x = x + all.by[0];
    y = y + all.by[1];
    z = z + all.by[2];
}

// The same, and the point's normal by the cofactors of the map's exact derivative, the weights' own change in it; of length 1.
// A normal of no length stays so.
template <class F, class S>
AM_HD void deform_normal(const AnchorOf<S>* anchors, int count, const S (&axes)[3], typename ScalarOf<F>::type falloff, F& x,
                         F& y, F& z, F (&normal)[3]) {
    const Weighed<F> all(anchors, count, axes, falloff, x, y, z);
    F jacobian[3][3];  // of the displacement: [in][out]
    for (int i = 0; i < 3; ++i)
        for (int c = 0; c < 3; ++c) jacobian[i][c] = F(S(0));
    for (int j = 0; j < count; ++j) {
        const AnchorOf<S>& a = anchors[j];
        const FromAnchor<F> apart(a, axes, x, y, z);
        const F w = exp_(F(falloff) * (all.least - apart.squared)) / all.sum;
        F more[3];
        AM_UNROLL
        for (int c = 0; c < 3; ++c) more[c] = displacement(a, apart.d, c) - all.by[c];
        AM_UNROLL
        for (int i = 0; i < 3; ++i) {
            const F change = F(S(-2) * falloff * axes[i] * axes[i]) * apart.d[i];  // of the weight's logarithm
            AM_UNROLL
            for (int c = 0; c < 3; ++c)
                jacobian[i][c] = jacobian[i][c] + w * (F(a.matrix[3 * i + c] - S(i == c)) + change * more[c]);
        }
    }
    AM_UNROLL
    for (int i = 0; i < 3; ++i) jacobian[i][i] = jacobian[i][i] + F(S(1));
    F to[3];
    AM_UNROLL
    for (int c = 0; c < 3; ++c) {  // column c of the cofactors: the cross product of the other two columns
        const int a = (c + 1) % 3, b = (c + 2) % 3;
        to[c] = normal[0] * (jacobian[1][a] * jacobian[2][b] - jacobian[2][a] * jacobian[1][b]) +
                normal[1] * (jacobian[2][a] * jacobian[0][b] - jacobian[0][a] * jacobian[2][b]) +
                normal[2] * (jacobian[0][a] * jacobian[1][b] - jacobian[1][a] * jacobian[0][b]);
    }
    F side(S(0));  // where the map turns the cloud inside out, the cofactors point to the other side
    AM_UNROLL
    for (int c = 0; c < 3; ++c)
        side = side + to[c] * (normal[0] * jacobian[0][c] + normal[1] * jacobian[1][c] + normal[2] * jacobian[2][c]);
    AM_UNROLL
    for (int c = 0; c < 3; ++c) to[c] = select(side < F(S(0)), F(S(0)) - to[c], to[c]);
    const F length = root(to[0] * to[0] + to[1] * to[1] + to[2] * to[2]);
    const auto some = length > F(S(0));
    AM_UNROLL
    for (int c = 0; c < 3; ++c) normal[c] = select(some, to[c] / select(some, length, F(S(1))), F(S(0)));
    x = x + all.by[0];
    y = y + all.by[1];
    z = z + all.by[2];
}

}  // namespace AM_LEVEL
}  // namespace anamorph
