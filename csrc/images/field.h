// Random fields: normal numbers that change smoothly over a view, one function for each parameter of a map or of a colour step. A
// function is a cubic B-spline over independent normal coefficients, whose grid lies at a random place for each sample. Everything
// but the coefficients stands in the row; these are made from the row's key wherever they are wanted.
//
// Its covariance is, to 0.9 %, exp(-r^2 / 2 l^2) with l 0.834 of the distance of its knots. docs/architecture.md says more.
#pragma once
#include "color.h"
#include "mix.h"
#include "taps.h"

namespace anamorph {

// A row's field, ready to use.
struct Field {
    const int32_t* words;  // null: none
    bool moves, aslant;    // does it move pixels; is `after` a perspective
    float after[9];        // output pixel -> the view that the field lies in
    float knots[2], offset[2], size[2], sigma[MOTIONS];
    int count[2];   // coefficients of a function along an axis
    uint32_t used;  // a bit for each of its functions
    AM_HD bool has(int function) const { return used >> function & 1u; }
};

AM_HD bool of_field(int op) { return op >= OP_FIELD_BRIGHTNESS && op <= OP_FIELD_HUE; }
AM_HD int function_of(const int32_t* step) { return kept_in(step[S_FIELD], 0, FIELD_FUNCTIONS - 1); }

// Whatever a row from a file says.
AM_HD void open_field(const RecipeInfo& info, const int32_t* row, int colors, Field& f) {
    f.words = nullptr;
    f.moves = false;
    f.used = 0;
    if (info.most.fields == 0) return;
    const int32_t* words = field_words(info, row);
    if (!(words[F_FLAGS] & FIELD_THERE)) return;
    f.words = words;
    f.moves = words[F_FLAGS] & FIELD_MOVES;
    for (int i = 0; i < 9; ++i) f.after[i] = word_float(words[F_AFTER + i]);
    f.aslant = f.after[6] != 0.0f || f.after[7] != 0.0f || f.after[8] != 1.0f;
    for (int i = 0; i < 2; ++i) {
        const float size = word_float(words[F_SIZE + i]), knots = word_float(words[F_KNOTS + i]);
        const float offset = word_float(words[F_OFFSET + i]), most = MAX_WORD;
        f.size[i] = size > 0.0f ? (size < most ? size : most) : 0.0f;
        f.knots[i] = knots > 0.0f && f.size[i] * knots <= float(MAX_KNOTS) ? knots : 0.0f;
        f.offset[i] = offset > 0.0f && offset < 1.0f ? offset : 0.0f;
        f.count[i] = int(f.size[i] * f.knots[i]) + 5;
    }
    for (int i = 0; i < MOTIONS; ++i) {
        f.sigma[i] = word_float(words[F_SIGMA + i]);
        if (f.moves && f.sigma[i] > 0.0f) f.used |= 1u << i;
    }
    for (int k = 0; k < colors; ++k)
        if (of_field(color_words(row, k)[S_OP])) f.used |= 1u << function_of(color_words(row, k));
}

// a becomes a * n.
AM_HD void multiply_maps(float* a, const float* n) {
    float r[9];
    for (int i = 0; i < 3; ++i)
        for (int j = 0; j < 3; ++j) r[3 * i + j] = a[3 * i] * n[j] + a[3 * i + 1] * n[3 + j] + a[3 * i + 2] * n[6 + j];
    for (int i = 0; i < 9; ++i) a[i] = r[i];
}

// The keys of a function's coefficients.
AM_HD Philox4 field_keys(const Field& f, int function) {
    return philox4x32_10(0u, uint32_t(function), 0u, 0xF1E1Du, uint32_t(f.words[F_KEY]), 0u);
}

namespace AM_LEVEL {

// Those of columns x (words) of a row of the grid.
template <class W> AM_HD auto coefficient(const Philox4& keys, W x, W y) {
    return normal(word_at(y * W(uint32_t(FIELD_LINE)) + x, keys.v[0], keys.v[1]));
}

// The weights of the four coefficients around a place, `t` of the way between the middle two. Of one for the whole view: its own.
template <class F> AM_HD void spline(bool varies, F t, F* w) {
    // A sixth, over the root of 151 / 315, which is what the weights' squares leave of a variance of 1.
    const F u = F(1.0f) - t, sixth(0.24072187f);
    w[0] = varies ? u * u * u * sixth : F(1.0f);
    w[1] = varies ? (F(4.0f) - F(3.0f) * t * t * (u + F(1.0f))) * sixth : F(0.0f);
    w[2] = varies ? (F(4.0f) - F(3.0f) * u * u * (t + F(1.0f))) * sixth : F(0.0f);
    w[3] = varies ? t * t * t * sixth : F(0.0f);
}
template <class F, class I> AM_HD void knots_at(const Field& f, int axis, F at, I& first, F* weights) {
    const F u = clamp_(at, F(0.0f), F(f.size[axis])) * F(f.knots[axis]) + F(f.offset[axis]);
    first = min_(to_int(u), I(f.count[axis] - 4));
    spline(f.knots[axis] > 0.0f, u - to_float(first), weights);
}

// Where output position (x, y) lies in the field's view: nowhere behind the viewer, and what is no number has no cover.
template <class F> AM_HD void in_field(const Field& f, F x, F y, F& qx, F& qy) {
    qx = F(f.after[0]) * x + (F(f.after[1]) * y + F(f.after[2]));
    qy = F(f.after[3]) * x + (F(f.after[4]) * y + F(f.after[5]));
    if (!f.aslant) return;
    const F z = F(f.after[6]) * x + (F(f.after[7]) * y + F(f.after[8]));
    const F inverse = select(z > F(1e-8f), F(1.0f) / z, F(word_float(0x7FC00000)));
    qx = qx * inverse;
    qy = qy * inverse;
}

template <class F> AM_HD void sine_cosine(F radians, F& sine, F& cosine) {
    const F quarters = floor_(radians * F(0.63661977f) + F(0.5f)),
            r = (radians - quarters * F(1.5707964f)) + quarters * F(4.371139e-8f), r2 = r * r;
    const F s = r + r * r2 * horner(r2, -1.6666667e-1f, 8.3333310e-3f, -1.9840874e-4f, 2.7525562e-6f);
    const F c = F(1.0f) + r2 * horner(r2, -0.5f, 4.1666638e-2f, -1.3888378e-3f, 2.4760495e-5f);
    const F turn = quarters - F(4.0f) * floor_(quarters * F(0.25f));  // 0 .. 3
    const F odd = turn - F(2.0f) * floor_(turn * F(0.5f));
    const F one = select(odd > F(0.5f), c, s), other = select(odd > F(0.5f), s, c);
    sine = select(turn > F(1.5f), F(0.0f) - one, one);
    cosine = select(turn > F(0.5f), select(turn > F(2.5f), other, F(0.0f) - other), other);
}
template <class F> AM_HD F exponential(F x) {
    using W = typename WordOf<F>::type;
    x = clamp_(x, F(-87.0f), F(87.0f));
    const F k = floor_(x * F(1.442695f) + F(0.5f)), r = (x - k * F(0.69314575f)) - k * F(1.4286068e-6f);
    const F part = horner(r, 1.0f, 1.0f, 0.5f, 0.16666667f, 0.041666668f, 0.008333334f, 0.0013888889f);
    return part * bits_float(W(to_int(k + F(127.0f))) << 23);
}

// Where a position of the field's view lies before the field has moved it. g(function): its value there.
template <class F, class Values> AM_HD void displace(const Field& f, const Values& g, F& x, F& y) {
    const F to_x = f.has(MOTION_X) ? F(f.sigma[MOTION_X]) * g(MOTION_X) : F(0.0f);
    const F to_y = f.has(MOTION_Y) ? F(f.sigma[MOTION_Y]) * g(MOTION_Y) : F(0.0f);
    if (f.used & (1u << MOTION_TURN | 1u << MOTION_SCALE | 1u << MOTION_SHEAR)) {
        const F cx(0.5f * f.size[0]), cy(0.5f * f.size[1]), ux = x - cx, uy = y - cy;
        F sine(0.0f), cosine(1.0f), shear_sine(0.0f), shear_cosine(1.0f), smaller(1.0f);
        if (f.has(MOTION_TURN)) sine_cosine(F(f.sigma[MOTION_TURN]) * g(MOTION_TURN), sine, cosine);
        if (f.has(MOTION_SHEAR)) {  // less than a quarter turn
            const F angle = clamp_(F(f.sigma[MOTION_SHEAR]) * g(MOTION_SHEAR), F(-1.5f), F(1.5f));
            sine_cosine(angle, shear_sine, shear_cosine);
        }
        if (f.has(MOTION_SCALE)) smaller = exponential(F(-f.sigma[MOTION_SCALE]) * g(MOTION_SCALE));
        const F tangent = shear_sine / shear_cosine;
        x = cx + smaller * ((cosine - sine * tangent) * ux + (cosine * tangent + sine) * uy);
        y = cy + smaller * (cosine * uy - sine * ux);
    }
    x = x + to_x;
    y = y + to_y;
}

// A colour step by the value of its function.
template <int C, class F> AM_HD void field_step(const Step& step, F g, F* c) {
    const F by = F(step.number()) * g, factor = max_(F(1.0f) + by, F(0.0f));
    switch (step.op()) {
        case OP_FIELD_BRIGHTNESS: brighten<C>(step.bytes, c, factor); break;
        case OP_FIELD_CONTRAST: blend<C>(c, F(step.found.mean), factor); break;
        case OP_FIELD_SATURATION: saturate<C>(c, factor); break;
        case OP_FIELD_HUE: shift_hue<C>(step.bytes, c, by); break;
        default: break;
    }
}

}  // namespace AM_LEVEL
}  // namespace anamorph
