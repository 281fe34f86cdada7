// The stages of an output, in the one order that both backends follow: taps, steps (the fill before, between or after them),
// erasures; the same for the partner, mixed in; normalised, cast and stored.
//
// A step that needs the whole view before it (a statistic, a stencil, a blend of layers) is made ready first: the view up to there
// becomes a picture of floats, from which the stages go on (`Layer::done` says how much of them it has behind it).
//
// A backend brings a walk: which pixels it takes at a time and how a stage is done to them. On a CPU these are a row (or a part
// of it) in a buffer, on a GPU the four pixels of a thread in registers.
//
//     Walk::At                         which pixels
//     Walk::Pixels                     where their values are
//     begin()                          room for a view
//     taps(view, at, px)               the view sampled; the Progress that was made already
//     fill(view, at, px)               its fill, where steps come before it
//     color(view, step, at, px)        one step
//     erase(view, e, at, px)           one erasure
//     narrow(box, at, inside)          does the box hold any? `inside`: which, where the walk NARROWS what it draws to these
//     keep(px), mix(row, at, px)       the own view put aside; what is drawn now mixed into it
//     left_to_store(view, at)          how many of the last steps (0 or 1) the store does on its way
//     store(view, at, done, px)
#pragma once
#include "field.h"
#include "ready.h"

namespace anamorph {

// How much of a view's steps is done, and whether its fill is laid.
struct Progress {
    int step;
    bool filled;
};

// One of the views that make an output: what its row says, ready to use.
struct Layer {
    const int32_t* row;
    Picture picture;
    Reading reading;
    Field field;
    Place place;
    int colors, erases;
    Progress done;
    Found found;  // by its next step, where that needs the whole view
};

AM_HD const int32_t* row_of(const RenderArgs& a, int i) { return a.rows + int64_t(i) * a.info.row_words; }

// Of picture `i`. choose_window comes after this, and after place_layer.
AM_HD void open_layer(const RenderArgs& a, const int32_t* row, int i, Layer& v) {
    v.row = row;
    v.picture = picture_of(a.in, i % a.in.batch, dtype_bytes(a.in.dtype));
    open_reading(v.row, v.picture, v.reading);
    v.place = {1.0f, 0.0f, 1.0f, 0.0f};
    v.colors = count_of(v.row, W_COLORS, a.info.most.colors);
    v.erases = count_of(v.row, W_ERASES, a.info.most.erases);
    open_field(a.info, v.row, v.colors, v.field);
    v.reading.fill_step = v.reading.fill_step < v.colors ? v.reading.fill_step : v.colors;
    v.done = {0, !v.reading.late};
    v.found = {};
}
// Layer `k` of those that are blended into a row, which says whose picture it is of.
AM_HD void open_layer_of(const RenderArgs& a, const int32_t* row, int i, int k, Layer& v) {
    const int32_t* layer = row + k * a.info.layer_words;
    open_layer(a, layer, partner_of(a, layer, i), v);
}
// The layers of a blend, whatever a row from a file says.
AM_HD int first_layer(const RenderArgs& a, const int32_t* step) { return kept_in(step[S_LAYER], 1, a.info.most.layers + 1); }
AM_HD int after_layers(const RenderArgs& a, const int32_t* step) {
    return first_layer(a, step) + kept_in(step[S_LAYERS], 0, a.info.most.layers + 1 - first_layer(a, step));
}

// The view goes on from what it was made into.
AM_HD void go_on_from(Layer& v, const Picture& ready, const Progress& done) {
    v.picture = ready;
    open_ready(ready, v.reading);
    v.field.moves = false;
    v.done = done;
}

// The partner's view where the own row says: ResizeMix shrinks it into a box.
AM_HD void place_layer(const RenderArgs& a, const int32_t* own_row, Layer& partner) {
    if (own_row[W_MIX] != MIX_RESIZED_BOX) return;
    partner.place = place_in(own_row + W_BOX, a.out_w, a.out_h);
    Reading& r = partner.reading;
    float all[9];  // the whole of its map, as if the field moved nothing
    for (int i = 0; i < 9; ++i) all[i] = r.m[i];
    if (partner.field.words) place_map(partner.field.after, partner.place);
    if (partner.field.moves) multiply_maps(all, partner.field.after);
    else place_map(all, partner.place);
    for (int i = 0; i < 9 && !partner.field.moves; ++i) r.m[i] = all[i];
    shrink_reading(r, all);
}

// The first step from `from` on that needs the whole view before it, or -1.
AM_HD int next_whole(const Layer& v, int from) {
    for (; from < v.colors; ++from)
        if (needs_whole(color_words(v.row, from)[S_OP])) return from;
    return -1;
}

// Does a step need no more of a view than a statistic?
AM_HD bool is_statistic(int op) {
    return op == OP_CONTRAST || op == OP_FIELD_CONTRAST || op == OP_AUTOCONTRAST || op == OP_EQUALIZE;
}

// How much of a view lies behind it once it was made ready: all up to its last step that needs the whole of it, and its fill, which
// lies in the frame of the source. Of a statistic only what it has found: the step itself is rendering's, but for a view that may
// be shrunk after it. {-1, ..}: the view has no such step.
AM_HD Progress ready_progress(const RenderArgs& a, const Layer& v) {
    int last = -1;
    for (int step = next_whole(v, 0); step >= 0; step = next_whole(v, step + 1)) last = step;
    if (last < 0) return {-1, v.done.filled};
    const bool filled = v.done.filled || v.reading.fill_step <= last;
    if (filled && !a.info.shrinks && is_statistic(color_words(v.row, last)[S_OP])) return {last, true};
    return {filled ? last + 1 : upper(last + 1, v.reading.fill_step), true};
}

// On a GPU: picture i's view goes on from what the launch before has made of it. Where that is, or null.
AM_HD const float* go_on_from_ready(const RenderArgs& a, int i, Layer& v) {
    if (!a.ready) return nullptr;
    const Progress done = ready_progress(a, v);
    if (done.step < 0) return nullptr;
    const int64_t line = a.out_w, plane = line * a.out_h;
    const float* at = ready_of(a, i);
    if (done.step < v.colors && is_statistic(color_words(v.row, done.step)[S_OP])) {
        const float* found = at + ready_room(a).found;
        v.found = {found[0], found + 1};
    }
    go_on_from(v, {reinterpret_cast<const uint8_t*>(at), line, 1, plane, a.out_h, a.out_w, F32}, done);
    return at;
}

// The view before its step `end`.
template <class Walk, class View>
AM_HD Progress draw(const Walk& walk, const View& v, const typename Walk::At& at, int end, typename Walk::Pixels& px) {
    Progress done = walk.taps(v, at, px);
    for (;; ++done.step) {
        if (!done.filled && done.step >= v.reading.fill_step) {
            walk.fill(v, at, px);
            done.filled = true;
        }
        if (done.step >= end) return done;
        const int32_t* step = color_words(v.row, done.step);
        if (changes_pixels(step[S_OP])) walk.color(v, step, at, px);
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
    Progress done = own.done;
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
