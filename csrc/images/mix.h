// Erasing, mixing with the partner, and the labels that follow.
#pragma once
#include "../core/normal.h"
#include "../core/philox.h"
#include "render_args.h"

namespace anamorph {

// How many there are, whatever a row from a file says.
AM_HD int count_of(const int32_t* row, int word, int most) { return row[word] < 0 ? 0 : row[word] < most ? row[word] : most; }
AM_HD const int32_t* color_words(const int32_t* row, int i) { return row + W_HEADER + COLOR_WORDS * i; }
AM_HD const int32_t* erase_words(const RecipeInfo& info, const int32_t* row, int i) {
    return row + W_HEADER + COLOR_WORDS * info.most.colors + ERASE_WORDS * i;
}
AM_HD const int32_t* field_words(const RecipeInfo& info, const int32_t* row) { return erase_words(info, row, info.most.erases); }

AM_HD float lam_of(const RenderArgs& a, const int32_t* row, int i) {
    return row[W_MIX] == MIX_MASK && a.mask_lam ? a.mask_lam[i] : word_float(row[W_LAM]);
}
// The partner's row, of the same view; kept inside the batch whatever the plan says.
AM_HD int partner_of(const RenderArgs& a, const int32_t* row, int i) {
    const int p = row[W_PARTNER];
    return p >= 0 && p < a.in.batch ? i - i % a.in.batch + p : i;
}

// A whole view of width x height, shrunk into the box.
AM_HD Place place_in(const int32_t* box, int width, int height) {
    float w = float(box[2]) - float(box[0]), h = float(box[3]) - float(box[1]);
    float sx = float(width) / (w >= 1.0f ? w : 1.0f),
          sy = float(height) / (h >= 1.0f ? h : 1.0f);  // of an empty box nothing is drawn
    return {sx, -sx * float(box[0]), sy, -sy * float(box[1])};
}

AM_HD bool of_lattice(const int32_t* e) { return (e[E_MODE] & 15) >= ERASE_STRIPS; }
// May an erasure show in row y of its view?
AM_HD bool erases_row(const int32_t* e, int y) { return of_lattice(e) || (y >= e[1] && y < e[3]); }

// The keys of an erasure's noise in row y of its view, one for each channel; the other one of a pair is its second key. Of a lattice:
// its cells'.
AM_HD Philox4 erased_keys(const int32_t* e, int y) {
    int mode = e[E_MODE] & 15;
    if (mode == ERASE_CONSTANT || mode == ERASE_STRIPS || mode == ERASE_SQUARES) return {};
    bool each = mode == ERASE_PIXEL_NOISE || mode == ERASE_PIXEL_UNIFORM;
    return philox4x32_10(0u, each ? uint32_t(y) : 0u, 0u, 0xE8A5Eu, uint32_t(e[E_KEY]), 0u);
}

namespace AM_LEVEL {

// Where in its view output row or column `at` lies, as erasures see it.
AM_HD int erased_at(float scale, float shift, int at) { return int(AM_LEVEL::product(scale, float(at) + 0.5f) + shift); }

// Does a lattice erase columns x of row y of its view?
template <class I> AM_HD auto lattice_erases(const int32_t* e, const Philox4& keys, I x, int y) {
    using F = decltype(to_float(x));
    using W = typename WordOf<F>::type;
    const float cosine = word_float(e[E_COSINE]), sine = word_float(e[E_SINE]), row = float(y) + 0.5f, most = 2.0f * MAX_SIDE;
    const F column = to_float(x) + F(0.5f), share(word_float(e[E_SHARE]));
    const F u = clamp_(product(F(cosine), column) + F(word_float(e[E_ACROSS]) - product(sine, row)), F(-most), F(most));
    const F v = clamp_(product(F(sine), column) + F(word_float(e[E_DOWN]) + product(cosine, row)), F(-most), F(most));
    const F left = floor_(u), top = floor_(v);
    const int mode = e[E_MODE] & 15;
    if (mode == ERASE_CELLS) {
        const W word = word_at(W(to_int(top)) * W(uint32_t(MAX_SIDE)) + W(to_int(left)), keys.v[0], keys.v[1]);
        return signed_float(word >> 8) < share * F(16777216.0f);
    }
    const F within = min_(u - left, v - top);
    return mode == ERASE_SQUARES ? within >= share : within < share;
}

// What an erasure writes into columns x (words) of a row of its view.
template <int C, class F, class W> AM_HD void erased(const RenderArgs& a, const int32_t* e, const Philox4& keys, W x, F* out) {
    const int mode = e[E_MODE] & 15;
    const bool each = mode == ERASE_PIXEL_NOISE || mode == ERASE_PIXEL_UNIFORM,
               uniform = mode == ERASE_CHANNEL_UNIFORM || mode == ERASE_PIXEL_UNIFORM;
    for (int c = 0; c < C; ++c) {
        if (mode == ERASE_CONSTANT || mode >= ERASE_STRIPS) {
            out[c] = F(word_float(e[E_VALUE + c]));
        } else {
            W word = word_at(each ? x : W(0u), keys.v[c], keys.v[c ^ 1]);
            out[c] = uniform ? signed_float(word >> 8) * F(5.9604644775390625e-08f) : normal(word);
        }
        if ((e[E_MODE] & SLOT_NORMALISED) && !uniform) out[c] = out[c] * F(a.std[c]) + F(a.mean[c]);
    }
}

}  // namespace AM_LEVEL

AM_HD float own_share(const RenderArgs& a, const int32_t* row, int i) {
    return row[W_MIX] == MIX_NONE ? 1.0f : lam_of(a, row, i);
}

// Class k of the soft target: y_a * lam + y_b * (1 - lam), smoothed as in timm's mixup_target.
AM_HD float soft_target(const Targets& t, int i, int partner, float lam, int k) {  // two samples' labels
    float off = t.off, on = 1.0f - t.smoothing;
    float ya = t.labels ? (t.labels[i] == k ? 1.0f : 0.0f) : t.soft[i * t.soft_stride + k];
    float yb = t.labels ? (t.labels[partner] == k ? 1.0f : 0.0f) : t.soft[partner * t.soft_stride + k];
    return lam * (ya * on + off) + (1.0f - lam) * (yb * on + off);
}

// One row of the targets, by `workers` threads of which this is one. A clip has one row, the mean of its frames', whose shares may
// differ. (In double: the mean of what is the same is the same.)
AM_HD void write_targets(const RenderArgs& a, int i, int worker = 0, int workers = 1) {
    const Targets& t = a.targets;
    const int frames = a.in.frames, clip = i / frames, given = a.in.batch / frames, own = clip % given;  // whose label
    if ((!t.pair_a && !t.out) || i != clip * frames) return;
    auto share = [&](int f) { return own_share(a, a.rows + int64_t(i + f) * a.info.row_words, i + f); };
    auto partner = [&](int f) { return partner_of(a, a.rows + int64_t(i + f) * a.info.row_words, i + f) / frames % given; };
    const double each = 1.0 / frames;
    const float lam = share(0);
    int with = partner(0);
    if (t.pair_a) {
        if (worker != 0) return;
        double sum = double(lam);
        for (int f = 1; f < frames; ++f) {
            sum += double(share(f));
            if (with == own) with = partner(f);
        }
        t.pair_a[clip] = t.labels[own];
        t.pair_b[clip] = t.labels[with];
        t.pair_lam[clip] = float(sum * each);
        return;
    }
    for (int k = worker; k < t.classes; k += workers) {
        float value = soft_target(t, own, with, lam, k);
        if (frames > 1) {
            double sum = double(value);
            for (int f = 1; f < frames; ++f) sum += double(soft_target(t, own, partner(f), share(f), k));
            value = float(sum * each);
        }
        t.out[int64_t(clip) * t.classes + k] = value;
    }
}

}  // namespace anamorph
