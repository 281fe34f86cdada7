// Views with steps that need the whole of them (statistics, stencils, blends), made ready on a GPU: one launch, a block for a sample,
// which takes its view from one such step to the next and leaves it in the first of the sample's READY_PLANES. All else than these
// steps is one pass of the walk, which is in the program once, whether the view itself or a layer of its blend goes on.
#define AM_LEVEL cuda
#include "prepare.h"
#include "walk.h"

namespace anamorph {
namespace AM_LEVEL { namespace {

enum : int { WARPS = THREADS / WARP };
template <int C> constexpr int PREPARE_BLOCKS = C < 4 ? 2 : 1;  // that share a multiprocessor's registers
AM_HD bool is_mean(int op) { return op == OP_CONTRAST || op == OP_FIELD_CONTRAST; }

// A float as an integer of the same order.
AM_D int ordered(float v) {
    const int bits = __float_as_int(v);
    return bits < 0 ? bits ^ 0x7FFFFFFF : bits;
}
AM_D float from_ordered(int bits) { return __int_as_float(bits < 0 ? bits ^ 0x7FFFFFFF : bits); }

// What a block has found in a view, in shared memory.
template <int C> struct Finding {
    uint32_t counts[C][TABLE];
    float table[C][TABLE];
    int least[C], most[C];  // ordered
    float sums[WARPS], pixels[WARPS];

    AM_D void begin() {
        for (int k = int(threadIdx.x); k < C * TABLE; k += THREADS) counts[k / TABLE][k % TABLE] = 0;
        if (int(threadIdx.x) < C) {
            least[threadIdx.x] = ordered(3e38f);
            most[threadIdx.x] = ordered(-3e38f);
        }
    }
    // One pixel of each lane; `in`: it counts. All lanes of the warp come here.
    AM_D void add(int op, bool bytes, bool in, const float* pixel) {
        if (op == OP_EQUALIZE) {
            for (int k = 0; k < C && in; ++k) atomicAdd(&counts[k][int(counted(bytes, pixel[k]))], 1u);
            return;
        }
        for (int k = 0; k < C; ++k) {
            const float v = bytes ? as_byte(pixel[k]) : pixel[k];
            const bool counts = in && v == v;
            int low = ordered(counts ? v : 3e38f), high = ordered(counts ? v : -3e38f);
            for (int half = WARP / 2; half > 0; half /= 2) {
                low = min_(low, __shfl_xor_sync(0xFFFFFFFFu, low, half));
                high = max_(high, __shfl_xor_sync(0xFFFFFFFFu, high, half));
            }
            if (threadIdx.x % WARP == 0) {
                atomicMin(&least[k], low);
                atomicMax(&most[k], high);
            }
        }
    }
    // Thread 0 has the mean after this, and all have the table after the next barrier.
    AM_D Found found(int op, bool bytes, float grey, float pixel_count) {
        const int at = int(threadIdx.x);
        if (is_mean(op)) {
            grey = block_sum<THREADS>(grey, sums);
            pixel_count = block_sum<THREADS>(pixel_count, pixels);
            return {pixel_count > 0.0f ? grey / pixel_count : 0.0f, table[0]};
        }
        if (at % WARP == 0 && at / WARP < C) {  // a warp for each channel
            const int k = at / WARP;
            if (op == OP_EQUALIZE) equalize(counts[k], table[k]);
            else stretch(from_ordered(least[k]), from_ordered(most[k]), bytes, table[k]);
        }
        return {0.0f, table[0]};
    }
};

// f(index of a value, its row, its column) for all of [C, height, width]: a warp a line.
template <int C, class F> AM_D void each_value(int height, int width, const F& f) {
    for (int line = int(threadIdx.x) / WARP; line < C * height; line += WARPS)
        for (int x = int(threadIdx.x) % WARP; x < width; x += WARP) f(int64_t(line) * width + x, line % height, x);
}

// One pass of a separable blur, across or down.
template <int C>
AM_D void blur_pass(const float* from, float* to, int height, int width, bool down, bool levels, int kind, const float* taps,
                    int count) {
    const int last = (down ? height : width) - 1;
    const int64_t stride = down ? width : 1;
    const int border = kind == BLUR_REFLECT ? BORDER_REFLECT : BORDER_EDGE;
    each_value<C>(height, width, [&](int64_t index, int y, int x) {
        const int at = down ? y : x;
        const float* line = from + (index - at * stride);
        auto value = [&](int k) {
            if (kind == BLUR_ZERO && (k < 0 || k > last)) return 0.0f;
            return line[border_index(k, 0, last, border) * stride];
        };
        auto pair = [&](int j) { return value(at - j) + value(at + j); };
        float sum = line[at * stride];
        if (levels) {
            for (int j = 1; j < count - 1; ++j) sum = sum + pair(j);
            to[index] = boxed(sum, pair(count - 1), taps[0], taps[count - 1]);
        } else {
            sum = taps[0] * sum;
            for (int j = 1; j < count; ++j) sum = sum + taps[j] * pair(j);
            to[index] = sum;
        }
    });
    __syncthreads();
}

// The taps of a blur across and down, in shared memory.
struct Taps {
    float weights[2][BLUR_HALF];
    int counts[2];
};

// Across, then down: as often back as forth, so that the result lies where the view did.
template <int C> AM_D void blur(float* view, float* other, int height, int width, bool bytes, const int32_t* words, Taps& taps) {
    const int kind = kept_in((words[S_BLUR] >> 16) & 0xFF, 0, int(BLUR_BOXES));
    const bool levels = bytes && kind == BLUR_BOXES;
    if (threadIdx.x % WARP == 0 && threadIdx.x / WARP < 2) {
        const int axis = int(threadIdx.x) / WARP;
        taps.counts[axis] =
            blur_taps(word_float(words[S_NUMBER]), (words[S_BLUR] >> (8 * axis)) & 0xFF, kind, taps.weights[axis]);
    }
    if (levels) each_value<C>(height, width, [&](int64_t k, int, int) { view[k] = as_byte(view[k]); });
    __syncthreads();
    const int passes = blur_passes(kind);
    float *from = view, *to = other;
    AM_UNROLL_BY(1)
    for (int pass = 0; pass < 2 * passes; ++pass) {
        const int axis = pass >= passes;
        blur_pass<C>(from, to, height, width, axis, levels, kind, taps.weights[axis], taps.counts[axis]);
        float* written = to;
        to = from;
        from = written;
    }
    if (levels) each_value<C>(height, width, [&](int64_t k, int, int) { view[k] *= 1.0f / 255.0f; });
    __syncthreads();
}

template <int C> AM_D void sharpen(const float* from, float* to, int height, int width, bool bytes, float p) {
    const bool some = height > 2 && width > 2;  // as torchvision's
    each_value<C>(height, width, [&](int64_t k, int y, int x) {
        float v = from[k];
        if (some && x > 0 && x < width - 1 && y > 0 && y < height - 1) {
            auto three = [&](const float* l) { return l[-1] + l[0] + l[1]; };
            v = sharpened(bytes, v, three(from + k - width) + three(from + k + width) + from[k - 1] + from[k + 1], p);
        }
        to[k] = v;
    });
    __syncthreads();
}

template <int C, class Source>
__global__ void __launch_bounds__(THREADS, PREPARE_BLOCKS<C>) prepare_kernel(const __grid_constant__ RenderArgs a) {
    __shared__ View<C> views[2];  // the sample's, and a layer that is blended into it
    __shared__ Finding<C> finding;
    __shared__ Taps taps;
    const int i = int(blockIdx.x), lane = int(threadIdx.x % WARP), warp = int(threadIdx.x / WARP);
    const bool first = threadIdx.x == 0, bytes = a.in.dtype == U8;
    const int across = (a.out_w + TILE - 1) / TILE, tiles = across * ((a.out_h + TILE - 1) / TILE);
    const int64_t plane = int64_t(C) * a.out_h * a.out_w;
    float* planes = a.ready + i * READY_PLANES * plane;
    float* const spare = planes + plane;

    if (first) open_layer(a, row_of(a, i), i, views[0]);
    __syncwarp();
    if (first) views[0].open();
    __syncthreads();
    if (next_whole(views[0], 0) < 0) return;
    const int target = ready_progress(views[0]).step;

    const Column<C, Source, WHOLE> walk{a, i, nullptr};
    const int32_t* blend = nullptr;  // the step whose layers are drawn
    int layer = 0;
    for (;;) {
        View<C>& v = views[blend ? 1 : 0];
        float* own = planes + (blend ? 2 : 0) * plane;
        int step = next_whole(v, v.found.table ? v.done.step + 1 : v.done.step);
        if (blend)  // a layer has none of its own
            while (step >= 0 && color_words(v.row, step)[S_OP] == OP_BLEND) step = next_whole(v, step + 1);
        const int32_t* words = step < 0 ? nullptr : color_words(v.row, step);
        const int op = step < 0 ? 0 : words[S_OP], end = step >= 0 ? step : blend ? v.colors : target;
        const bool filled = v.done.filled || end >= v.reading.fill_step;
        const bool extremes = op == OP_AUTOCONTRAST || op == OP_EQUALIZE, statistic = is_mean(op) || extremes;
        const float share = blend ? word_float(blend[S_NUMBER]) * word_float(v.row[W_LAM]) : 0.0f;
        if (extremes) finding.begin();
        __syncthreads();

        float grey = 0.0f, pixels = 0.0f;
        AM_UNROLL_BY(1)
        for (int tile = 0; tile < tiles; ++tile) {
            const int left = tile % across * TILE, top = tile / across * TILE;
            if ((v.large && !v.ready) || v.field.used) {
                __syncthreads();
                if (!v.ready) v.template draw_points<Source>(a, left, top);
                v.draw_field(a, left, top, dynamic_shared<float>());
                __syncthreads();
            }
            const typename Column<C, Source, WHOLE>::At at = {left + lane, top + warp * LANES};
            auto px = walk.begin();
            draw(walk, v, at, end, px);
            AM_UNROLL_BY(1)
            for (int p = 0; p < LANES; ++p) {
                float pixel[C];
                AM_UNROLL
                for (int k = 0; k < C; ++k) {
                    pixel[k] = px.c[k].v[0];
                    AM_UNROLL
                    for (int q = 1; q < LANES; ++q) px.c[k].v[q - 1] = px.c[k].v[q];
                }
                const int y = at.y + p;
                bool in = walk.shown(at.x, y);
                const int64_t to = int64_t(y) * a.out_w + at.x;
                AM_UNROLL
                for (int k = 0; k < C && in; ++k) {
                    const int64_t index = int64_t(k) * a.out_h * a.out_w + to;
                    if (blend && step < 0) planes[index] += share * pixel[k];
                    else own[index] = pixel[k];
                }
                if (!statistic) continue;
                if (in && !filled) {
                    const Position p = walk.place(v, float(at.x) + 0.5f, float(y) + 0.5f);
                    in = sample_cover(v.reading, p.x, p.y) > 0.5f;
                }
                if (extremes) {
                    finding.add(op, bytes, in, pixel);
                } else if (in) {
                    grey += gray<C>(pixel);
                    pixels += 1.0f;
                }
            }
        }
        __syncthreads();
        if (step < 0 && !blend) return;

        const Found found = statistic ? finding.found(op, bytes, grey, pixels) : Found{};
        float* now = own;
        if (op == OP_GAUSSIAN_BLUR) {
            blur<C>(own, spare, a.out_h, a.out_w, bytes, words, taps);
        } else if (op == OP_SHARPNESS) {
            sharpen<C>(own, spare, a.out_h, a.out_w, bytes, word_float(words[S_NUMBER]));
            now = spare;
        } else if (op == OP_BLEND) {
            const float rest = 1.0f - word_float(words[S_NUMBER]);
            each_value<C>(a.out_h, a.out_w, [&](int64_t k, int, int) { own[k] *= rest; });
        }
        if (first && step >= 0) {
            v.ready = now;
            v.found = found;
            v.done = {statistic ? step : step + 1, filled};
        }
        if (op == OP_BLEND) {
            blend = words;
            layer = first_layer(a, words);
        } else if (step < 0) {
            ++layer;
        }
        if (blend && (op == OP_BLEND || step < 0)) {
            if (layer >= after_layers(a, blend)) {
                blend = nullptr;
            } else {
                View<C>& next = views[1];
                if (first) open_layer_of(a, views[0].row, i, layer, next);
                __syncwarp();
                if (first) next.open();
            }
        }
        __syncthreads();
    }
}

}}  // namespace AM_LEVEL

void prepare_cuda(const RenderArgs& a, void* stream) {
    using namespace cuda;
    by_source(a, [&](auto reads) {
        using R = decltype(reads);
        launch("prepare", prepare_kernel<R::C, typename R::Source>, unsigned(a.in.batch), THREADS, FieldTile::bytes(a.info),
               stream, a);
    });
}

}  // namespace anamorph
