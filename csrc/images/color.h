// Colour, in [0, 1]. F is a float or a pack of them; C channels (the three-channel ops leave other pictures alone, as
// torchvision does with greyscale). Definitions and weights: torchvision.transforms.v2.functional.
#pragma once
#include "../core/normal.h"
#include "../core/philox.h"
#include "program.h"

namespace anamorph {

// What a step that needs the whole view has found in it.
struct Found {
    float mean;          // of its grey
    const float* table;  // [C][TABLE]: what each byte becomes; or the least and how long the range is, of 255
};
enum : int { TABLE = 256 };

// One step of a row's program, ready to use.
struct Step {
    const int32_t* words;
    bool bytes;  // the input is uint8: values lie in [0, 1], and what is defined on integers sees the rounded value
    Found found;
    AM_HD int op() const { return words[S_OP]; }
    AM_HD float number() const { return word_float(words[S_NUMBER]); }
};

// The keys of a noise step in row y of its view, one for each channel; the other one of a pair is its second key.
AM_HD Philox4 noise_keys(const Step& step, int y) {
    return philox4x32_10(0u, uint32_t(y), 0u, 0x0401CEu, uint32_t(step.words[S_KEY]) >> 1, 0u);
}

namespace AM_LEVEL {

template <class F> AM_HD F luma(F r, F g, F b) { return F(0.2989f) * r + F(0.587f) * g + F(0.114f) * b; }
template <int C, class F> AM_HD F gray(const F* c) {
    if constexpr (C >= 3) return luma(c[0], c[1], c[2]);
    else return c[0];
}

// c * keep + other * (1 - keep).
template <int C, class F> AM_HD void weigh(F* c, F other, F keep) {
    F rest = (F(1.0f) - keep) * other;
    for (int i = 0; i < C; ++i) c[i] = c[i] * keep + rest;
}
template <int C, class F> AM_HD void blend(F* c, F other, F keep) {
    weigh<C>(c, other, keep);
    for (int i = 0; i < C; ++i) c[i] = unit_clamp_or_nan(c[i]);
}
// `unit`: c and other lie in [0, 1], where a mean of the two needs no clamp.
template <int C, class F> AM_HD void blend(bool unit, F* c, F other, float keep) {
    if (unit && keep <= 1.0f) weigh<C>(c, other, F(keep));
    else blend<C>(c, other, F(keep));
}
template <int C, class F> AM_HD void brighten(bool bytes, F* c, F factor) {
    for (int i = 0; i < C; ++i) c[i] = bytes ? min_(c[i] * factor, F(1.0f)) : unit_clamp_or_nan(c[i] * factor);
}
template <int C, class F> AM_HD void saturate(F* c, F factor) {
    if constexpr (C == 3) blend<C>(c, gray<C>(c), factor);
}

// Turns the hue by `turn` of a full circle. With the hue h in sextants a channel of HSV's hexagon is low + chroma * x, x a
// trapezoid of h: for red clamp(|h - 3| - 1), for green and blue clamp(2 - |h - 2|) and clamp(2 - |h - 4|). All of it times
// chroma, which saves the division that finds h.
// `turn` is a number, or one for each pixel.
template <class F, class T> AM_HD void turn_hue(F* c, T turn) {
    T sextants = T(6.0f) * (turn - floor_(turn));
    sextants = select(sextants < T(1.0f), sextants + T(6.0f), sextants);  // 1 .. 7, so that one subtraction brings h back
    F r = c[0], g = c[1], b = c[2];
    F top = max_(r, max_(g, b)), low = min_(r, min_(g, b)), chroma = top - low;
    auto red = r == top, green = g == top;
    F h = select(red, F(sextants), select(green, F(sextants + T(2.0f)), F(sextants + T(4.0f)))) * chroma +
          select(red, g - b, select(green, b - r, r - g));
    F circle = F(6.0f) * chroma;
    h = select(h >= circle, h - circle, h);
    F least = low - chroma, most = top + chroma;
    c[0] = clamp_or_nan(abs_(h - F(3.0f) * chroma) + least, low, top);
    c[1] = clamp_or_nan(most - abs_(h - F(2.0f) * chroma), low, top);
    c[2] = clamp_or_nan(most - abs_(h - F(4.0f) * chroma), low, top);
}
template <int C, class F, class T> AM_HD void shift_hue(bool bytes, F* c, T turn) {
    if constexpr (C == 3) {
        F spoilt = (c[0] + c[1] + c[2]) * F(0.0f);  // NaN where one is, as all three then are
        turn_hue(c, turn);
        for (int i = 0; i < C && !bytes; ++i) c[i] = c[i] + spoilt;
    }
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

// The byte that equalize counts: of floats torchvision's, which are cut, not rounded.
template <class F> AM_HD F counted(bool bytes, F v) { return bytes ? as_byte(v) : floor_(unit_clamp(v) * F(255.999f)); }
AM_HD float looked_up(const float* table, float byte) { return table[int(byte)]; }
template <class F> AM_HD F looked_up(const float* table, F byte) {
#if defined(__AVX512F__) && !defined(__CUDACC__)
    return F(FloatBits(_mm512_i32gather_ps((__m512i)to_int(byte).v, table, 4)));
#elif defined(__AVX2__) && !defined(__CUDACC__)
    return F(FloatBits(_mm256_i32gather_ps(table, (__m256i)to_int(byte).v, 4)));
#else
    F out;
    for (int k = 0; k < LANES; ++k) out.v[k] = table[int(byte.v[k])];
    return out;
#endif
}

// One step; `op` is the step's, which a loop may know. Without WHOLE none that needs a whole view. What is noise or of a field needs a place: noise_step, field.h.
template <int C, bool WHOLE = true, class F> AM_HD void color_step(int op, const Step& step, F* c) {
    const float p = step.number();
    const bool bytes = step.bytes;
    switch (op) {
        case OP_BRIGHTNESS: brighten<C>(bytes, c, F(p)); break;
        case OP_CONTRAST:
            if constexpr (WHOLE) blend<C>(bytes, c, F(step.found.mean), p);
            break;
        case OP_CONTRAST_MIDGRAY: blend<C>(bytes, c, F(0.5f), p); break;
        case OP_SATURATION:
            if constexpr (C == 3) blend<C>(bytes, c, gray<C>(c), p);
            break;
        case OP_HUE: shift_hue<C>(bytes, c, p); break;
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
        case OP_SOLARIZE: {  // p: the threshold
            const float threshold = bytes || !step.words[S_IN_BYTES] ? p : p * (1.0f / 255.0f);
            for (int i = 0; i < C; ++i) {
                F seen = bytes ? as_byte(c[i]) : c[i];
                c[i] = select(seen >= F(threshold), F(1.0f) - c[i], c[i]);
            }
            break;
        }
        case OP_SOLARIZE_ADD: {  // p: what is added to values below the middle
            const float add = bytes || step.words[S_IN_BYTES] ? p * (1.0f / 255.0f) : p;
            for (int i = 0; i < C; ++i) {
                F seen = bytes ? as_byte(c[i]) : c[i];
                c[i] = select(seen < F(bytes ? 128.0f : 128.0f / 255.0f), unit_clamp_or_nan(c[i] + F(add)), c[i]);
            }
            break;
        }
        case OP_AUTOCONTRAST:  // torchvision's, whose bytes are rounded down
            for (int i = 0; i < C && WHOLE; ++i) {
                const F least = F(step.found.table[i * TABLE]), per = F(step.found.table[i * TABLE + 1]);
                if (bytes) c[i] = floor_(clamp_((as_byte(c[i]) - least) / per, F(0.0f), F(255.0f))) * F(1.0f / 255.0f);
                else c[i] = unit_clamp_or_nan((c[i] - least) / per);
            }
            break;
        case OP_EQUALIZE:
            for (int i = 0; i < C && WHOLE; ++i)
                c[i] = select(c[i] == c[i], looked_up(step.found.table + i * TABLE, counted(bytes, c[i])), c[i]);
            break;
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

// What autocontrast does to a channel of these values: of bytes they are 0 .. 255.
AM_HD void stretch(float least, float most, bool bytes, float* table) {
    table[0] = least < most ? least : 0.0f;
    table[1] = least < most ? (most - least) * (bytes ? 1.0f / 255.0f : 1.0f) : 1.0f;
}

// What each byte of a channel becomes so that all are as frequent, from how often they are: PIL's table, which is torchvision's.
AM_HD void equalize(const uint32_t* counts, float* table) {
    uint32_t total = 0, last = 0;
    for (int k = 0; k < TABLE; ++k) {
        total += counts[k];
        last = counts[k] ? counts[k] : last;
    }
    const uint32_t step = (total - last) / 255u;
    uint32_t below = step / 2;
    for (int k = 0; k < TABLE; ++k) {
        const uint32_t to = step ? below / step : uint32_t(k);
        table[k] = float(to < 255u ? to : 255u) * (1.0f / 255.0f);
        below += counts[k];
    }
}

// The taps of a blur from the middle outwards, one of each pair, `out` of BLUR_HALF; how many there are. Of BLUR_BOXES those of a box,
// which goes over the picture three times; its ends weigh a part of what the others do (PIL's).
enum : int { BLUR_HALF = MAX_BLUR / 2 + 1 };
AM_HD int blur_passes(int kind) { return kind == BLUR_BOXES ? 3 : 1; }
AM_HD int blur_taps(float sigma, int taps, int kind, float* out) {
    sigma = sigma > 1e-3f ? sigma : 1e-3f;
    if (kind == BLUR_BOXES) {
        const float s2 = sigma * sigma * (1.0f / 3.0f);
        const int inner = min_(int((sqrtf(12.0f * s2 + 1.0f) - 1.0f) * 0.5f), BLUR_HALF - 2);
        const float l = float(inner), above = (l + 1.0f) * (l + 1.0f);
        const float end = min_((2.0f * l + 1.0f) * (l * (l + 1.0f) - 3.0f * s2) / (6.0f * (s2 - above)), 1.0f);
        const uint32_t each = uint32_t(16777216.0f / ((l + end) * 2.0f + 1.0f)),
                       rest = 16777216u - uint32_t(2 * inner + 1) * each;
        for (int k = 0; k <= inner; ++k) out[k] = float(each) * (1.0f / 16777216.0f);
        out[inner + 1] = float(rest / 2u) * (1.0f / 16777216.0f);
        return inner + 2;
    }
    const int most = min_(taps, int(MAX_BLUR)) / 2 + 1;
    int count = 0;
    float sum = 0.0f;
    for (; count < most; ++count) {
        out[count] = expf(-0.5f * float(count * count) / (sigma * sigma));
        if (out[count] < 1e-9f) break;  // and so are all beyond it
        sum += count ? 2.0f * out[count] : out[count];
    }
    for (int k = 0; k < count; ++k) out[k] /= sum;
    return count;
}
// A pass of a box over bytes (0 .. 255), from the sum of the taps inside it and that of the two at its ends: in integers, which say
// how a tie is rounded.
template <class F> AM_HD F boxed(F inner, F ends, float each, float end) {
    using W = typename WordOf<F>::type;
    const W sum = W(to_int(inner)) * W(uint32_t(each * 16777216.0f)) + W(to_int(ends)) * W(uint32_t(end * 16777216.0f));
    return signed_float((sum + W(1u << 23)) >> 24);
}

// A pixel made sharper (p above 1) or softer: away from, or to, the mean of its neighbours. `around`: the sum of the eight.
template <class F> AM_HD F sharpened(bool bytes, F c, F around, float p) {
    F soft = (around + F(5.0f) * c) * F(1.0f / 13.0f);
    if (bytes) soft = as_byte(soft) * F(1.0f / 255.0f);
    return unit_clamp_or_nan(soft + F(p) * (c - soft));
}

// Noise added to the pixels of columns x (words) of a row, whose keys step_keys has.
template <int C, class F, class W> AM_HD void noise_step(const Step& step, const Philox4& keys, W x, F* c) {
    const float mean = word_float(step.words[S_MEAN]), p = step.number();
    for (int i = 0; i < C; ++i) {
        F noise = F(mean) + F(p) * normal(word_at(x, keys.v[i], keys.v[i ^ 1]));
        if (step.bytes) {  // whole levels, towards zero
            F levels = floor_(abs_(noise) * F(255.0f)) * F(1.0f / 255.0f);
            c[i] = c[i] + select(noise < F(0.0f), F(0.0f) - levels, levels);
        } else {
            c[i] = c[i] + noise;
        }
        if (step.words[S_KEY] & 1) c[i] = unit_clamp_or_nan(c[i]);
    }
}

}  // namespace AM_LEVEL
}  // namespace anamorph
