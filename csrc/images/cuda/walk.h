// What the GPU's kernels of views share: a view in shared memory, and the walk over its pixels. A warp takes 32 columns of four rows,
// a thread the four pixels of a column: what lanes read and write at a time lies side by side, a colour step is decoded once for four
// pixels, and what a block reads of the picture is a patch, however the view is turned.
#pragma once
#include <type_traits>

#include "../../core/launch.h"
#include "../../core/warp.h"
#include "../color.h"
#include "../grid.h"
#include "../render.h"
#include "../stages.h"
#include "field_tile.h"
#include "interior.h"

namespace anamorph { namespace AM_LEVEL {

// Blocks of TILE columns and ROUNDS times TILE rows.
enum : int { THREADS = 256, TILE = 32, ROUNDS = 4, POINTS = TILE * TILE / 4 };
static_assert(int(POINTS) <= int(THREADS), "a thread filters one point");
static_assert(int(TILE) == WARP && TILE == THREADS / WARP * LANES, "a warp is as wide as a tile, a block's warps as high");

// A view in shared memory; where its windows are large also grid.h's points that the pixels of a tile lie between, if these are few.
template <int C> struct View : Layer {
    const float* ready;  // [C, out_h, out_w]: what the taps and the steps in `done` have made of it; null: nothing yet
    bool shrunk;         // into a box, from there
    bool large, few;
    Interior interior;
    Grid grid;
    FieldTile tile;
    float points[POINTS][C];

    AM_D void open() {
        ready = nullptr;
        shrunk = false;
        choose_window(reading);
        interior = Interior(reading, whole_lines(picture, C, reading.taps));
        large = !field.moves && reading.beyond == Beyond::DROPPED && !reading.padded && reading.nx * reading.ny > 16 &&
                Grid::smooth(reading);
        few = false;
        grid = {};
    }
    // The coefficients of the field for the tile at (x, y), into `room`. The block's threads come here together, as to draw_points.
    AM_D void draw_field(const RenderArgs& a, int x, int y, float* room) {
        if (!field.used) return;
        const FieldTile t(field, x, y, min_(x + TILE, a.out_w), min_(y + TILE, a.out_h), room);
        if (threadIdx.x == 0) tile = t;
        t.make(field, int(threadIdx.x), THREADS);
    }

    // For the tile at (x, y). The block's threads come here together, after a barrier and before one.
    template <class Source> AM_D void draw_points(const RenderArgs& a, int x, int y) {
        if (!large) return;
        const Reading& r = reading;
        const int at = int(threadIdx.x), right = min_(x + TILE, a.out_w), bottom = min_(y + TILE, a.out_h);
        const Grid g(r, x, y, right, bottom);
        const bool fits = 4 * int64_t(g.w) * g.h <= (right - x) * (bottom - y);  // so no more than POINTS
        if (at == 0) {
            few = fits;
            grid = g;
        }
        if (!fits || at >= g.w * g.h) return;
        float pixel[C];
        weighed<C>(Source(picture), r, clamp_(g.x0 + float(at % g.w) * g.dx, float(r.reach.x0), float(r.reach.x1 + 1)),
                   clamp_(g.y0 + float(at / g.w) * g.dy, float(r.reach.y0), float(r.reach.y1 + 1)), pixel);
        AM_UNROLL
        for (int k = 0; k < C; ++k) points[at][k] = pixel[k];
    }
};

// The view that was made ready, smaller: an average of its pixels around a position of it, as taps.h's TRIANGLE and LINEAR weigh them.
template <int C> AM_D void shrunk_pixel(const float* ready, int width, int height, const Reading& r, float sx, float sy,
                                        float* out) {
    const int nx = min_(r.nx, width), ny = min_(r.ny, height);
    int x0, y0;
    float behind_x, behind_y, total = 0.0f;
    window(clamp_(sx, 0.0f, float(width)), r.reach_x, 0, width - nx, x0, behind_x);
    window(clamp_(sy, 0.0f, float(height)), r.reach_y, 0, height - ny, y0, behind_y);
    AM_UNROLL
    for (int k = 0; k < C; ++k) out[k] = 0.0f;
    AM_UNROLL_BY(1)
    for (int j = 0; j < ny; j += r.step_y) {
        const float wy = triangle_weight((behind_y - float(j)) * r.inverse_y);
        AM_UNROLL_BY(1)
        for (int i = 0; i < nx; i += r.step_x) {
            const float weight = wy * triangle_weight((behind_x - float(i)) * r.inverse_x);
            const float* tap = ready + int64_t(y0 + j) * width + (x0 + i);
            AM_UNROLL
            for (int k = 0; k < C; ++k) out[k] += weight * tap[int64_t(k) * height * width];
            total += weight;
        }
    }
    AM_UNROLL
    for (int k = 0; k < C; ++k) out[k] /= total;
}

// taps.h's read, of a view's points.
template <int C> AM_D void read(const View<C>& v, const Reading& r, float sx, float sy, float* out) {
    const Grid& g = v.grid;
    float u = (sx - g.x0) * g.per_x, t = (sy - g.y0) * g.per_y;
    int x = to_int(clamp_(u, 1.0f, float(g.w - 3))), y = to_int(clamp_(t, 1.0f, float(g.h - 3)));
    AM_UNROLL
    for (int k = 0; k < C; ++k) out[k] = 0.0f;
    for (int j = -1; j < 3; ++j) {
        float wy = cubic_weight(t - float(y + j), -0.5f);
        for (int i = -1; i < 3; ++i) {
            float weight = wy * cubic_weight(u - float(x + i), -0.5f);
            AM_UNROLL
            for (int k = 0; k < C; ++k) out[k] += weight * v.points[(y + j) * g.w + x + i][k];
        }
    }
    AM_UNROLL
    for (int k = 0; k < C && r.bytes; ++k) out[k] = unit_clamp(out[k]);
}

// What views may hold beside pictures, colour and erasures. Registers are for what a kernel's program may do, whether it does it or
// not. READY: also what was made ready, and steps by what was found in a view. EXTRA: also fields and noise.
enum Holds : int { PLAIN, READY, EXTRA };

// The four pixels of a thread: stages.h's walk.
template <int C, class Source, Holds HOLDS> struct Column {
    static constexpr bool NARROWS = false;
    const RenderArgs& args;
    int i;
    float4 (*kept)[THREADS];  // [C][THREADS], shared memory: the own view while the partner's is drawn

    struct At {
        int x, y;  // the uppermost
    };
    struct Pixels {
        Floats c[C];
    };

    AM_D Pixels begin() const { return {}; }
    AM_D Progress taps(const View<C>& v, const At& at, Pixels& px) const {
        const Reading& r = v.reading;
        if constexpr (HOLDS != PLAIN) {
            if (v.ready) {
                from_ready(v, at, px);
                return v.done;
            }
        }
        const Source source(v.picture);
        const At last = {min_(at.x, args.out_w - 1), min_(at.y + LANES, args.out_h) - 1};
        if (v.few || moves(v) || !inside(v, last.x, at.y) || !inside(v, last.x, last.y))
            each(at, px, [&](float x, float y, float* pixel) {
                const Position p = place(v, x, y);
                if (v.few) sample<C>(v, r, p.x, p.y, pixel);
                else sample<C>(source, r, p.x, p.y, pixel);
            });
        else if (r.kernel == NEAREST)
            each_to(at, last, px, [&](float x, float y, float* pixel) {
                float sx, sy;
                affine_to_nearest(r, x, y, sx, sy);
                nearest_inside<C>(source, sx, sy, pixel);
            });
        else if (r.kernel == LINEAR)
            each_inside(r, at, last, px, [&](float sx, float sy, float* pixel) { linear_inside<C>(source, sx, sy, pixel); });
        else each_inside(r, at, last, px, [&](float sx, float sy, float* pixel) { weighed_inside<C>(source, r, sx, sy, pixel); });
        return v.done;
    }
    AM_D void fill(const View<C>& v, const At& at, Pixels& px) const {
        each(at, px, [&](float x, float y, float* pixel) {
            const Position p = place(v, x, y);
            sample_fill<C>(v.reading, p.x, p.y, pixel);
        });
    }
    AM_D void color(const View<C>& v, const int32_t* words, const At& at, Pixels& px) const {
        const Step step{words, args.in.dtype == U8, v.found};
        if constexpr (HOLDS == EXTRA) {
            if (of_field(step.op()) && v.field.words)
                return each(at, px, [&](float x, float y, float* pixel) {
                    float qx, qy;
                    in_field(v.field, x, y, qx, qy);
                    field_step<C>(step, field_value(v.field, v.tile, function_of(words), qx, qy), pixel);
                });
            if (step.op() == OP_GAUSSIAN_NOISE)
                return each(at, px, [&](float x, float y, float* pixel) {
                    const int vx = erased_at(v.place.sx, v.place.tx, int(x)), vy = erased_at(v.place.sy, v.place.ty, int(y));
                    noise_step<C>(step, noise_keys(step, vy), uint32_t(vx), pixel);
                });
        }
        color_step<C, HOLDS != PLAIN>(step.op(), step, px.c);
    }
    AM_D void erase(const View<C>& v, const int32_t* e, const At& at, Pixels& px) const {
        int vx = erased_at(v.place.sx, v.place.tx, at.x);
        if (!of_lattice(e) && (vx < e[0] || vx >= e[2])) return;
        AM_UNROLL
        for (int p = 0; p < LANES; ++p) {
            int vy = erased_at(v.place.sy, v.place.ty, at.y + p);
            if (!erases_row(e, vy)) continue;
            const Philox4 keys = erased_keys(e, vy);
            if (of_lattice(e) && !lattice_erases(e, keys, vx, vy)) continue;
            float pixel[C];
            erased<C>(args, e, keys, uint32_t(vx), pixel);
            AM_UNROLL
            for (int k = 0; k < C; ++k) px.c[k].v[p] = pixel[k];
        }
    }
    AM_D bool narrow(const int32_t* box, const At& at, At&) const {
        return at.x >= box[0] && at.x < box[2] && at.y + LANES > box[1] && at.y < box[3];
    }
    AM_D void keep(Pixels& px) const {
        AM_UNROLL
        for (int k = 0; k < C; ++k) kept[k][threadIdx.x] = make_float4(px.c[k].v[0], px.c[k].v[1], px.c[k].v[2], px.c[k].v[3]);
    }
    AM_D void mix(const int32_t* row, const At& at, Pixels& px) const {
        int rule = row[W_MIX];
        Floats keep(word_float(row[W_LAM]));
        AM_UNROLL
        for (int p = 0; p < LANES; ++p) {
            int y = at.y + p;
            if (rule == MIX_BOX || rule == MIX_RESIZED_BOX) keep.v[p] = y >= row[W_BOX + 1] && y < row[W_BOX + 3] ? 0.0f : 1.0f;
            else if (rule == MIX_MASK && args.mask && shown(at.x, y))
                keep.v[p] = args.mask[i * args.mask_n + y * args.mask_y + at.x * args.mask_x];
        }
        AM_UNROLL
        for (int k = 0; k < C; ++k) {
            float4 own = kept[k][threadIdx.x];
            px.c[k] = lerp(px.c[k], Floats(own.x, own.y, own.z, own.w), keep);
        }
    }
    AM_D int left_to_store(const View<C>&, const At&) const { return 0; }
    AM_D void store(const View<C>&, const At& at, Progress, const Pixels& px) const {
        switch (args.out_dtype) {
            case U8: put(args.out, at, px); break;
            case F32: put(reinterpret_cast<float*>(args.out), at, px); break;
            case F16: put(reinterpret_cast<Half*>(args.out), at, px); break;
            default: put(reinterpret_cast<BFloat*>(args.out), at, px); break;
        }
    }

    AM_D bool shown(int x, int y) const { return x < args.out_w && y < args.out_h; }
    // Where in the view that the reading is of an output position lies.
    static AM_D bool moves(const View<C>& v) { return HOLDS == EXTRA && v.field.moves; }
    static AM_D Position place(const View<C>& v, float x, float y) {
        if constexpr (HOLDS == EXTRA)
            if (v.field.moves) return moved(v.field, v.tile, x, y);
        return {x, y};
    }

private:
    AM_D void from_ready(const View<C>& v, const At& at, Pixels& px) const {
        const int width = args.out_w, height = args.out_h;
        if (v.shrunk)
            return each(at, px, [&](float x, float y, float* pixel) {
                float sx, sy;
                affine(v.reading, x, y, sx, sy);
                shrunk_pixel<C>(v.ready, width, height, v.reading, sx, sy, pixel);
            });
        const int x = min_(at.x, width - 1);
        AM_UNROLL
        for (int p = 0; p < LANES; ++p) {
            const float* from = v.ready + int64_t(min_(at.y + p, height - 1)) * width + x;
            AM_UNROLL
            for (int k = 0; k < C; ++k) px.c[k].v[p] = from[int64_t(k) * height * width];
        }
    }
    // f for each pixel, which is in the program once. Each goes to the end of the line, because registers have no index.
    template <class F> AM_D void each(const At& at, Pixels& px, const F& f) const {
        AM_UNROLL_BY(1)
        for (int p = 0; p < LANES; ++p) {
            float pixel[C];
            AM_UNROLL
            for (int k = 0; k < C; ++k) pixel[k] = px.c[k].v[0];
            f(float(at.x) + 0.5f, float(at.y + p) + 0.5f, pixel);
            AM_UNROLL
            for (int k = 0; k < C; ++k) {
                AM_UNROLL
                for (int q = 1; q < LANES; ++q) px.c[k].v[q - 1] = px.c[k].v[q];
                px.c[k].v[LANES - 1] = pixel[k];
            }
        }
    }
    // The same with no pixel right of or below `last`.
    template <class F> AM_D void each_to(const At& at, const At& last, Pixels& px, const F& f) const {
        each({last.x, at.y}, px, [&](float x, float y, float* pixel) { f(x, min_(y, float(last.y) + 0.5f), pixel); });
    }
    // The same of their positions in the source.
    template <class F> AM_D void each_inside(const Reading& r, const At& at, const At& last, Pixels& px, const F& f) const {
        each_to(at, last, px, [&](float x, float y, float* pixel) {
            float sx, sy;
            affine(r, x, y, sx, sy);
            f(sx, sy, pixel);
        });
    }
    static AM_D bool inside(const View<C>& v, int x, int y) {
        float sx, sy;
        affine(v.reading, float(x) + 0.5f, float(y) + 0.5f, sx, sy);
        return v.interior.has(sx, sy);
    }
    template <class T> AM_D void put(T* out, const At& at, const Pixels& px) const {
        out += i * args.out_n + at.y * args.out_y + at.x * args.out_x;
        AM_UNROLL
        for (int p = 0; p < LANES; ++p, out += args.out_y)
            if (shown(at.x, at.y + p))
                for (int k = 0; k < C; ++k) store_value(px.c[k].v[p] * args.scale[k] + args.bias[k], out + k * args.out_c);
    }
};

// f(type) with a type that has the channels and the source of the pictures.
template <int CHANNELS, class S> struct Reads {
    static constexpr int C = CHANNELS;
    using Source = S;
};
template <int C, class F> void by_layout(const RenderArgs& a, const F& f) {
    // Bytes side by side: the same for all pictures, as ragged ones are packed.
    bool packed = a.in.offsets ? a.in.dtype == U8 : ByteSource<C>::fits(picture_of(a.in, 0, dtype_bytes(a.in.dtype)));
    if (packed) return f(Reads<C, ByteSource<C>>{});
    by_dtype(a.in.dtype, [&](auto value) { f(Reads<C, StridedSource<C, decltype(value)>>{}); });
}
template <class F> void by_source(const RenderArgs& a, const F& f) {
    switch (a.in.channels) {
        case 1: by_layout<1>(a, f); break;
        case 2: by_layout<2>(a, f); break;
        case 3: by_layout<3>(a, f); break;
        default: by_layout<4>(a, f); break;
    }
}

// f(Holds as a type) for a recipe. Strides of any kind have registers to spare; READY is there for what most pictures are, since each
// kernel takes its time to compile.
template <Holds HOLDS> using Held = std::integral_constant<Holds, HOLDS>;
template <class Reads, class F> void by_what_it_holds(const RenderArgs& a, const F& f) {
    if constexpr (std::is_same<typename Reads::Source, ByteSource<Reads::C>>::value)
        if (!a.info.extra && !a.info.most.wholes) return f(Held<PLAIN>{});
    if constexpr (std::is_same<typename Reads::Source, ByteSource<3>>::value)
        if (!a.info.extra) return f(Held<READY>{});
    f(Held<EXTRA>{});
}

}}  // namespace anamorph::AM_LEVEL
