// Colour, in [0, 1]. F is a float or a pack of them; C channels (the three-channel ops leave other pictures alone, as
// torchvision does with greyscale). Definitions and weights: torchvision.transforms.v2.functional.
#pragma once
#include "../core/simd.h"
#include "program.h"

namespace anamorph { namespace AM_LEVEL {

template <class F> AM_HD F luma(F r, F g, F b) { return F(0.2989f) * r + F(0.587f) * g + F(0.114f) * b; }
template <int C, class F> AM_HD F gray(const F* c) {
    if constexpr (C >= 3) return luma(c[0], c[1], c[2]);
    else return c[0];
}

// c * keep + other * (1 - keep). `unit`: c and other lie in [0, 1], where a mean of the two needs no clamp.
template <int C, class F> AM_HD void blend(bool unit, F* c, F other, float keep) {
    F rest = F(1.0f - keep) * other;
    for (int i = 0; i < C; ++i) c[i] = c[i] * F(keep) + rest;
    if (unit && keep <= 1.0f) return;
    for (int i = 0; i < C; ++i) c[i] = unit_clamp_or_nan(c[i]);
}

// Turns the hue by `turn` of a full circle. With the hue h in sextants a channel of HSV's hexagon is low + chroma * x, x a
// trapezoid of h: for red clamp(|h - 3| - 1), for green and blue clamp(2 - |h - 2|) and clamp(2 - |h - 4|). All of it times
// chroma, which saves the division that finds h.
template <class F> AM_HD void turn_hue(F* c, float turn) {
    float sextants = 6.0f * (turn - floor_(turn));
    sextants = sextants < 1.0f ? sextants + 6.0f : sextants;  // 1 .. 7, so that one subtraction brings h back
    F r = c[0], g = c[1], b = c[2];
    F top = max_(r, max_(g, b)), low = min_(r, min_(g, b)), chroma = top - low;
    auto red = r == top, green = g == top;
    F h = select(red, F(sextants), select(green, F(sextants + 2.0f), F(sextants + 4.0f))) * chroma +
          select(red, g - b, select(green, b - r, r - g));
    F circle = F(6.0f) * chroma;
    h = select(h >= circle, h - circle, h);
    F least = low - chroma, most = top + chroma;
    c[0] = clamp_or_nan(abs_(h - F(3.0f) * chroma) + least, low, top);
    c[1] = clamp_or_nan(most - abs_(h - F(2.0f) * chroma), low, top);
    c[2] = clamp_or_nan(most - abs_(h - F(4.0f) * chroma), low, top);
}

// The channels in the order that lies at `u` in [0, 1) among all C! of them, which stand as words in a dictionary do. Channel I
// is the next of those left, the others move up. (Every index is a constant: on a GPU the channels are registers.)
template <int C, int I = 0, class F> AM_HD void permute(float u, F* c) {
    if constexpr (I < C - 1) {
        u *= float(C - I);
        int next = min_(int(u), C - 1 - I);
        F picked = c[I];
        for (int k = I + 1; k < C; ++k) picked = select(k == I + next, c[k], picked);
        for (int k = C - 1; k > I; --k) c[k] = select(k <= I + next, c[k - 1], c[k]);
        c[I] = picked;
        permute<C, I + 1>(u - float(next), c);
    }
}

// One of three channels moved by p, in the input's units.
template <int C, int I, class F> AM_HD void shift(bool bytes, float p, F* c) {
    if constexpr (C == 3) c[I] = unit_clamp_or_nan(c[I] + F(bytes ? p * (1.0f / 255.0f) : p));
}

// The value as a uint8 picture would hold it.
template <class F> AM_HD F as_byte(F v) { return floor_(unit_clamp(v) * F(255.0f) + F(0.5f)); }

// One step of a row's colour program. `mean` serves OP_CONTRAST; `bytes`: the input is uint8, so the values lie in [0, 1], and
// steps defined on integers (posterize's bit mask, solarize's threshold) see the rounded value, as they would step by step.
template <int C, class F> AM_HD void color_step(int op, float p, float mean, bool bytes, F* c) {
    switch (op) {
        case OP_BRIGHTNESS:
            for (int i = 0; i < C; ++i) c[i] = bytes ? min_(c[i] * F(p), F(1.0f)) : unit_clamp_or_nan(c[i] * F(p));
            break;
        case OP_CONTRAST: blend<C>(bytes, c, F(mean), p); break;
        case OP_CONTRAST_MIDGRAY: blend<C>(bytes, c, F(0.5f), p); break;
        case OP_SATURATION:
            if constexpr (C == 3) blend<C>(bytes, c, gray<C>(c), p);
            break;
        case OP_HUE:
            if constexpr (C == 3) {
                F spoilt = (c[0] + c[1] + c[2]) * F(0.0f);  // NaN where one is, as all three then are
                turn_hue(c, p);
                for (int i = 0; i < C && !bytes; ++i) c[i] = c[i] + spoilt;
            }
            break;
        case OP_GRAYSCALE:
            if constexpr (C == 3) c[0] = c[1] = c[2] = gray<C>(c);
            break;
        case OP_INVERT:
            for (int i = 0; i < C; ++i) c[i] = F(1.0f) - c[i];
            break;
        case OP_POSTERIZE: {  // p bits are kept
            float levels = float(1 << int(p));
            for (int i = 0; i < C; ++i) {
                if (bytes) {
                    // as_byte's own floor would change nothing here: levels / 256 is a power of two
                    c[i] = floor_((unit_clamp(c[i]) * F(255.0f) + F(0.5f)) * F(levels / 256.0f)) * F(256.0f / levels / 255.0f);
                } else {
                    F cut = clamp_(floor_(c[i] * F(levels)), F(0.0f), F(levels - 1.0f)) * F(1.0f / levels);
                    c[i] = select(c[i] == c[i], cut, c[i]);
                }
            }
            break;
        }
        case OP_SOLARIZE: {  // p: the threshold in the input's units
            for (int i = 0; i < C; ++i) {
                F seen = bytes ? as_byte(c[i]) : c[i];
                c[i] = select(seen >= F(p), F(1.0f) - c[i], c[i]);
            }
            break;
        }
        case OP_CHANNEL_PERMUTATION: permute<C>(p, c); break;
        case OP_GAMMA:
            for (int i = 0; i < C; ++i) c[i] = select(c[i] > F(0.0f), power(c[i], p), c[i] * F(0.0f));
            break;
        case OP_SHIFT_RED: shift<C, 0>(bytes, p, c); break;
        case OP_SHIFT_GREEN: shift<C, 1>(bytes, p, c); break;
        case OP_SHIFT_BLUE: shift<C, 2>(bytes, p, c); break;
        default: break;
    }
}

}}  // namespace anamorph::AM_LEVEL
