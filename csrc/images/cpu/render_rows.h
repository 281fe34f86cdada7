// Rendering on a CPU, row by row: compiled once for each SIMD level (render_cpu_*.cpp), each in its own namespace.
//
// A sample's view goes through a buffer of one row, which stays in the first-level cache, one stage at a time. A view
// whose contrast needs its own grey mean is first drawn up to that step into a buffer of the whole view, so the taps
// are taken once.
#include <new>
#include "../../core/parallel.h"
#include "../color.h"
#include "pixel_rows.h"
#include "../render.h"

namespace anamorph { namespace AM_LEVEL {

struct Scratch {
    float* data = nullptr;
    size_t size = 0;
    float* need(size_t n) {
        if (n > size) {
            free(data);
            size = 0;
            data = static_cast<float*>(aligned_alloc(64, (n * sizeof(float) + 63) / 64 * 64));
            if (!data) throw std::bad_alloc();
            size = n;
        }
        return data;
    }
    ~Scratch() { free(data); }
};

inline int packs_below(int x) { return x / LANES * LANES; }
inline int packs_above(int x) { return packs_below(x + LANES - 1); }

// One picture read by one map, row by row.
template <int C> struct Sampler {
    Picture picture;
    Reading r;
    int pitch;
    bool dense, planes;    // the channels of a pixel lie side by side, or the pixels of a channel do
    Square square;         // square_rows.h
    Between inner, plain;  // where no window touches the rect's edge; where no fill shows

    Sampler(const Picture& p, const Reading& reading, int row_pitch)
        : picture(p), r(reading), pitch(row_pitch), dense(is_dense<C>(p)), planes(!dense && is_dense<1>(p)) {
        inner = between(r, r.tap_x0 + r.reach_x, r.tap_y0 + r.reach_y, r.tap_x1 - r.nx + r.reach_x,
                        r.tap_y1 - r.ny + r.reach_y);
        inner.everywhere = r.movable;
        bool soft = r.kernel != NEAREST;
        float fade_x = soft ? 0.5f / r.slope_x : 0.0f, fade_y = soft ? 0.5f / r.slope_y : 0.0f;
        plain = between(r, r.x0 + fade_x, r.y0 + fade_y, r.x1 - fade_x, r.y1 - fade_y);
        plain.everywhere = !r.filled && !r.perspective;
    }

    // Before the first row: the tables that square views need, in `room`, which is theirs.
    void open(Scratch& room) {
        if ((dense || planes) && Square::wanted(r, pitch)) square.open(r, pitch, room.need(Square::floats(r, pitch)));
    }

    // Columns [xa, xb) (xa on a pack's edge) of row y into buf[C][pitch].
    void row(int y, int xa, int xb, const Stage& stage, float* buf) const {
        int a = xa, b = xa;  // what needs the frame
        if (square.fits && square_row(y, xa, xb, buf)) {
            b = packs_above(xb);
        } else {
            if (dense || planes) {
                columns(inner, r, y, pitch, a, b);
                a = max_(xa, packs_above(a));
                b = max_(a, min_(packs_above(xb), packs_below(b)));
            }
            one_by_one(y, xa, min_(a, xb), buf);
            one_by_one(y, b, xb, buf);
            if (a == b) return;
            staged_row(y, a, b, stage, buf);
        }
        int clear_a, clear_b;
        columns(plain, r, y, pitch, clear_a, clear_b);
        clear_a = min_(b, packs_above(clear_a));
        clear_b = max_(clear_a, packs_below(clear_b));
        framed(y, a, clear_a, buf);
        framed(y, max_(a, clear_b), b, buf);
    }

private:
    void staged_row(int y, int a, int b, const Stage& stage, float* buf) const {
        Dense d = dense_of(picture, 0, dense ? C : 1);
        int most = dense ? place<C>(r, d, y, a, b, stage) : place<1>(r, d, y, a, b, stage);
        if (picture.dtype == F32) return pixels<float>(d, most, a, b, stage, buf);
        if (picture.dtype == F16) return pixels<Half>(d, most, a, b, stage, buf);
        if (picture.dtype == BF16) return pixels<BFloat>(d, most, a, b, stage, buf);
        if (dense) return sample_row<C>(r, d, 0, most, a, b, stage, buf);
        for (int c = 0; c < C; ++c) sample_row<1>(r, dense_of(picture, c, 1), c, most, a, b, stage, buf);
    }
    template <class T> void pixels(const Dense& d, int most, int a, int b, const Stage& stage, float* buf) const {
        pixel_row<C, T>(r, d, dense ? C : 1, dense ? 1 : picture.stride_c, most, a, b, stage, buf);
    }
    bool square_row(int y, int xa, int xb, float* buf) const {
        switch (picture.dtype) {
            case U8: return square_row(picture.data, y, xa, xb, buf);
            case F32: return square_row(reinterpret_cast<const float*>(picture.data), y, xa, xb, buf);
            case F16: return square_row(reinterpret_cast<const Half*>(picture.data), y, xa, xb, buf);
            default: return square_row(reinterpret_cast<const BFloat*>(picture.data), y, xa, xb, buf);
        }
    }
    template <class T> bool square_row(const T* data, int y, int xa, int xb, float* buf) const {
        if (dense) return square.row<C>(r, data, picture.stride_h, 0, y, xa, xb, pitch, buf);
        for (int c = 0; c < C; ++c)
            if (!square.row<1>(r, data + c * picture.stride_c, picture.stride_h, c, y, xa, xb, pitch, buf)) return false;
        return true;
    }
    void one_by_one(int y, int xa, int xb, float* buf) const {
        AnySource<C> source(picture);
        for (int x = xa; x < xb; x += LANES) {
            Floats v[C];
            sample<C>(source, r, Floats::iota() + Floats(float(x) + 0.5f), Floats(float(y) + 0.5f), v);
            for (int c = 0; c < C; ++c) v[c].store(buf + c * pitch + x);
        }
    }
    void framed(int y, int xa, int xb, float* buf) const {
        for (int x = xa; x < xb; x += LANES) {
            Floats v[C], sx, sy, z;
            position(r, Floats::iota() + Floats(float(x) + 0.5f), Floats(float(y) + 0.5f), sx, sy, z);
            for (int c = 0; c < C; ++c) v[c] = Floats::load(buf + c * pitch + x);
            frame<C>(r, sx, sy, z, v);
            for (int c = 0; c < C; ++c) v[c].store(buf + c * pitch + x);
        }
    }
};

// Where the pixels of a step along a row go: back into the row's buffer, or normalised to a float32 output.
template <int C> struct ToBuffer {
    int pitch;
    float* buf;
    AM_HD void operator()(int x, const Floats* v) const {
        for (int c = 0; c < C; ++c) v[c].store(buf + c * pitch + x);
    }
};
template <int C> struct ToOutput {
    int width;
    float* to;
    int64_t plane;
    float scale[C], bias[C];
    bool streams;  // a batch that no cache holds is written past them, or each line would first be read
    ToOutput(const RenderArgs& a, int i, int y)
        : width(a.out_w), to(reinterpret_cast<float*>(a.out) + i * a.out_n + y * a.out_y), plane(a.out_c) {
        for (int c = 0; c < C; ++c) {
            scale[c] = a.scale[c];
            bias[c] = a.bias[c];
        }
        uintptr_t aligned = reinterpret_cast<uintptr_t>(to) | uintptr_t(plane * 4);
        streams = aligned % (LANES * 4) == 0 && int64_t(a.in.batch) * C * a.out_h * a.out_w > (1 << 20);
    }
    static bool fits(const RenderArgs& a) { return a.out_dtype == F32 && a.out_x == 1; }
    AM_HD void operator()(int x, const Floats* v) const {
        for (int c = 0; c < C; ++c) {
            Floats u = v[c] * Floats(scale[c]) + Floats(bias[c]);
            float* p = to + c * plane + x;
            if (x + LANES > width) std::memcpy(p, &u.v, size_t(width - x) * 4);
            else if (streams) stream(u, p);
            else u.store(p);
        }
    }
};

// One colour step along a row: `OP` is known here, so that its code alone is in the loop.
template <int C, int OP, class To> void color_row(float p, float mean, bool bytes, int xa, int xb, int pitch,
                                                  const float* buf, To to) {
    for (int x = xa; x < xb; x += LANES) {
        Floats v[C];
        for (int c = 0; c < C; ++c) v[c] = Floats::load(buf + c * pitch + x);
        color_step<C>(OP, p, mean, bytes, v);
        to(x, v);
    }
}

// Normalise, cast, store.
template <int C, class T> void store_row(const RenderArgs& a, T* out, int pitch, const float* buf) {
    alignas(64) T v[C][LANES];
    for (int x = 0; x < a.out_w; x += LANES) {
        int n = min_(int(LANES), a.out_w - x);
        for (int c = 0; c < C; ++c) {
            Floats u = Floats::load(buf + c * pitch + x) * Floats(a.scale[c]) + Floats(a.bias[c]);
            bool side_by_side = a.out_x == 1 && n == LANES;
            store_pack(u, side_by_side ? out + c * a.out_c + x : v[c]);
        }
        if (a.out_x == 1 && n == LANES) continue;
        if (a.out_c == 1 && a.out_x == C && n == LANES) {  // channels last
            T* to = out + int64_t(x) * C;
            for (int k = 0; k < LANES; ++k)
                for (int c = 0; c < C; ++c) to[k * C + c] = v[c][k];
        } else {
            for (int c = 0; c < C; ++c)
                for (int k = 0; k < n; ++k) out[c * a.out_c + (x + k) * a.out_x] = v[c][k];
        }
    }
}
template <int C> void store_row(const RenderArgs& a, int i, int y, int pitch, const float* buf) {
    if (ToOutput<C>::fits(a)) {
        color_row<C, 0>(0.0f, 0.0f, false, 0, a.out_w, pitch, buf, ToOutput<C>(a, i, y));
        return;
    }
    uint8_t* out = a.out + (i * a.out_n + y * a.out_y) * dtype_bytes(a.out_dtype);
    switch (a.out_dtype) {
        case U8: store_row<C>(a, out, pitch, buf); break;
        case F32: store_row<C>(a, reinterpret_cast<float*>(out), pitch, buf); break;
        case F16: store_row<C>(a, reinterpret_cast<Half*>(out), pitch, buf); break;
        default: store_row<C>(a, reinterpret_cast<BFloat*>(out), pitch, buf); break;
    }
}

template <int C> double gray_sum(int width, int pitch, const float* buf) {
    Floats part(0.0f);
    int x = 0;
    for (; x + LANES <= width; x += LANES) {
        Floats v[C];
        for (int c = 0; c < C; ++c) v[c] = Floats::load(buf + c * pitch + x);
        part = part + gray<C>(v);
    }
    float lanes[LANES];
    part.store(lanes);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int k = 0; k < half; ++k) lanes[k] += lanes[k + half];
    double sum = lanes[0];
    for (; x < width; ++x) {
        float v[C];
        for (int c = 0; c < C; ++c) v[c] = buf[c * pitch + x];
        sum += gray<C>(v);
    }
    return sum;
}

template <int C> struct SampleView {
    const RenderArgs& a;
    int i;
    const int32_t* row;
    int width, pitch;
    Sampler<C> sampler;
    bool bytes;
    int colors, erases;
    float* cache = nullptr;   // the whole view, `cached` steps done
    int cached = 0;
    float means[MAX_STEPS];  // of the view just before step j

    SampleView(const RenderArgs& args, int index)
        : a(args), i(index), row(args.rows + int64_t(index) * args.info.row_words), width(args.out_w),
          pitch(packs_above(args.out_w)), sampler(open(args, index, row, pitch)), bytes(args.in.dtype == U8),
          colors(count_of(row, W_COLORS, args.info.most.colors)), erases(count_of(row, W_ERASES, args.info.most.erases)) {}

    static Sampler<C> open(const RenderArgs& a, int index, const int32_t* row, int pitch) {
        Picture picture = picture_of(a.in, index, dtype_bytes(a.in.dtype));
        return Sampler<C>(picture, reading_of(row, picture), pitch);
    }

    int first_contrast() const {
        for (int j = 0; j < colors; ++j)
            if (color_words(row, j)[0] == OP_CONTRAST) return j;
        return -1;
    }

    template <class To> void step(int j, int xa, int xb, const float* buf, To to) const {
        const int32_t* w = color_words(row, j);
        float p = word_float(w[1]);
        switch (w[0]) {
#define AM_COLOR(name) case OP_##name: color_row<C, OP_##name>(p, means[j], bytes, xa, xb, pitch, buf, to); break;
#define AM_CONTROL(name)
#define AM_GEOMETRY(name)
#define AM_ERASE(name)
#define AM_MIX(name)
#define AM_CASE(name, code, kind, ...) AM_##kind(name)
            AM_OPS(AM_CASE)
#undef AM_CASE
#undef AM_MIX
#undef AM_ERASE
#undef AM_GEOMETRY
#undef AM_CONTROL
#undef AM_COLOR
            default: color_row<C, 0>(p, 0.0f, bytes, xa, xb, pitch, buf, to); break;  // not of this version
        }
    }
    // Steps [from, end) on what lies at `line`; into `buf`, which may be the same. Returns where the result is.
    const float* colour(int from, int end, int xa, int xb, const float* line, float* buf) const {
        for (int j = from; j < end; ++j, line = buf) step(j, xa, xb, line, ToBuffer<C>{pitch, buf});
        return line;
    }

    // Finds the means that contrast steps need, leaving the view in `room` (out_h rows of C * pitch floats).
    void prepare(const Stage& stage, float* room) {
        int h = a.out_h;
        for (int j = first_contrast(); j >= 0 && j < colors; ++j) {
            if (color_words(row, j)[0] != OP_CONTRAST) continue;
            double sum = 0.0;
            for (int y = 0; y < h; ++y) {
                float* buf = room + int64_t(y) * C * pitch;
                if (!cache) sampler.row(y, 0, width, stage, buf);
                colour(cached, j, 0, width, buf, buf);
                sum += gray_sum<C>(width, pitch, buf);
            }
            cache = room;
            cached = j;
            means[j] = float(sum / (double(h) * double(width)));
        }
    }

    // Row y as far as it is in the cache, or its samples in `buf`: columns [xa, xb) (xa on a pack's edge) of [C][pitch].
    const float* begin(int y, int xa, int xb, const Stage& stage, float* buf) const {
        if (cache) return cache + int64_t(y) * C * pitch;
        sampler.row(y, xa, xb, stage, buf);
        return buf;
    }
    // The finished row in `buf`.
    void draw(int y, int xa, int xb, const Stage& stage, float* buf) const {
        colour(cached, colors, xa, xb, begin(y, xa, xb, stage, buf), buf);  // the step that made the cache is still to be done
        erase(y, xa, xb, 1.0f, 0.0f, 1.0f, 0.0f, buf);
    }
    // The finished row to the output. The last step writes there, so that the stores have all its time.
    void show(int y, const Stage& stage, float* buf) const {
        if (colors == cached || !ToOutput<C>::fits(a) || erased(y)) {
            draw(y, 0, width, stage, buf);
            store_row<C>(a, i, y, pitch, buf);
            return;
        }
        const float* line = begin(y, 0, width, stage, buf);
        step(colors - 1, 0, width, colour(cached, colors - 1, 0, width, line, buf), ToOutput<C>(a, i, y));
    }
    bool erased(int y) const {
        for (int k = 0; k < erases; ++k)
            if (y >= erase_words(a.info, row, k)[1] && y < erase_words(a.info, row, k)[3]) return true;
        return false;
    }
    // The same by `shrunk`, which has one more map in front, output x -> sx * x + tx of the view (ResizeMix's box).
    void draw_shrunk(const Sampler<C>& shrunk, int y, int xa, int xb, float sx, float tx, float sy, float ty, const Stage& stage,
                     float* buf) const {
        shrunk.row(y, xa, xb, stage, buf);
        colour(0, colors, xa, xb, buf, buf);
        erase(y, xa, xb, sx, tx, sy, ty, buf);
    }
    void erase(int y, int xa, int xb, float sx, float tx, float sy, float ty, float* buf) const {
        int vy = int(sy * (float(y) + 0.5f) + ty);
        for (int k = 0; k < erases; ++k) {
            const int32_t* e = erase_words(a.info, row, k);
            if (vy < e[1] || vy >= e[3]) continue;
            for (int x = xa; x < xb; ++x) {
                int vx = int(sx * (float(x) + 0.5f) + tx);
                if (vx < e[0] || vx >= e[2]) continue;
                float v[C];
                erased_pixel<C>(a, e, vx, vy, v);
                for (int c = 0; c < C; ++c) buf[c * pitch + x] = v[c];
            }
        }
    }
};

// A view and the partner that is mixed into it.
template <int C> struct Mixer {
    const RenderArgs& a;
    const SampleView<C>&own, &other;
    int rule, x0, x1;
    const int32_t* box;
    float sx, tx, sy, ty;  // ResizeMix: output -> the partner's view
    Sampler<C> shrunk;

    Mixer(const RenderArgs& args, const SampleView<C>& mine, const SampleView<C>& partner)
        : a(args), own(mine), other(partner), rule(mine.row[W_MIX]), box(mine.row + W_BOX), shrunk(partner.sampler) {
        x0 = max_(box[0], 0);
        x1 = min_(box[2], own.width);
        if (rule != MIX_RESIZED_BOX) return;
        sx = float(own.width) / float(box[2] - box[0]);
        sy = float(a.out_h) / float(box[3] - box[1]);
        tx = -sx * float(box[0]);
        ty = -sy * float(box[1]);
        Reading r = shrunk.r;
        shrink_reading(r, sx, tx, sy, ty);
        shrunk = Sampler<C>(shrunk.picture, r, own.pitch);
    }

    // Row y of the partner over or into the own one in buf.
    void row(int y, const Stage& stage, float* buf, float* second) const {
        int w = own.width, pitch = own.pitch;
        if (rule == MIX_CONSTANT || rule == MIX_MASK) {
            float lam = word_float(own.row[W_LAM]);
            other.draw(y, 0, w, stage, second);
            const float* mask = rule == MIX_MASK && a.mask ? a.mask + own.i * a.mask_n + y * a.mask_y : nullptr;
            for (int x = 0; x < w; x += LANES) {
                Floats keep(lam);
                if (mask)
                    for (int k = 0; k < LANES && x + k < w; ++k) keep.v[k] = mask[(x + k) * a.mask_x];
                for (int c = 0; c < C; ++c) {
                    Floats u = Floats::load(buf + c * pitch + x), v = Floats::load(second + c * pitch + x);
                    lerp(v, u, keep).store(buf + c * pitch + x);
                }
            }
            return;
        }
        if (y < box[1] || y >= box[3] || x0 >= x1) return;
        int from = packs_below(x0);
        if (rule == MIX_BOX) other.draw(y, from, x1, stage, second);
        else other.draw_shrunk(shrunk, y, from, x1, sx, tx, sy, ty, stage, second);
        for (int c = 0; c < C; ++c)
            for (int x = x0; x < x1; ++x) buf[c * pitch + x] = second[c * pitch + x];
    }
};

template <int C> void render_band(const RenderArgs& a, int i, int y0, int y1) {
    static thread_local Scratch lines, stages, own_room, other_room, own_table, other_table, shrunk_table;
    SampleView<C> own(a, i);
    own.sampler.open(own_table);
    bool mixed = own.row[W_MIX] != MIX_NONE;
    size_t line = size_t(C) * own.pitch, whole = line * a.out_h;
    float *buf = lines.need(2 * line), *second = buf + line;
    Stage stage(stages.need(Stage::floats(own.pitch)), own.pitch);
    if (own.first_contrast() >= 0) own.prepare(stage, own_room.need(whole));
    if (!mixed) {
        for (int y = y0; y < y1; ++y) own.show(y, stage, buf);
        stream_end();
        return;
    }
    SampleView<C> other(a, partner_of(a, own.row, i));
    other.sampler.open(other_table);
    if (other.first_contrast() >= 0) other.prepare(stage, other_room.need(whole));
    Mixer<C> mixer(a, own, other);
    if (mixer.rule == MIX_RESIZED_BOX) mixer.shrunk.open(shrunk_table);
    for (int y = y0; y < y1; ++y) {
        own.draw(y, 0, own.width, stage, buf);
        mixer.row(y, stage, buf, second);
        store_row<C>(a, i, y, own.pitch, buf);
    }
    stream_end();
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
