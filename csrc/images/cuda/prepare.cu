// Views with steps that need the whole of them (statistics, stencils, blends), made ready on a GPU in one launch: the blocks of a
// sample take its view from one such step to the next, and meet between them. All else than these steps is one pass of the walk, which
// is in the program once, whether the view itself or a layer of its blend goes on.
#define AM_LEVEL cuda
#include <algorithm>

#include "prepare.h"
#include "walk.h"

namespace anamorph {
namespace AM_LEVEL { namespace {

// BUSY: blocks that are enough for a device; a sample has more than one where the batch is smaller.
enum : int { WARPS = THREADS / WARP, BUSY = 1024 };
static_assert(int(READY_TILE) == int(TILE), "parts are of tiles");
// How many blocks share a multiprocessor's registers: three leave a thread 80, so that some lie in memory, and an H100 is an eighth
// faster for it (docs/performance.md).
template <int C, Holds HOLDS> constexpr int PREPARE_BLOCKS = HOLDS == READY ? 3 : C < 4 ? 2 : 1;
AM_HD bool is_mean(int op) { return op == OP_CONTRAST || op == OP_FIELD_CONTRAST; }

// The blocks of a sample. Which they are goes by the order in which they begin: so whom a block waits for has begun, or begins as
// soon as there is room, however the device orders a grid.
struct Team {
    unsigned* arrived;
    unsigned expected;
    int sample, rank, size;

