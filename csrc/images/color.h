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

template <int C, class F> AM_HD void blend(F* c, F other, F keep) {
    F rest = (F(1.0f) - keep) * other;
    for (int i = 0; i < C; ++i) c[i] = unit_clamp(c[i] * keep + rest);
}

// Turns the hue by `turn` of a full circle. The hexagon form of HSV: with k = (n + 6 hue) mod 6 a channel is
// value - chroma * clamp(min(k, 4 - k), 0, 1), n = 5, 3, 1 for red, green, blue; saturation and value stay.
template <class F> AM_HD void turn_hue(F* c, F turn) {
    F r = c[0], g = c[1], b = c[2];
    F top = max_(r, max_(g, b)), chroma = top - min_(r, min_(g, b));
    F inverse = F(1.0f) / select(chroma > F(0.0f), chroma, F(1.0f));
    F h = select(r == top, (g - b) * inverse,
                 select(g == top, F(2.0f) + (b - r) * inverse, F(4.0f) + (r - g) * inverse));
    h = h + F(6.0f) * turn;
    for (int i = 0; i < 3; ++i) {
        F k = h + F(i == 0 ? 5.0f : i == 1 ? 3.0f : 1.0f);
        k = k - F(6.0f) * floor_(k * F(1.0f / 6.0f));
        c[i] = unit_clamp(top - chroma * unit_clamp(min_(k, F(4.0f) - k)));
    }
}

// The value as a uint8 picture would hold it: bicubic taps may overshoot, and a byte cannot.
template <class F> AM_HD F as_byte(F v) { return floor_(unit_clamp(v) * F(255.0f) + F(0.5f)); }

// One step of a row's colour program. `mean` serves OP_CONTRAST; `bytes`: the input is uint8, and steps defined on
// integers (posterize's bit mask, solarize's threshold) see the rounded value, as they would step by step.
template <int C, class F> AM_HD void color_step(int op, float p, float mean, bool bytes, F* c) {
    switch (op) {
        case OP_BRIGHTNESS:
            for (int i = 0; i < C; ++i) c[i] = unit_clamp(c[i] * F(p));
            break;
        case OP_CONTRAST: blend<C>(c, F(mean), F(p)); break;
        case OP_CONTRAST_MIDGRAY: blend<C>(c, F(0.5f), F(p)); break;
        case OP_SATURATION:
            if constexpr (C == 3) blend<C>(c, gray<C>(c), F(p));
            break;
        case OP_HUE:
            if constexpr (C == 3) turn_hue(c, F(p));
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
                    F step = F(256.0f / levels);
                    c[i] = floor_(as_byte(c[i]) / step) * step * F(1.0f / 255.0f);
                } else {
                    c[i] = clamp_(floor_(c[i] * F(levels)), F(0.0f), F(levels - 1.0f)) * F(1.0f / levels);
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
        default: break;
    }
}

}}  // namespace anamorph::AM_LEVEL
