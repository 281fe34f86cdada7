// Rendering on a GPU. A block works on one sample; each thread takes four neighbouring pixels at a time, so that a colour
// step is decoded once for four and they are stored together. What the block shares lies in shared memory.
#define AM_LEVEL cuda
#include "../../core/launch.h"
#include "../color.h"
#include "../render.h"

namespace anamorph {
namespace {

using namespace cuda;

enum : int { THREADS = 256, ROUNDS = 4 };

// A sample as its block sees it.
struct Side {
    const int32_t* row;
    Picture picture;
    Reading reading;
    int colors, erases;
    float means[MAX_STEPS];  // by contrast step
};

__device__ void open_side(const RenderArgs& a, int i, Side& s) {
    s.row = a.rows + int64_t(i) * a.info.row_words;
    s.picture = picture_of(a.in, i, dtype_bytes(a.in.dtype));
    s.reading = reading_of(s.row, s.picture);
    s.colors = count_of(s.row, W_COLORS, a.info.most.colors);
    s.erases = count_of(s.row, W_ERASES, a.info.most.erases);
}

// The grey means of the steps before `end`, from the parts that mean_kernel left. Always in the same order.
__device__ void read_means(const RenderArgs& a, int i, int end, int lane, Side& s) {
    for (int k = lane; k < end; k += 32) {
        const float* parts = a.means + (int64_t(i) * a.info.most.means + k) * MEAN_PARTS;
        float sum = 0.0f;
        for (int p = 0; p < MEAN_PARTS; ++p) sum += parts[p];
        s.means[k] = sum / (float(a.out_h) * float(a.out_w));
    }
}

// Four pixels from (x, y) on, through the taps, then the colour steps [0, colors).
template <int C, class Source>
__device__ void draw(const RenderArgs& a, const Side& s, const Reading& r, int x, int y, int colors, Floats* c) {
    Source source(s.picture);
#pragma unroll
    for (int p = 0; p < LANES; ++p) {
        float v[C];
        sample<C>(source, r, float(x + p) + 0.5f, float(y) + 0.5f, v);
        for (int k = 0; k < C; ++k) c[k].v[p] = v[k];
    }
    int contrasts = 0;
    for (int j = 0; j < colors; ++j) {
        int2 w = *reinterpret_cast<const int2*>(color_words(s.row, j));
        float mean = w.x == OP_CONTRAST ? s.means[contrasts++] : 0.0f;
        color_step<C>(w.x, word_float(w.y), mean, a.in.dtype == U8, c);
    }
}

// Erasures of the view that lies under the output pixels by x -> sx * x + tx.
template <int C>
__device__ void erase(const RenderArgs& a, const Side& s, int x, int y, float sx, float tx, float sy, float ty, Floats* c) {
    for (int k = 0; k < s.erases; ++k) {
        const int32_t* e = erase_words(a.info, s.row, k);
        int vy = int(sy * (float(y) + 0.5f) + ty);
        if (vy < e[1] || vy >= e[3]) continue;
        for (int p = 0; p < LANES; ++p) {
            int vx = int(sx * (float(x + p) + 0.5f) + tx);
            if (vx < e[0] || vx >= e[2]) continue;
            float v[C];
            erased_pixel<C>(a, e, vx, vy, v);
            for (int q = 0; q < C; ++q) c[q].v[p] = v[q];
        }
    }
}

template <int C, class Source> __device__ void draw_view(const RenderArgs& a, const Side& s, int x, int y, Floats* c) {
    draw<C, Source>(a, s, s.reading, x, y, s.colors, c);
    if (s.erases) erase<C>(a, s, x, y, 1.0f, 0.0f, 1.0f, 0.0f, c);
}

template <int C, class Source>
__device__ void mix(const RenderArgs& a, const Side& own, const Side& other, int i, int x, int y, Floats* c) {
    int rule = own.row[W_MIX];
    Floats d[C];
    if (rule == MIX_CONSTANT || rule == MIX_MASK) {
        draw_view<C, Source>(a, other, x, y, d);
        Floats keep(word_float(own.row[W_LAM]));
        if (rule == MIX_MASK && a.mask)
            for (int p = 0; p < LANES; ++p)
                if (x + p < a.out_w) keep.v[p] = a.mask[i * a.mask_n + y * a.mask_y + (x + p) * a.mask_x];
        for (int k = 0; k < C; ++k) c[k] = d[k] + keep * (c[k] - d[k]);
        return;
    }
    const int32_t* box = own.row + W_BOX;
    if (y < box[1] || y >= box[3] || x + LANES <= box[0] || x >= box[2]) return;
    if (rule == MIX_BOX) {
        draw_view<C, Source>(a, other, x, y, d);
    } else {
        float sx = float(a.out_w) / float(box[2] - box[0]), sy = float(a.out_h) / float(box[3] - box[1]);
        float tx = -sx * float(box[0]), ty = -sy * float(box[1]);
        Reading r = other.reading;
        shrink_reading(r, sx, tx, sy, ty);
        draw<C, Source>(a, other, r, x, y, other.colors, d);
        erase<C>(a, other, x, y, sx, tx, sy, ty, d);
    }
    for (int p = 0; p < LANES; ++p)
        if (x + p >= box[0] && x + p < box[2])
            for (int k = 0; k < C; ++k) c[k].v[p] = d[k].v[p];
}

// Four values side by side in memory, in one store.
__device__ void store_four(uint8_t* base, int64_t at, int dtype, const float* v) {
    if (dtype == F32) {
        *reinterpret_cast<float4*>(base + at * 4) = make_float4(v[0], v[1], v[2], v[3]);
        return;
    }
    alignas(8) uint8_t packed[8];
    for (int p = 0; p < 4; ++p) store_scalar(packed, p, dtype, v[p]);
    if (dtype == U8) *reinterpret_cast<uint32_t*>(base + at) = *reinterpret_cast<const uint32_t*>(packed);
    else *reinterpret_cast<uint2*>(base + at * 2) = *reinterpret_cast<const uint2*>(packed);
}

template <int C> __device__ void store(const RenderArgs& a, int i, int x, int y, Floats* c) {
    int64_t at = i * a.out_n + y * a.out_y + x * a.out_x;
    int bytes = dtype_bytes(a.out_dtype);
    for (int k = 0; k < C; ++k) c[k] = c[k] * Floats(a.scale[k]) + Floats(a.bias[k]);
    bool four = x + LANES <= a.out_w;
    if (four && a.out_x == 1) {
        for (int k = 0; k < C; ++k) {
            int64_t from = at + k * a.out_c;
            if ((reinterpret_cast<uintptr_t>(a.out) + from * bytes) % (4 * bytes) == 0) {
                store_four(a.out, from, a.out_dtype, c[k].v);
            } else {
                for (int p = 0; p < LANES; ++p) store_scalar(a.out, from + p, a.out_dtype, c[k].v[p]);
            }
        }
    } else if (four && a.out_c == 1 && a.out_x == C &&
               (reinterpret_cast<uintptr_t>(a.out) + at * bytes) % (4 * bytes) == 0) {  // channels last: 4 C values in a row
        float flat[4 * C];
        for (int p = 0; p < LANES; ++p)
            for (int k = 0; k < C; ++k) flat[p * C + k] = c[k].v[p];
        for (int q = 0; q < C; ++q) store_four(a.out, at + 4 * q, a.out_dtype, flat + 4 * q);
    } else {
        for (int p = 0; p < LANES && x + p < a.out_w; ++p)
            for (int k = 0; k < C; ++k) store_scalar(a.out, at + p * a.out_x + k * a.out_c, a.out_dtype, c[k].v[p]);
    }
}

template <int C, class Source> __global__ void __launch_bounds__(THREADS) render_kernel(RenderArgs a, int tiles) {
    __shared__ Side own, other;
    int i = int(blockIdx.x) / tiles, tile = int(blockIdx.x) % tiles, lane = int(threadIdx.x) % 32;
    const int32_t* row = a.rows + int64_t(i) * a.info.row_words;
    bool mixed = row[W_MIX] != MIX_NONE;
    int warp = int(threadIdx.x) / 32, partner = partner_of(a, row, i);
    if (warp == 0) {
        if (lane == 0) open_side(a, i, own);
        if (a.means) read_means(a, i, a.info.most.means, lane, own);
    } else if (warp == 1 && mixed) {
        if (lane == 0) open_side(a, partner, other);
        if (a.means) read_means(a, partner, a.info.most.means, lane, other);
    }
    if (tile == 0) write_targets(a, i, int(threadIdx.x), THREADS);
    __syncthreads();

    int across = (a.out_w + LANES - 1) / LANES, groups = across * a.out_h;
    for (int round = 0; round < ROUNDS; ++round) {
        int g = (tile * ROUNDS + round) * THREADS + int(threadIdx.x);
        if (g >= groups) return;
        int x = g % across * LANES, y = g / across;
        Floats c[C];
        draw_view<C, Source>(a, own, x, y, c);
        if (mixed) mix<C, Source>(a, own, other, i, x, y, c);
        store<C>(a, i, x, y, c);
    }
}

// One of MEAN_PARTS sums of the grey of a view just before its contrast step number `step`.
template <int C, class Source> __global__ void __launch_bounds__(THREADS) mean_kernel(RenderArgs a, int step) {
    __shared__ Side side;
    __shared__ float sums[THREADS];
    __shared__ int colors;
    int i = int(blockIdx.x) / MEAN_PARTS, part = int(blockIdx.x) % MEAN_PARTS;
    float* cell = a.means + (int64_t(i) * a.info.most.means + step) * MEAN_PARTS + part;
    if (threadIdx.x == 0) {
        open_side(a, i, side);
        colors = -1;
        for (int j = 0, seen = 0; j < side.colors && colors < 0; ++j)
            if (color_words(side.row, j)[0] == OP_CONTRAST && seen++ == step) colors = j;
        if (colors < 0) *cell = 0.0f;
    }
    if (threadIdx.x < 32) read_means(a, i, step, int(threadIdx.x), side);
    __syncthreads();
    if (colors < 0) return;

    int across = (a.out_w + LANES - 1) / LANES, groups = across * a.out_h;
    float sum = 0.0f;
    for (int g = part * THREADS + int(threadIdx.x); g < groups; g += MEAN_PARTS * THREADS) {
        int x = g % across * LANES, y = g / across;
        Floats c[C];
        draw<C, Source>(a, side, side.reading, x, y, colors, c);
        Floats grey = gray<C>(c);
        for (int p = 0; p < LANES && x + p < a.out_w; ++p) sum += grey.v[p];
    }
    sums[threadIdx.x] = sum;
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (int(threadIdx.x) < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    }
    if (threadIdx.x == 0) *cell = sums[0];
}

template <int C, class Source> void run(const RenderArgs& a, void* stream) {
    for (int step = 0; step < a.info.most.means; ++step) {  // each needs the one before
        launch("mean", mean_kernel<C, Source>, unsigned(a.in.batch) * MEAN_PARTS, THREADS, 0, stream, a, step);
    }
    int64_t groups = int64_t((a.out_w + LANES - 1) / LANES) * a.out_h;
    int64_t tiles = (groups + THREADS * ROUNDS - 1) / (THREADS * ROUNDS);
    if (tiles * a.in.batch > 0x7FFFFFFF) fail<ShapeError>("images: expected a smaller batch, given ", a.in.batch, " pictures");
    launch("render", render_kernel<C, Source>, unsigned(tiles * a.in.batch), THREADS, 0, stream, a, int(tiles));
}

template <int C> void choose(const RenderArgs& a, void* stream) {
    // Bytes side by side: the same for all pictures, as ragged ones are packed.
    bool packed = a.in.offsets ? a.in.dtype == U8 : ByteSource<C>::fits(picture_of(a.in, 0, dtype_bytes(a.in.dtype)));
    if (packed) return run<C, ByteSource<C>>(a, stream);
    run<C, AnySource<C>>(a, stream);
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