    AM_D Team(const RenderArgs& a, int size, unsigned& place) : expected(0), size(size) {  // place: in shared memory
        unsigned* words = reinterpret_cast<unsigned*>(a.ready);
        if (threadIdx.x == 0) place = atomicAdd(words, 1u);
        __syncthreads();
        sample = int(place) / size;
        rank = int(place) % size;
        arrived = words + 1 + sample;
    }
    // What each block has written is there for all of them.
    AM_D void meet() {
        __syncthreads();
        if (size == 1) return;
        if (threadIdx.x == 0) {
            expected += unsigned(size);
            __threadfence();
            atomicAdd(arrived, 1u);
            while (*static_cast<volatile unsigned*>(arrived) < expected) __nanosleep(20);
            __threadfence();
        }
        __syncthreads();
    }
    // f(index of a value, its row, its column) for all of [C, height, width]: a warp a line.
    template <int C, class F> AM_D void each_value(int height, int width, const F& f) const {
        for (int line = rank * WARPS + int(threadIdx.x) / WARP; line < C * height; line += size * WARPS)
            for (int x = int(threadIdx.x) % WARP; x < width; x += WARP) f(int64_t(line) * width + x, line % height, x);
    }
};

// A float as an integer of the same order.
AM_D int ordered(float v) {
    const int bits = __float_as_int(v);
    return bits < 0 ? bits ^ 0x7FFFFFFF : bits;
}
AM_D float from_ordered(int bits) { return __int_as_float(bits < 0 ? bits ^ 0x7FFFFFFF : bits); }

// What a block has found in a view, in shared memory.
template <int C> struct Finding {
    uint32_t counts[C][TABLE];
    int least[C], most[C];  // ordered
    float table[C][TABLE];
    float sums[WARPS], pixels[WARPS];

    enum : int { TELLS = C * (TABLE + 2) };  // words that blocks tell each other: all but the table

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
    // A part's greys, and how many they are.
    AM_D void add_part(float grey, float count, float* to) {
        __syncthreads();  // who still reads the last part's
        grey = block_sum<THREADS>(grey, sums);
        count = block_sum<THREADS>(count, pixels);
        if (threadIdx.x == 0) {
            to[0] = grey;
            to[1] = count;
        }
    }
    AM_D void tell(uint32_t* to) const {
        for (int k = int(threadIdx.x); k < TELLS; k += THREADS) {
            const int one = k - C * TABLE;
            to[k] = one < 0 ? counts[k / TABLE][k % TABLE] : uint32_t(one < C ? least[one] : most[one - C]);
        }
    }
    // From what `blocks` have told. All have the table after the next barrier.
    AM_D void hear(const uint32_t* told, int blocks, int op, bool bytes) {
        for (int k = int(threadIdx.x); k < TELLS; k += THREADS) {
            const int one = k - C * TABLE;
            uint32_t all = told[k];
            for (int b = 1; b < blocks; ++b) {
                const uint32_t more = told[b * TELLS + k];
                all = one < 0 ? all + more : uint32_t(one < C ? min_(int(all), int(more)) : max_(int(all), int(more)));
            }
            if (one < 0) counts[k / TABLE][k % TABLE] = all;
            else (one < C ? least[one] : most[one - C]) = int(all);
        }
        __syncthreads();
        const int k = int(threadIdx.x) / WARP;  // a warp for each channel
        if (threadIdx.x % WARP == 0 && k < C) {
            if (op == OP_EQUALIZE) equalize(counts[k], table[k]);
            else stretch(from_ordered(least[k]), from_ordered(most[k]), bytes, table[k]);
        }
    }
};

// The taps of a blur across and down, in shared memory.
struct Taps {
    float weights[2][BLUR_HALF];
    int counts[2];
};

// One pass of a separable blur, across or down.
template <int C>
AM_D void blur_pass(const Team& team, const float* from, float* to, int height, int width, bool down, bool levels, int kind,
                    const float* taps, int count) {
    const int last = (down ? height : width) - 1;
    const int64_t stride = down ? width : 1;
    const int border = kind == BLUR_REFLECT ? BORDER_REFLECT : BORDER_EDGE;
    team.each_value<C>(height, width, [&](int64_t index, int y, int x) {
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
}

// A tile of a view blurred both ways in shared memory: what it needs of the view, then that across. A thread makes several values
// that lie side by side, of which each tap is loaded once; lines have odd lengths so that a warp's loads lie in different banks.
struct BlurTile {
    enum : int { HALF = 15, SIDE = TILE + 2 * HALF, LINE = 65, ACROSS = 8, LINE_ACROSS = TILE + 1, DOWN = 4 };
    float whole[SIDE][LINE];
    float across[SIDE][LINE_ACROSS];

    static size_t bytes(const RecipeInfo& info) { return info.ready_planes > 1 ? sizeof(BlurTile) : 0; }

    // Sums of N values each, so many lines or columns apart in `from`, with the taps before and behind them.
    template <int N> AM_D static void sums(const float* from, int stride, const float* taps, int half, float (&sum)[N]) {
        float window[N];
        AM_UNROLL
        for (int q = 0; q < N; ++q) {
            sum[q] = 0.0f;
            window[q] = from[q * stride];
        }
        AM_UNROLL_BY(N)
        for (int k = -half; k <= half; ++k) {
            const float weight = taps[k < 0 ? -k : k];
            AM_UNROLL
            for (int q = 0; q < N; ++q) sum[q] += weight * window[q];
            AM_UNROLL
            for (int q = 1; q < N; ++q) window[q - 1] = window[q];
            window[N - 1] = k < half ? from[(k + half + N) * stride] : 0.0f;
        }
    }
    // The one at (left, top) of a plane.
    AM_D void blur(const float* from, float* to, int height, int width, int left, int top, int kind, const Taps& taps) {
        const int hx = taps.counts[0] - 1, hy = taps.counts[1] - 1, at = int(threadIdx.x);
        const int border = kind == BLUR_REFLECT ? BORDER_REFLECT : BORDER_EDGE, lines = TILE + 2 * hy, columns = TILE + 2 * hx;
        int columns_of[2];  // of this lane's, or -1: zero
        AM_UNROLL
        for (int q = 0; q < 2; ++q) {
            const int x = left - hx + at % WARP + q * WARP;
            columns_of[q] = kind == BLUR_ZERO && (x < 0 || x >= width) ? -1 : border_index(x, 0, width - 1, border);
        }
        AM_UNROLL_BY(1)
        for (int line = at / WARP; line < lines; line += 2 * WARPS) {  // four loads at a time
            float v[4];
            AM_UNROLL
            for (int q = 0; q < 4; ++q) {
                const int l = line + q / 2 * WARPS, y = top - hy + l, x = columns_of[q % 2];
                const bool there =
                    l < lines && at % WARP + q % 2 * WARP < columns && x >= 0 && !(kind == BLUR_ZERO && (y < 0 || y >= height));
                v[q] = there ? from[int64_t(border_index(y, 0, height - 1, border)) * width + x] : 0.0f;
            }
            AM_UNROLL
            for (int q = 0; q < 4; ++q) {
                const int l = line + q / 2 * WARPS, column = at % WARP + q % 2 * WARP;
                if (l < lines && column < columns) whole[l][column] = v[q];
            }
        }
        __syncthreads();
        for (int k = at; k < lines * (TILE / ACROSS); k += THREADS) {
            const int line = k / (TILE / ACROSS), first = k % (TILE / ACROSS) * ACROSS;
            float sum[ACROSS];
            sums(&whole[line][first], 1, taps.weights[0], hx, sum);
            AM_UNROLL
            for (int q = 0; q < ACROSS; ++q) across[line][first + q] = sum[q];
        }
        __syncthreads();
        for (int k = at; k < TILE * TILE / DOWN; k += THREADS) {
            const int column = k % TILE, first = k / TILE * DOWN;
            float sum[DOWN];
            sums(&across[first][column], LINE_ACROSS, taps.weights[1], hy, sum);
            AM_UNROLL
            for (int q = 0; q < DOWN; ++q)
                if (top + first + q < height && left + column < width)
                    to[int64_t(top + first + q) * width + left + column] = sum[q];
        }
        __syncthreads();
    }
};

// Of `view` into it or into `other`: where it then lies.
template <int C>
AM_D float* blur(Team& team, float* view, float* other, int height, int width, bool bytes, const int32_t* words, Taps& taps) {
    const int kind = kept_in((words[S_BLUR] >> 16) & 0xFF, 0, int(BLUR_BOXES));
    const bool levels = bytes && kind == BLUR_BOXES;
    if (threadIdx.x % WARP == 0 && threadIdx.x / WARP < 2) {
        const int axis = int(threadIdx.x) / WARP;
        taps.counts[axis] =
            blur_taps(word_float(words[S_NUMBER]), (words[S_BLUR] >> (8 * axis)) & 0xFF, kind, taps.weights[axis]);
    }
    __syncthreads();
    if (kind != BLUR_BOXES && max_(taps.counts[0], taps.counts[1]) <= BlurTile::HALF + 1) {
        BlurTile& tile = *dynamic_shared<BlurTile>();
        const int across = (width + TILE - 1) / TILE, tiles = across * ((height + TILE - 1) / TILE);
        for (int k = team.rank; k < C * tiles; k += team.size) {
            const int64_t plane = int64_t(k / tiles) * height * width;
            const int t = k % tiles;
            tile.blur(view + plane, other + plane, height, width, t % across * TILE, t / across * TILE, kind, taps);
        }
        team.meet();
        return other;
    }
    if (levels) {
        team.each_value<C>(height, width, [&](int64_t k, int, int) { view[k] = as_byte(view[k]); });
        team.meet();
    }
    const int passes = blur_passes(kind);
    float *from = view, *to = other;
    AM_UNROLL_BY(1)
    for (int pass = 0; pass < 2 * passes; ++pass) {
        const int axis = pass >= passes;
        blur_pass<C>(team, from, to, height, width, axis, levels, kind, taps.weights[axis], taps.counts[axis]);
        team.meet();
        float* written = to;
        to = from;
        from = written;
    }
    if (levels) {
        team.each_value<C>(height, width, [&](int64_t k, int, int) { view[k] *= 1.0f / 255.0f; });
        team.meet();
    }
    return view;
}

// A warp takes 32 columns of several lines, and loads all that it needs of them before it writes.
template <int C>
AM_D void sharpen(Team& team, const float* from, float* to, int height, int width, bool bytes, float p) {
    enum : int { LINES = 4 };
    const bool some = height > 2 && width > 2;  // as torchvision's
    const int across = (width + WARP - 1) / WARP, strips = across * ((height + LINES - 1) / LINES);
    for (int k = team.rank * WARPS + int(threadIdx.x) / WARP; k < C * strips; k += team.size * WARPS) {
        const int x = k % across * WARP + int(threadIdx.x) % WARP, top = k % strips / across * LINES;
        if (x >= width) continue;
        const int64_t plane = int64_t(k / strips) * height * width;
        const bool inner = some && x > 0 && x < width - 1;
        float centre[LINES + 2], sides[LINES + 2];
        AM_UNROLL
        for (int q = 0; q < LINES + 2; ++q) {
            const int y = min_(max_(top + q - 1, 0), height - 1);
            const float* at = from + plane + int64_t(y) * width + x;
            centre[q] = at[0];
            sides[q] = inner ? at[-1] + at[1] : 0.0f;
        }
        AM_UNROLL
        for (int q = 0; q < LINES; ++q) {
            const int y = top + q;
            if (y >= height) break;
            const float c = centre[q + 1];
            const float around = (sides[q] + centre[q]) + (sides[q + 2] + centre[q + 2]) + sides[q + 1];
            to[plane + int64_t(y) * width + x] = inner && y > 0 && y < height - 1 ? sharpened(bytes, c, around, p) : c;
        }
    }
    team.meet();
}

template <int C, class Source, Holds HOLDS>
__global__ void __launch_bounds__(THREADS, PREPARE_BLOCKS<C, HOLDS>)
    prepare_kernel(const __grid_constant__ RenderArgs a, int blocks) {
    __shared__ View<C> views[2];  // the sample's, and a layer that is blended into it
    __shared__ Finding<C> finding;
    __shared__ Taps taps;
    __shared__ unsigned place;
    Team team(a, blocks, place);
    const int i = team.sample, lane = int(threadIdx.x % WARP), warp = int(threadIdx.x / WARP);
    const bool first = threadIdx.x == 0, bytes = a.in.dtype == U8;
    const int across = (a.out_w + TILE - 1) / TILE, tiles = across * ((a.out_h + TILE - 1) / TILE);
    const int parts = ready_parts(a.out_h, a.out_w);
    const ReadyRoom room = ready_room(a);
    float* const planes = ready_of(a, i);
    float* const spare = planes + room.plane;

    if (first) open_layer(a, row_of(a, i), i, views[0]);
    __syncwarp();
    if (first) views[0].open();
    __syncthreads();
    const int target = ready_progress(a, views[0]).step;
    if (target < 0) return;

    const Column<C, Source, HOLDS> walk{a, i, nullptr};
    const int32_t* blend = nullptr;  // the step whose layers are drawn
    int layer = 0;
    for (int turn = 0;; turn ^= 1) {
        View<C>& v = views[blend ? 1 : 0];
        float* own = planes + (blend ? 2 * room.plane : 0);
        int step = next_whole(v, v.found.table ? v.done.step + 1 : v.done.step);
        if (blend)  // a layer has none of its own
            while (step >= 0 && color_words(v.row, step)[S_OP] == OP_BLEND) step = next_whole(v, step + 1);
        const int32_t* words = step < 0 ? nullptr : color_words(v.row, step);
        const int op = step < 0 ? 0 : words[S_OP], end = step >= 0 ? step : blend ? v.colors : target;
        const bool filled = v.done.filled || end >= v.reading.fill_step;
        const bool statistic = is_statistic(op), mean = is_mean(op), extremes = statistic && !mean;
        const bool stencil = (op == OP_GAUSSIAN_BLUR || op == OP_SHARPNESS) && a.info.ready_planes > 1;
        float* const drawn = stencil ? spare : own;  // what comes before a stencil lies beside what it writes
        const float share = blend ? word_float(blend[S_NUMBER]) * word_float(v.row[W_LAM]) : 0.0f;
        float* const sums = planes + room.sums + turn * 2 * parts;
        if (extremes) finding.begin();
        __syncthreads();

        AM_UNROLL_BY(1)
        for (int part = team.rank; part < parts; part += team.size) {
            float grey = 0.0f, pixels = 0.0f;
            AM_UNROLL_BY(1)
            for (int tile = part; tile < tiles; tile += parts) {
                const int left = tile % across * TILE, top = tile / across * TILE;
                const bool field = HOLDS == EXTRA && v.field.used;
                if ((v.large && !v.ready) || field) {
                    __syncthreads();
                    if (!v.ready) v.template draw_points<Source>(a, left, top);
                    if (field) v.draw_field(a, left, top, dynamic_shared<float>());
                    __syncthreads();
                }
                const typename Column<C, Source, HOLDS>::At at = {left + lane, top + warp * LANES};
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
                        else drawn[index] = pixel[k];
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
            if (mean) finding.add_part(grey, pixels, sums + 2 * part);
        }
        uint32_t* const told = reinterpret_cast<uint32_t*>(planes + room.tells) + int64_t(turn) * parts * Finding<C>::TELLS;
        if (extremes) {
            __syncthreads();
            finding.tell(told + int64_t(team.rank) * Finding<C>::TELLS);
        }
        if (step < 0 && !blend) return;
        team.meet();

        if (extremes) finding.hear(told, team.size, op, bytes);
        Found found{0.0f, statistic ? finding.table[0] : nullptr};
        if (mean && first) {
            float grey = 0.0f, pixels = 0.0f;
            for (int part = 0; part < parts; ++part) {
                grey += sums[2 * part];
                pixels += sums[2 * part + 1];
            }
            found.mean = pixels > 0.0f ? grey / pixels : 0.0f;
        }
        if (statistic && !blend && step == target) {  // the step itself is rendering's
            __syncthreads();
            float* const left = planes + room.found;
            if (team.rank == 0 && first) left[0] = found.mean;
            if (team.rank == 0 && extremes)
                for (int k = int(threadIdx.x); k < C * TABLE; k += THREADS)
                    if (op == OP_EQUALIZE || k % TABLE < 2) left[1 + k] = finding.table[k / TABLE][k % TABLE];
            return;
        }
        float* now = own;
        if (stencil && op == OP_GAUSSIAN_BLUR) {
            now = blur<C>(team, spare, own, a.out_h, a.out_w, bytes, words, taps);
        } else if (stencil) {
            sharpen<C>(team, spare, own, a.out_h, a.out_w, bytes, word_float(words[S_NUMBER]));
        } else if (op == OP_BLEND) {
            const float rest = 1.0f - word_float(words[S_NUMBER]);
            team.each_value<C>(a.out_h, a.out_w, [&](int64_t k, int, int) { own[k] *= rest; });
            team.meet();
        }
        const bool last = !blend && next_whole(v, step + 1) < 0;
        if (stencil && last && filled && now == planes && step + 1 == target) return;  // nothing is left to be drawn
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
    const int batch = a.batch, parts = ready_parts(a.out_h, a.out_w);
    int blocks = 1;  // of a sample
    while (2 * blocks <= parts && int64_t(blocks) * batch < BUSY) blocks *= 2;
    clear("prepare", a.ready, ready_head(batch) * sizeof(float), stream);
    by_source(a, [&](auto reads) {
        using R = decltype(reads);
        by_what_it_holds<R>(a, [&](auto holds) {
            if constexpr (decltype(holds)::value != PLAIN)  // which has no such steps
                launch("prepare", prepare_kernel<R::C, typename R::Source, decltype(holds)::value>, unsigned(batch * blocks),
                       THREADS, std::max(FieldTile::bytes(a.info), BlurTile::bytes(a.info)), stream, a, blocks);
        });
    });
}

}  // namespace anamorph
