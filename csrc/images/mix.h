// Erasing, mixing with the partner, and the labels that follow.
#pragma once
#include <math.h>
#include "../core/philox.h"
#include "../core/simd.h"
#include "render_args.h"

namespace anamorph {

// How many there are, whatever a row from a file says.
AM_HD int count_of(const int32_t* row, int word, int most) { return row[word] < 0 ? 0 : row[word] < most ? row[word] : most; }
AM_HD const int32_t* color_words(const int32_t* row, int i) { return row + W_HEADER + COLOR_WORDS * i; }
AM_HD const int32_t* erase_words(const RecipeInfo& info, const int32_t* row, int i) {
    return row + W_HEADER + COLOR_WORDS * info.most.colors + ERASE_WORDS * i;
}

AM_HD float lam_of(const RenderArgs& a, const int32_t* row, int i) {
    return row[W_MIX] == MIX_MASK && a.mask_lam ? a.mask_lam[i] : word_float(row[W_LAM]);
}
// The partner row, kept inside the batch whatever the plan says.
AM_HD int partner_of(const RenderArgs& a, const int32_t* row, int i) {
    int p = row[W_PARTNER];
    return p >= 0 && p < a.in.batch ? p : i;
}

// A whole view of width x height, shrunk into the box.
AM_HD Place place_in(const int32_t* box, int width, int height) {
    float w = float(box[2]) - float(box[0]), h = float(box[3]) - float(box[1]);
    float sx = float(width) / (w >= 1.0f ? w : 1.0f),
          sy = float(height) / (h >= 1.0f ? h : 1.0f);  // of an empty box nothing is drawn
    return {sx, -sx * float(box[0]), sy, -sy * float(box[1])};
}

// Where in its view output row or column `at` lies, as erasures see it.
AM_HD int erased_at(float scale, float shift, int at) { return int(AM_LEVEL::product(scale, float(at) + 0.5f) + shift); }

// sin and cos of `t` full turns.
AM_HD void sincos_turn(float t, float& sine, float& cosine) {
#if defined(__CUDA_ARCH__)
    sincospif(2.0f * t, &sine, &cosine);  // sinf's way for large angles takes memory
#else
    sine = sinf(6.2831853071795865f * t);
    cosine = cosf(6.2831853071795865f * t);
#endif
}

// What an erasure writes at (x, y) of its view: C channels. Noise is uniform, or normal: two numbers of Box and Muller's for two
// words.
template <int C> AM_HD void erased_pixel(const RenderArgs& a, const int32_t* e, int x, int y, float* out) {
    const int mode = e[4] & 15;
    const bool uniform = mode == ERASE_CHANNEL_UNIFORM || mode == ERASE_PIXEL_UNIFORM;
    for (int c = 0; c < C; ++c) out[c] = word_float(e[6 + c]);
    if (mode != ERASE_CONSTANT) {
        bool each = mode == ERASE_PIXEL_NOISE || mode == ERASE_PIXEL_UNIFORM;
        Philox4 p = philox4x32_10(uint32_t(each ? x : 0), uint32_t(each ? y : 0), 0u, 0xE8A5Eu, uint32_t(e[5]), 0u);
        for (int c = 0; c < C; c += 2) {
            float u = (float(p.v[c] >> 8) + 0.5f) * 5.9604644775390625e-08f, t = float(p.v[c + 1] >> 8) * 5.9604644775390625e-08f;
            float r = sqrtf(-2.0f * logf(u)), sine, cosine;
            sincos_turn(t, sine, cosine);
            out[c] = uniform ? u : r * cosine;
            if (c + 1 < C) out[c + 1] = uniform ? t : r * sine;
        }
    }
    if ((e[4] & SLOT_NORMALISED) && !uniform)
        for (int c = 0; c < C; ++c) out[c] = out[c] * a.std[c] + a.mean[c];
}

AM_HD float own_share(const RenderArgs& a, const int32_t* row, int i) {
    return row[W_MIX] == MIX_NONE ? 1.0f : lam_of(a, row, i);
}

// Class k of the soft target: y_a * lam + y_b * (1 - lam), smoothed as in timm's mixup_target.
AM_HD float soft_target(const Targets& t, int i, int partner, float lam, int k) {
    float off = t.off, on = 1.0f - t.smoothing;
    float ya = t.labels ? (t.labels[i] == k ? 1.0f : 0.0f) : t.soft[i * t.soft_stride + k];
    float yb = t.labels ? (t.labels[partner] == k ? 1.0f : 0.0f) : t.soft[partner * t.soft_stride + k];
    return lam * (ya * on + off) + (1.0f - lam) * (yb * on + off);
}

// One row of the targets, by `workers` threads of which this is one.
AM_HD void write_targets(const RenderArgs& a, int i, int worker = 0, int workers = 1) {
    const Targets& t = a.targets;
    if (!t.pair_a && !t.out) return;
    const int32_t* row = a.rows + int64_t(i) * a.info.row_words;
    int partner = partner_of(a, row, i);
    float lam = own_share(a, row, i);
    if (t.pair_a) {
        if (worker != 0) return;
        t.pair_a[i] = t.labels[i];
        t.pair_b[i] = t.labels[partner];
        t.pair_lam[i] = lam;
        return;
    }
    for (int k = worker; k < t.classes; k += workers) t.out[int64_t(i) * t.classes + k] = soft_target(t, i, partner, lam, k);
}

}  // namespace anamorph
