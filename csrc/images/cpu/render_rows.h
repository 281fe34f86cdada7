// Rendering on a CPU, row by row: compiled once for each SIMD level (render_*.cpp), each in its own namespace.
//
// A row of a view goes through a buffer that stays in the first-level cache, one stage at a time. A view with steps that need the
// whole of it is first drawn up to the last of these into a room of its own, so that the taps are taken once.
#include <type_traits>

#include "../render.h"
#include "../stages.h"
#include "color_rows.h"
#include "sampler.h"
#include "whole.h"

namespace anamorph { namespace AM_LEVEL {

// A view and how its picture is read; after `prepare` also what was drawn of it.
template <int C> struct View : Layer {
    int pitch;
    Sampler<C> sampler;
    float* cache = nullptr;  // the whole view, [out_h][C][pitch], `done` of it

    View(const Layer& layer, int width)
        : Layer(ready(layer)), pitch(packs_above(width)), sampler(picture, reading, field, pitch) {}
    // Read anew, as place_layer and go_on_from have changed it.
    void reopen() {
        static_cast<Layer&>(*this) = ready(*this);
        sampler = Sampler<C>(picture, reading, field, pitch);
        cache = nullptr;
    }

private:
    static Layer ready(Layer v) {
        choose_window(v.reading);
        return v;
    }
};

// The memory of a view, used again for the next one.
struct Rooms {
    Scratch table, strip, packed, field, whole, found;
    void trim() {
        for (Scratch* room : {&table, &strip, &packed, &field, &whole, &found}) room->trim();
    }
};

// The rows of a sample: stages.h's walk.
template <int C> struct Rows {
    static constexpr bool NARROWS = true;
    const RenderArgs& args;
    int i, pitch;
    bool bytes;
    Stage stage;
    float *first, *second;  // a row of [C][pitch] each

    struct At {
        int y, xa, xb;  // columns [xa, xb), xa on a pack's edge
    };
    struct Pixels {
        const float* from;  // where they are now: in `buf`, or before the first step in a view's cache
        float* buf;
    };

    Pixels begin() const { return {first, first}; }
    Progress taps(const View<C>& v, const At& at, Pixels& px) const {
        px.from = px.buf;
        if (!v.cache) {
            v.sampler.row(at.y, at.xa, at.xb, stage, px.buf);
            return v.done;
        }
        px.from = v.cache + int64_t(at.y) * C * pitch;
        return v.done;
    }
    // Into the buffer, where no step has brought them there.
    void settle(Pixels& px) const {
        if (px.from != px.buf) std::memcpy(px.buf, px.from, size_t(C) * pitch * sizeof(float));
        px.from = px.buf;
    }
    // How much of each pixel of a row is no fill.
    void cover(const View<C>& v, int y, float* buf) const { v.sampler.cover(y, args.out_w, buf); }
    void fill(const View<C>& v, const At& at, Pixels& px) const {
        v.sampler.fill(at.y, at.xa, at.xb, px.from, px.buf);
        px.from = px.buf;
    }
    void color(const View<C>& v, const int32_t* words, const At& at, Pixels& px) const {
        const Step step{words, bytes, v.found};
        if (step.op() == OP_GAUSSIAN_NOISE) noise(v, step, at, px);
        else if (of_field(step.op()) && v.field.words) vary(v, step, at, px);
        else color_row<C>(step, at.xa, at.xb, pitch, px.from, ToBuffer<C>{pitch, px.buf});
        px.from = px.buf;
    }
    void erase(const View<C>& v, const int32_t* e, const At& at, Pixels& px) const {
        int vy = erased_at(v.place.sy, v.place.ty, at.y);
        if (!erases_row(e, vy)) return;
        settle(px);
        // The columns that may show it, give or take one.
        auto column = [&](int vx) { return int(clamp_((float(vx) - v.place.tx) / v.place.sx, float(at.xa), float(at.xb))); };
        const bool lattice = of_lattice(e);
        int xa = packs_below(lattice ? at.xa : max_(column(e[0]) - 1, at.xa)),
            xb = lattice ? at.xb : min_(column(e[2]) + 1, at.xb);
        Philox4 keys = erased_keys(e, vy);
        for (int x = xa; x < xb; x += LANES) {
            Ints vx = to_int(Floats(v.place.sx) * (Floats::iota() + Floats(float(x) + 0.5f)) + Floats(v.place.tx));
            auto inside = lattice ? lattice_erases(e, keys, vx, vy) : vx >= Ints(e[0]) && vx < Ints(e[2]);
            Floats pixels[C];
            erased<C>(args, e, keys, Words(vx), pixels);
            for (int c = 0; c < C; ++c) {
                float* to = px.buf + c * pitch + x;
                select(inside, pixels[c], Floats::load(to)).store(to);
            }
        }
    }
    bool narrow(const int32_t* box, const At& at, At& inside) const {
        int left = max_(box[0], at.xa), right = min_(box[2], at.xb);
        inside = {at.y, packs_below(left), right};
        return left < right && at.y >= box[1] && at.y < box[3];
    }
    void keep(Pixels& px) const {
        settle(px);
        px.buf = second;
    }
    void mix(const int32_t* row, const At& at, Pixels& px) const {
        settle(px);
        if (row[W_MIX] == MIX_BOX || row[W_MIX] == MIX_RESIZED_BOX) {
            for (int c = 0; c < C; ++c)
                for (int x = max_(row[W_BOX], at.xa); x < at.xb; ++x) first[c * pitch + x] = second[c * pitch + x];
        } else {
            const float* mask = row[W_MIX] == MIX_MASK && args.mask ? args.mask + i * args.mask_n + at.y * args.mask_y : nullptr;
            for (int x = at.xa; x < at.xb; x += LANES) {
                Floats keep(word_float(row[W_LAM]));
                if (mask)
                    for (int k = 0; k < LANES && x + k < at.xb; ++k) keep.v[k] = mask[(x + k) * args.mask_x];
                for (int c = 0; c < C; ++c) {
                    Floats u = Floats::load(first + c * pitch + x), v = Floats::load(second + c * pitch + x);
                    lerp(v, u, keep).store(first + c * pitch + x);
                }
            }
        }
        px = {first, first};
    }
    // Into an output of dense rows, where neither fill nor erasure comes after the step.
    int left_to_store(const View<C>& v, const At& at) const {
        if (v.colors == v.done.step) return 0;
        const int last = color_words(v.row, v.colors - 1)[S_OP];
        if (last == OP_GAUSSIAN_NOISE || of_field(last)) return 0;
        if (!by_dtype(args.out_dtype, [&](auto t) { return ToOutput<C, decltype(t)>::fits(args); })) return 0;
        if (!v.done.filled && v.reading.fill_step == v.colors) return 0;
        for (int k = 0; k < v.erases; ++k)
            if (erases_row(erase_words(args.info, v.row, k), at.y)) return 0;
        return 1;
    }
    void store(const View<C>& v, const At& at, Progress done, const Pixels& px) const {
        if (done.step == v.colors) return store_row<C>(args, i, at.y, pitch, px.from);
        const Step step{color_words(v.row, done.step), bytes, v.found};
        by_dtype(args.out_dtype, [&](auto value) {
            const ToOutput<C, decltype(value)> to(args, i, at.y);
            color_row<C>(step, at.xa, at.xb, pitch, px.from, to);
        });
    }

private:
    void vary(const View<C>& v, const Step& step, const At& at, Pixels& px) const {
        const int function = function_of(step.words);
        for (int x = at.xa; x < at.xb; x += LANES) {
            Floats pixels[C];
            for (int c = 0; c < C; ++c) pixels[c] = Floats::load(px.from + c * pitch + x);
            field_step<C>(step, v.sampler.field.value(function, at.y, x), pixels);
            for (int c = 0; c < C; ++c) pixels[c].store(px.buf + c * pitch + x);
        }
    }
    void noise(const View<C>& v, const Step& step, const At& at, Pixels& px) const {
        const Philox4 keys = noise_keys(step, erased_at(v.place.sy, v.place.ty, at.y));
        for (int x = at.xa; x < at.xb; x += LANES) {
            Ints vx = to_int(Floats(v.place.sx) * (Floats::iota() + Floats(float(x) + 0.5f)) + Floats(v.place.tx));
            Floats pixels[C];
            for (int c = 0; c < C; ++c) pixels[c] = Floats::load(px.from + c * pitch + x);
            noise_step<C>(step, keys, Words(vx), pixels);
            for (int c = 0; c < C; ++c) pixels[c].store(px.buf + c * pitch + x);
        }
    }
};

// The taps of a whole view, in a room: views of one picture that have the same need them once.
struct Taps {
    float* room = nullptr;
    bool taken = false;
};

// Have two rows the same taps? Of one picture, not mixed, and bent by no field; with the fill in them, or laid later.
inline bool same_taps(const RenderArgs& a, const int32_t* one, const int32_t* other) {
    auto fill_step = [&](const int32_t* row) { return min_(row[W_FILL_STEP], count_of(row, W_COLORS, a.info.most.colors)); };
    return a.info.most.fields == 0 && one[W_MIX] == MIX_NONE && std::memcmp(one, other, (W_MIX + 1) * sizeof(int32_t)) == 0 &&
           fill_step(one) == fill_step(other);
}

template <int C> void prepare(const Rows<C>& rows, View<C>& v, Rooms& own, bool blends);

// `blends`: it is no layer, which has none of its own, whatever a damaged row says.
template <int C> void open(const Rows<C>& rows, View<C>& v, Rooms& own, bool blends = true, Taps* taps = nullptr) {
    const RenderArgs& a = rows.args;
    if (!taps || !taps->taken) v.sampler.open(own.table, own.strip, own.packed, own.field, a.out_h, a.out_w);
    if (taps) {
        const int64_t line = int64_t(C) * v.pitch;
        for (int y = 0; y < a.out_h && !taps->taken; ++y) v.sampler.row(y, 0, a.out_w, rows.stage, taps->room + y * line);
        taps->taken = true;
        v.cache = taps->room;
    }
    if (next_whole(v, 0) >= 0) prepare(rows, v, own, blends);
}

// The view as far as its step `end`, in its room.
template <int C> float* draw_whole(const Rows<C>& rows, const View<C>& v, int end, int y, float* room) {
    float* line = room + int64_t(y) * C * v.pitch;
    typename Rows<C>::Pixels px = {line, line};
    draw(rows, v, {y, 0, rows.args.out_w}, end, px);
    if (px.from != line) std::memcpy(line, px.from, size_t(C) * v.pitch * sizeof(float));
    return line;
}

// Lays the layers of the step over the view: each its share of what they have altogether.
template <int C> void blend_layers(const Rows<C>& rows, const View<C>& v, const int32_t* step, float* room) {
    static thread_local Rooms layer_rooms;
    const RenderArgs& a = rows.args;
    const float altogether = word_float(step[S_NUMBER]);
    const size_t line = size_t(C) * v.pitch;
    for (size_t x = 0; x < line * a.out_h; x += LANES) (Floats::load(room + x) * Floats(1.0f - altogether)).store(room + x);
    for (int k = first_layer(a, step); k < after_layers(a, step); ++k) {
        Layer opened;
        open_layer_of(a, v.row, rows.i, k, opened);
        View<C> layer(opened, a.out_w);
        open(rows, layer, layer_rooms, false);
        const Floats share(altogether * word_float(layer.row[W_LAM]));
        for (int y = 0; y < a.out_h; ++y) {
            typename Rows<C>::Pixels px = rows.begin();
            draw(rows, layer, {y, 0, a.out_w}, layer.colors, px);
            float* to = room + y * line;
            for (size_t x = 0; x < line; x += LANES) (Floats::load(to + x) + share * Floats::load(px.from + x)).store(to + x);
        }
    }
    layer_rooms.trim();
}

// Draws the view up to the last step that needs the whole of it: past a stencil or a blend, up to a statistic, which is found.
template <int C> void prepare(const Rows<C>& rows, View<C>& v, Rooms& own, bool blends) {
    static thread_local Scratch aside;
    const RenderArgs& a = rows.args;
    float* room = own.whole.need(size_t(C) * v.pitch * a.out_h + 2 * LANES);
    for (int step; (step = next_whole(v, v.found.table ? v.done.step + 1 : v.done.step)) >= 0;) {
        const int32_t* words = color_words(v.row, step);
        const int op = words[S_OP];
        Progress done = {step, v.done.filled || step >= v.reading.fill_step};
        const bool statistic = op == OP_CONTRAST || op == OP_FIELD_CONTRAST || op == OP_AUTOCONTRAST || op == OP_EQUALIZE;
        Statistic<C> seen(op, rows.bytes);
        for (int y = 0; y < a.out_h; ++y) {
            const float* line = draw_whole(rows, v, step, y, room);
            if (!statistic) continue;
            float* cover = done.filled ? nullptr : aside.need(v.pitch);
            if (cover) rows.cover(v, y, cover);
            seen.row(a.out_w, v.pitch, line, cover);
        }
        v.cache = room;
        v.found = {};
        if (statistic) v.found = seen.found(own.found.need(size_t(C) * TABLE));
        else if (op == OP_SHARPNESS)
            sharpen<C>(room, a.out_h, a.out_w, v.pitch, rows.bytes, word_float(words[S_NUMBER]),
                       aside.need(2 * size_t(C) * v.pitch + 2 * LANES));
        else if (op == OP_GAUSSIAN_BLUR)
            Blur(words, rows.bytes).apply(room, a.out_h, a.out_w, C, v.pitch, aside.need(Blur::floats(C, v.pitch)));
        else if (blends) blend_layers(rows, v, words, room);
        if (!statistic) ++done.step;
        v.done = done;
    }
    aside.trim();
}

// The partner's view, shrunk into the box where the own row says so: from what was made ready of it, if anything was.
template <int C> void place(const Rows<C>& rows, const int32_t* own_row, View<C>& v, Rooms& own, Rooms& placed) {
    const RenderArgs& a = rows.args;
    if (v.cache) {  // what a statistic is for is done to the whole view, and its fill is in that one's frame
        int end = v.found.table ? v.done.step + 1 : v.done.step;
        if (!v.done.filled) end = max_(end, v.reading.fill_step);
        for (int y = 0; y < a.out_h && (end > v.done.step || !v.done.filled); ++y) draw_whole(rows, v, end, y, own.whole.data);
        v.done = {end, v.done.filled || end >= v.reading.fill_step};
        v.found = {};
        const Picture ready{reinterpret_cast<const uint8_t*>(v.cache), int64_t(C) * v.pitch, 1, v.pitch, a.out_h, a.out_w, F32};
        go_on_from(v, ready, v.done);
    }
    place_layer(a, own_row, v);
    v.reopen();
    v.sampler.open(placed.table, placed.strip, placed.packed, placed.field, a.out_h, a.out_w);
}

template <int C> void render_band(const RenderArgs& a, int i, int y0, int y1, Taps* taps = nullptr) {
    auto costly = [&](const View<C>& v) { return v.sampler.ways(a.out_h, a.out_w).costly(); };
    auto view_of = [&](int n) {
        Layer v;
        open_layer(a, row_of(a, n), n, v);
        return View<C>(v, a.out_w);
    };
    static thread_local Scratch lines, stages;
    static thread_local Rooms own_rooms, other_rooms, placed_rooms;
    View<C> own = view_of(i);
    const int rule = own.row[W_MIX];
    View<C> other = rule == MIX_NONE ? own : view_of(partner_of(a, own.row, i));
    if (y1 - y0 < a.out_h && (rule == MIX_RESIZED_BOX || costly(own) || (rule != MIX_NONE && costly(other)))) {
        if (y0 > 0) return;  // what is done once for a view is done by the thread of its first band, which draws it whole
        y1 = a.out_h;
    }
    const size_t line = size_t(C) * own.pitch;
    float* buf = lines.need(2 * line);
    Rows<C> rows{a, i, own.pitch, a.in.dtype == U8, Stage(stages.need(Stage::floats(own.pitch)), own.pitch), buf, buf + line};
    open(rows, own, own_rooms, true, taps);
    if (rule != MIX_NONE) open(rows, other, other_rooms);
    if (rule == MIX_RESIZED_BOX) place(rows, own.row, other, other_rooms, placed_rooms);
    for (int y = y0; y < y1; ++y) render(rows, own, other, {y, 0, a.out_w});
    stream_end();
    for (Scratch* room : {&lines, &stages}) room->trim();
    for (Rooms* rooms : {&own_rooms, &other_rooms, &placed_rooms}) rooms->trim();
}

// All views of picture b, one after the other.
template <int C> void render_picture(const RenderArgs& a, int b) {
    static thread_local Scratch room;
    Taps taps;
    const int step = a.in.batch;
    for (int i = b; i < a.batch; i += step) {
        const bool goes_on = i + step < a.batch && same_taps(a, row_of(a, i), row_of(a, i + step));
        if (goes_on && !taps.room) taps.room = room.need(size_t(C) * packs_above(a.out_w) * a.out_h + 2 * LANES);
        render_band<C>(a, i, 0, a.out_h, goes_on || taps.taken ? &taps : nullptr);
        if (!goes_on) taps.taken = false;
    }
    room.trim();
}

template <class F> void by_channels(int channels, const F& f) {
    switch (channels) {
        case 1: f(std::integral_constant<int, 1>{}); break;
        case 2: f(std::integral_constant<int, 2>{}); break;
        case 3: f(std::integral_constant<int, 3>{}); break;
        default: f(std::integral_constant<int, 4>{}); break;
    }
}

void render_task(const RenderArgs& a, int i, int y0, int y1) {
    by_channels(a.in.channels, [&](auto c) { render_band<decltype(c)::value>(a, i, y0, y1); });
}
void render_views(const RenderArgs& a, int b) {
    by_channels(a.in.channels, [&](auto c) { render_picture<decltype(c)::value>(a, b); });
}

}}  // namespace anamorph::AM_LEVEL
