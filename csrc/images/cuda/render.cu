// Rendering on a GPU. A block works on one sample: what its threads share of it lies in shared memory. A warp takes 32 columns of
// four rows, a thread the four pixels of a column: what lanes read and write at a time lies side by side, a colour step is decoded
// once for four pixels, and what a block reads of the picture is a patch, however the view is turned.
#define AM_LEVEL cuda
#include "../../core/launch.h"
#include "../../core/warp.h"
#include "../color.h"
#include "../grid.h"
#include "../render.h"
#include "../stages.h"
#include "interior.h"

namespace anamorph {
namespace {

using namespace cuda;

// Blocks of TILE columns and ROUNDS times TILE rows.
enum : int { THREADS = 256, TILE = 32, ROUNDS = 4, POINTS = TILE * TILE / 4 };
static_assert(int(POINTS) <= int(THREADS), "a thread filters one point");
static_assert(int(TILE) == WARP && TILE == THREADS / WARP * LANES, "a warp is as wide as a tile, a block's warps as high");

// How many blocks share a multiprocessor's registers: four leave a thread 64, three 80, two 128, which strides of any kind take.
// AM_STRIDED_BLOCKS=3 is for a GPU to judge (docs/performance.md).
#ifndef AM_STRIDED_BLOCKS
#define AM_STRIDED_BLOCKS 2
#endif
template <class Source> constexpr int BLOCKS = AM_STRIDED_BLOCKS;
template <int C> constexpr int BLOCKS<ByteSource<C>> = C < 4 ? 4 : 3;
template <class Source> constexpr int MEAN_BLOCKS = BLOCKS<Source> > 2 ? BLOCKS<Source> - 1 : 2;  // a grey sum is one value more

// A view in shared memory; where its windows are large also grid.h's points that the pixels of a tile lie between, if these are few.
template <int C> struct View : Layer {
    bool large, few;
    Interior interior;
    Grid grid;
    float points[POINTS][C];

    AM_D void open() {
        choose_window(reading);
        interior = Interior(reading, whole_lines(picture, C, reading.taps));
        large = reading.beyond == Beyond::DROPPED && !reading.padded && reading.nx * reading.ny > 16 && Grid::smooth(reading);
        few = false;
        grid = {};
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

// The four pixels of a thread: stages.h's walk.
template <int C, class Source> struct Column {
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
        const Source source(v.picture);
        const Reading& r = v.reading;
        const At last = {min_(at.x, args.out_w - 1), min_(at.y + LANES, args.out_h) - 1};
        if (v.few || !inside(v, last.x, at.y) || !inside(v, last.x, last.y))
            each(at, px, [&](float x, float y, float* pixel) {
                if (v.few) sample<C>(v, r, x, y, pixel);
                else sample<C>(source, r, x, y, pixel);
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
        return {0, 0, !r.late};
    }
    AM_D void fill(const View<C>& v, const At& at, Pixels& px) const {
        each(at, px, [&](float x, float y, float* pixel) { sample_fill<C>(v.reading, x, y, pixel); });
    }
    AM_D void color(int op, float number, float mean, const At&, Pixels& px) const {
        color_step<C>(op, number, mean, args.in.dtype == U8, px.c);
    }
    AM_D void erase(const View<C>& v, const int32_t* e, const At& at, Pixels& px) const {
        int vx = erased_at(v.place.sx, v.place.tx, at.x);
        if (vx < e[0] || vx >= e[2]) return;
        AM_UNROLL
        for (int p = 0; p < LANES; ++p) {
            int vy = erased_at(v.place.sy, v.place.ty, at.y + p);
            if (vy < e[1] || vy >= e[3]) continue;
            float pixel[C];
            erased<C>(args, e, erased_keys(e, vy), uint32_t(vx), pixel);
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

private:
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
    AM_D bool shown(int x, int y) const { return x < args.out_w && y < args.out_h; }
    template <class T> AM_D void put(T* out, const At& at, const Pixels& px) const {
        out += i * args.out_n + at.y * args.out_y + at.x * args.out_x;
        AM_UNROLL
        for (int p = 0; p < LANES; ++p, out += args.out_y)
            if (shown(at.x, at.y + p))
                for (int k = 0; k < C; ++k) store_value(px.c[k].v[p] * args.scale[k] + args.bias[k], out + k * args.out_c);
    }
};

// The grey means of the view's steps before mean `end`, from the parts that mean_kernel left.
AM_D void read_means(const RenderArgs& a, int i, int end, int lane, Layer& v) {
    for (int n = lane; n < end; n += WARP) {
        const float* parts = a.means + (int64_t(i) * a.info.most.means + n) * MEAN_PARTS;
        float sum = 0.0f;
        for (int p = 0; p < MEAN_PARTS; ++p) sum += parts[p];
        v.means[n] = sum / (float(a.out_h) * float(a.out_w));
    }
}

template <int C, class Source>
__global__ void __launch_bounds__(THREADS, BLOCKS<Source>) render_kernel(const __grid_constant__ RenderArgs a, int tiles) {
    // An array, and no choice between two: the compiler would load from both, and racecheck see one warp read what another writes.
    __shared__ View<C> views[2];
    __shared__ float4 kept[C][THREADS];
    const int i = int(blockIdx.x) / tiles, lane = int(threadIdx.x % WARP), warp = int(threadIdx.x / WARP);
    const int32_t* row = a.rows + int64_t(i) * a.info.row_words;
    if (warp < 2) {  // a warp for each view
        View<C>& v = views[warp];
        int from = warp == 0 ? i : partner_of(a, row, i);
        if (lane == 0) {
            open_layer(a, from, v);
            if (warp == 1) place_layer(a, row, v);
        }
        __syncwarp();  // and what lies in registers goes to shared memory
        if (lane == 0) {
            v.open();
            if (warp == 1 && row[W_MIX] == MIX_NONE) v.large = false;
        }
        if (a.means) read_means(a, from, a.info.most.means, lane, v);
    }
    const int tile = int(blockIdx.x) - i * tiles;
    if (tile == 0) write_targets(a, i, int(threadIdx.x), THREADS);
    __syncthreads();

    const View<C>&own = views[0], &other = views[1];
    int across = (a.out_w + TILE - 1) / TILE;
    int left = tile % across * TILE, top = tile / across * (TILE * ROUNDS);
    Column<C, Source> walk{a, i, kept};
    for (int round = 0; round < ROUNDS && top < a.out_h; ++round, top += TILE) {
        if (own.large || other.large) {
            __syncthreads();
            AM_UNROLL_BY(1)
            for (View<C>& v : views) v.template draw_points<Source>(a, left, top);
            __syncthreads();
        }
        int y = top + warp * LANES;
        if (y < a.out_h) render(walk, own, other, {left + lane, y});
    }
}

// One of MEAN_PARTS sums of the grey of a view just before the step that needs mean `n`.
template <int C, class Source>
__global__ void __launch_bounds__(THREADS, MEAN_BLOCKS<Source>) mean_kernel(const __grid_constant__ RenderArgs a, int n) {
    __shared__ View<C> view;
    __shared__ float room[THREADS / WARP];
    __shared__ int step;
    int i = int(blockIdx.x) / MEAN_PARTS, part = int(blockIdx.x) % MEAN_PARTS;
    int lane = int(threadIdx.x % WARP), warp = int(threadIdx.x / WARP);
    if (threadIdx.x == 0) open_layer(a, i, view);
    __syncwarp();
    if (threadIdx.x == 0) {
        view.open();
        step = step_of_mean(view, n);
    }
    if (warp == 0) read_means(a, i, n, lane, view);
    __syncthreads();

    int across = (a.out_w + TILE - 1) / TILE, tiles = step < 0 ? 0 : across * ((a.out_h + TILE - 1) / TILE);
    Column<C, Source> walk{a, i, nullptr};
    float sum = 0.0f;
    for (int tile = part; tile < tiles; tile += MEAN_PARTS) {
        const int left = tile % across * TILE, top = tile / across * TILE;
        if (view.large) {
            __syncthreads();
            view.template draw_points<Source>(a, left, top);
            __syncthreads();
        }
        typename Column<C, Source>::At at = {left + lane, top + warp * LANES};
        auto px = walk.begin();
        draw(walk, view, at, step, px);
        Floats grey = gray<C>(px.c);
        AM_UNROLL
        for (int p = 0; p < LANES; ++p)
            if (at.x < a.out_w && at.y + p < a.out_h) sum += grey.v[p];
    }
    sum = block_sum<THREADS>(sum, room);
    if (threadIdx.x == 0) a.means[(int64_t(i) * a.info.most.means + n) * MEAN_PARTS + part] = sum;
}

template <int C, class Source> void run(const RenderArgs& a, void* stream) {
    if constexpr (C == 1 || C == 3)                  // contrast is of grey or RGB: images/render.py refuses others
        for (int n = 0; n < a.info.most.means; ++n)  // each needs the one before
            launch("mean", mean_kernel<C, Source>, unsigned(a.in.batch) * MEAN_PARTS, THREADS, 0, stream, a, n);
    int64_t tiles = int64_t((a.out_w + TILE - 1) / TILE) * ((a.out_h + TILE * ROUNDS - 1) / (TILE * ROUNDS));
    if (tiles * a.in.batch > 0x7FFFFFFF) fail<ShapeError>("images: expected a smaller batch, given ", a.in.batch, " pictures");
    launch("render", render_kernel<C, Source>, unsigned(tiles * a.in.batch), THREADS, 0, stream, a, int(tiles));
}

template <int C> void choose(const RenderArgs& a, void* stream) {
    // Bytes side by side: the same for all pictures, as ragged ones are packed.
    bool packed = a.in.offsets ? a.in.dtype == U8 : ByteSource<C>::fits(picture_of(a.in, 0, dtype_bytes(a.in.dtype)));
    if (packed) return run<C, ByteSource<C>>(a, stream);
    by_dtype(a.in.dtype, [&](auto value) { run<C, StridedSource<C, decltype(value)>>(a, stream); });
}

}  // namespace

void render_cuda(const RenderArgs& a, void* stream) {
    switch (a.in.channels) {
        case 1: choose<1>(a, stream); break;
        case 2: choose<2>(a, stream); break;
        case 3: choose<3>(a, stream); break;
        default: choose<4>(a, stream); break;
    }
}

}  // namespace anamorph
