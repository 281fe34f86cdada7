// The stages of an output, in the one order that both backends follow: taps, colour steps (the fill before, between or after them),
// erasures; the same for the partner, mixed in; normalised, cast and stored.
//
// A backend brings a walk: which pixels it takes at a time and how a stage is done to them. On a CPU these are a row (or a part
// of it) in a buffer, on a GPU the four pixels of a thread in registers.
//
//     Walk::At                         which pixels
//     Walk::Pixels                     where their values are
//     begin()                          room for a view
//     taps(view, at, px)               the view sampled; the Progress that was made already (a CPU keeps what a statistic has seen)
//     fill(view, at, px)               its fill, where colour steps come before it
//     color(op, number, mean, at, px)  one colour step
//     erase(view, e, at, px)           one erasure
//     narrow(box, at, inside)          does the box hold any? `inside`: which, where the walk NARROWS what it draws to these
//     keep(px), mix(row, at, px)       the own view put aside; what is drawn now mixed into it
//     left_to_store(view, at)          how many of the last colour steps (0 or 1) the store does on its way
//     store(view, at, done, px)
#pragma once
#include "mix.h"

namespace anamorph {

// One of the two views that make an output: what its row says, ready to use.
struct Layer {
    const int32_t* row;
    Picture picture;
    Reading reading;
    Place place;
    int colors, erases;
    float means[MAX_STEPS];  // of the steps that need one, by their number among these
};

// How much of a view's colour program is done.
struct Progress {
    int step, mean;
    bool filled;
};

// choose_window comes after this, and after place_layer.
AM_HD void open_layer(const RenderArgs& a, int i, Layer& v) {
    v.row = a.rows + int64_t(i) * a.info.row_words;
    v.picture = picture_of(a.in, i, dtype_bytes(a.in.dtype));
    open_reading(v.row, v.picture, v.reading);
    v.place = {1.0f, 0.0f, 1.0f, 0.0f};
    v.colors = count_of(v.row, W_COLORS, a.info.most.colors);
    v.erases = count_of(v.row, W_ERASES, a.info.most.erases);
    v.reading.fill_step = v.reading.fill_step < v.colors ? v.reading.fill_step : v.colors;
}

// The partner's view where the own row says: ResizeMix shrinks it into a box. Its means stay those of the whole view.
AM_HD void place_layer(const RenderArgs& a, const int32_t* own_row, Layer& partner) {
    if (own_row[W_MIX] != MIX_RESIZED_BOX) return;
    partner.place = place_in(own_row + W_BOX, a.out_w, a.out_h);
    shrink_reading(partner.reading, partner.place);
}

// The mean that the step `op` needs, which is the next one. (A row from a file may ask for more than the recipe has.)
AM_HD float next_mean(const RenderArgs& a, const Layer& v, int op, Progress& done) {
    return needs_mean(op) && done.mean < a.info.most.means ? v.means[done.mean++] : 0.0f;
}

// The number of the step that needs mean `n`, or -1.
AM_HD int step_of_mean(const Layer& v, int n) {
    for (int j = 0; j < v.colors; ++j)
        if (needs_mean(color_words(v.row, j)[0]) && n-- == 0) return j;
    return -1;
}

// The view before its colour step `end`.
template <class Walk, class View>
AM_HD Progress draw(const Walk& walk, const View& v, const typename Walk::At& at, int end, typename Walk::Pixels& px) {
    Progress done = walk.taps(v, at, px);
    for (;; ++done.step) {
        if (!done.filled && done.step >= v.reading.fill_step) {
            walk.fill(v, at, px);
            done.filled = true;
        }
        if (done.step >= end) return done;
        const int32_t* w = color_words(v.row, done.step);
        walk.color(w[0], word_float(w[1]), next_mean(walk.args, v, w[0], done), at, px);
    }
}

// The output. `other` is looked at where the own row mixes.
template <class Walk, class View>
AM_HD void render(const Walk& walk, const View& own, const View& other, const typename Walk::At& at) {
    const int rule = own.row[W_MIX];
    const bool boxed = rule == MIX_BOX || rule == MIX_RESIZED_BOX;
    typename Walk::At inside;
    const bool mixed = rule != MIX_NONE && (!boxed || walk.narrow(own.row + W_BOX, at, inside));
    // References, because a CPU would wait for a copy behind its streaming stores.
    const typename Walk::At& there = Walk::NARROWS && boxed ? inside : at;
    const int left = mixed ? 0 : walk.left_to_store(own, at);
    typename Walk::Pixels px = walk.begin();
    Progress done = {0, 0, true};
    for (const View* v = &own;; v = &other) {  // a loop, so that a GPU's program has the stages of a view once
        const typename Walk::At& here = Walk::NARROWS && v == &other ? there : at;
        Progress drawn = draw(walk, *v, here, v->colors - left, px);
        if (v == &own) done = drawn;
        for (int k = 0; k < v->erases; ++k) walk.erase(*v, erase_words(walk.args.info, v->row, k), here, px);
        if (!mixed || v == &other) break;
        walk.keep(px);
    }
    if (mixed) walk.mix(own.row, there, px);
    walk.store(own, at, done, px);
}

}  // namespace anamorph
