// Rendering on a CPU, row by row: compiled once for each SIMD level (render_*.cpp), each in its own namespace.
//
// A row of a view goes through a buffer that stays in the first-level cache, one stage at a time. A view whose steps need its own
// grey mean is first drawn up to the last such step into a buffer of the whole view, so that the taps are taken once.
#include "../render.h"
#include "../stages.h"
#include "color_rows.h"
#include "sampler.h"

namespace anamorph { namespace AM_LEVEL {

// A view and how its picture is read; after `prepare` also what was drawn of it.
template <int C> struct View : Layer {
    int pitch;
    Sampler<C> sampler;
    float* cache = nullptr;  // the whole view, [out_h][C][pitch], `done` of it
    Progress done;

    static Layer layer(const RenderArgs& a, int i) {
        Layer v;
        open_layer(a, i, v);
        choose_window(v.reading);
        return v;
    }
    View(const RenderArgs& a, int i)
        : Layer(layer(a, i)), pitch(packs_above(a.out_w)), sampler(picture, reading, pitch), done{0, 0, !reading.late} {}
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
        if (v.cache) px.from = v.cache + int64_t(at.y) * C * pitch;
        else v.sampler.row(at.y, at.xa, at.xb, stage, px.buf);
        return v.done;
    }
    void fill(const View<C>& v, const At& at, Pixels& px) const {
        v.sampler.fill(at.y, at.xa, at.xb, px.from, px.buf);
        px.from = px.buf;
    }
    void color(int op, float number, float mean, const At& at, Pixels& px) const {
        color_row<C>(op, number, mean, bytes, at.xa, at.xb, pitch, px.from, ToBuffer<C>{pitch, px.buf});
        px.from = px.buf;
    }
    void erase(const View<C>& v, const int32_t* e, const At& at, Pixels& px) const {
        int vy = erased_at(v.place.sy, v.place.ty, at.y);
        if (vy < e[1] || vy >= e[3]) return;
        // The columns that may show it, give or take one.
        auto column = [&](int vx) { return int(clamp_((float(vx) - v.place.tx) / v.place.sx, float(at.xa), float(at.xb))); };
        int xa = packs_below(max_(column(e[0]) - 1, at.xa)), xb = min_(column(e[2]) + 1, at.xb);
        Philox4 keys = erased_keys(e, vy);
        for (int x = xa; x < xb; x += LANES) {
            Ints vx = to_int(Floats(v.place.sx) * (Floats::iota() + Floats(float(x) + 0.5f)) + Floats(v.place.tx));
            auto inside = vx >= Ints(e[0]) && vx < Ints(e[2]);
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
    void keep(Pixels& px) const { px.buf = second; }
    void mix(const int32_t* row, const At& at, Pixels& px) const {
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
        if (v.colors == v.done.step || !by_dtype(args.out_dtype, [&](auto t) { return ToOutput<C, decltype(t)>::fits(args); }))
            return 0;
        if (!v.done.filled && v.reading.fill_step == v.colors) return 0;
        for (int k = 0; k < v.erases; ++k) {
            const int32_t* e = erase_words(args.info, v.row, k);
            if (at.y >= e[1] && at.y < e[3]) return 0;
        }
        return 1;
    }
    void store(const View<C>& v, const At& at, Progress done, const Pixels& px) const {
        if (done.step == v.colors) return store_row<C>(args, i, at.y, pitch, px.from);
        const int32_t* w = color_words(v.row, done.step);
        const float mean = next_mean(args, v, w[0], done);
        by_dtype(args.out_dtype, [&](auto value) {
            const ToOutput<C, decltype(value)> to(args, i, at.y);
            color_row<C>(w[0], word_float(w[1]), mean, bytes, at.xa, at.xb, pitch, px.from, to);
        });
    }
};

// Finds the means that the view's steps need, leaving the view in `room`: [out_h][C][pitch].
template <int C> void prepare(const Rows<C>& rows, View<C>& v, float* room) {
    const RenderArgs& a = rows.args;
    for (int n = 0, step; (step = step_of_mean(v, n)) >= 0; ++n) {
        double sum = 0.0;
        for (int y = 0; y < a.out_h; ++y) {
            float* line = room + int64_t(y) * C * v.pitch;
            typename Rows<C>::Pixels px = {line, line};
            draw(rows, v, {y, 0, a.out_w}, step, px);
            sum += gray_sum<C>(a.out_w, v.pitch, px.from);
        }
        v.cache = room;
        v.done = {step, n, step >= v.reading.fill_step};
        v.means[n] = float(sum / (double(a.out_h) * double(a.out_w)));
    }
}

template <int C> void render_band(const RenderArgs& a, int i, int y0, int y1) {
    auto costly = [&](const View<C>& v) { return v.sampler.ways(a.out_h, a.out_w).costly(); };
    static thread_local Scratch lines, stages, own_room, other_room, own_table, other_table, own_strip, other_strip, own_packed,
        other_packed;
    View<C> own(a, i);
    const int rule = own.row[W_MIX];
    View<C> other(a, rule == MIX_NONE ? i : partner_of(a, own.row, i));
    if (y1 - y0 < a.out_h && (rule == MIX_RESIZED_BOX || costly(own) || (rule != MIX_NONE && costly(other)))) {
        if (y0 > 0) return;  // what is done once for a view is done by the thread of its first band, which draws it whole
        y1 = a.out_h;
    }
    size_t line = size_t(C) * own.pitch, whole = line * a.out_h;
    float* buf = lines.need(2 * line);
    Rows<C> rows{a, i, own.pitch, a.in.dtype == U8, Stage(stages.need(Stage::floats(own.pitch)), own.pitch), buf, buf + line};
    auto open = [&](View<C>& v, Scratch& table, Scratch& strip, Scratch& packed, Scratch& room) {
        v.sampler.open(table, strip, packed, a.out_h, a.out_w);
        if (step_of_mean(v, 0) >= 0) prepare(rows, v, room.need(whole));
    };
    auto all = [&](const View<C>& other) {
        for (int y = y0; y < y1; ++y) render(rows, own, other, {y, 0, a.out_w});
    };
    open(own, own_table, own_strip, own_packed, own_room);
    if (rule == MIX_NONE) {
        all(own);
    } else {
        open(other, other_table, other_strip, other_packed, other_room);
        if (rule == MIX_RESIZED_BOX) {  // drawn anew, in the box
            place_layer(a, own.row, other);
            choose_window(other.reading);
            other.sampler = Sampler<C>(other.picture, other.reading, own.pitch);
            other.sampler.open(other_table, other_strip, other_packed, a.out_h, a.out_w);
            other.cache = nullptr;
            other.done = {0, 0, !other.reading.late};
        }
        all(other);
    }
    stream_end();
    for (Scratch* room : {&lines, &stages, &own_room, &other_room, &own_table, &other_table, &own_strip, &other_strip,
                          &own_packed, &other_packed})
        room->trim();
}

void render_task(const RenderArgs& a, int i, int y0, int y1) {
    switch (a.in.channels) {
        case 1: render_band<1>(a, i, y0, y1); break;
        case 2: render_band<2>(a, i, y0, y1); break;
        case 3: render_band<3>(a, i, y0, y1); break;
        default: render_band<4>(a, i, y0, y1); break;
    }
}

}}  // namespace anamorph::AM_LEVEL
