// neighbours.h on a GPU. Farthest points: a block for each cloud, its points in registers. Nearest points: a warp for each query, its list
// sorted across the lanes. Balls: a warp for each query, which stops where its row is full.
#define AM_LEVEL cuda
#include "../../core/launch.h"
#include "../../core/warp.h"
#include "../neighbours.h"

namespace anamorph {
namespace AM_LEVEL { namespace {

enum : unsigned { EVERY = 0xFFFFFFFFu };
enum : int { TILE = 1024, BALL_WARPS = 8, NOBODY = 0x7FFFFFFF };

struct Point {
    float x, y, z;
};
AM_D Point load(const float* p) { return {__ldg(p), __ldg(p + 1), __ldg(p + 2)}; }
AM_D float rough_distance(const Point& a, const Point& b) {
    const float dx = a.x - b.x, dy = a.y - b.y, dz = a.z - b.z;
    return fmaf(dz, dz, fmaf(dy, dy, dx * dx));
}
AM_D double exact_distance(const Point& a, const Point& b) {
    const float p[3] = {a.x, a.y, a.z}, q[3] = {b.x, b.y, b.z};
    return anamorph::exact_distance(p, q);
}

// Floats of one sign keep their order as integers.
AM_D int warp_max(int v) {
#if __CUDA_ARCH__ >= 800
    return __reduce_max_sync(EVERY, v);
#else
    for (int half = WARP / 2; half > 0; half /= 2) v = max(v, __shfl_xor_sync(EVERY, v, half));
    return v;
#endif
}

// ---- farthest points ----

// What the threads of a block tell each other about one sample.
template <int WARPS> struct Contest {
    int most[WARPS];        // the largest rough distance in each warp, as its bits
    int tied[2], index[2];  // how many points have the largest of all, and the first of them; of this sample and of the next
    double exact[WARPS];    // where there are several: the largest double of a warp, and its first point
    int first[WARPS];
};

AM_D bool better(double d, int i, double than, int at) { return d > than || (d == than && i < at); }

// The points are dealt out: thread t has t, t + THREADS, ... PER of them in registers, or, with 0, any number in global memory. Of
// each point a thread keeps its distance from the nearest sample as a float, which stands for the double wherever it decides;
// the double lies in memory and is read only where floats are equal.
template <int THREADS, int PER>
__global__ void __launch_bounds__(THREADS) farthest_kernel(const __grid_constant__ FarthestArgs a) {
    constexpr int WARPS = THREADS / WARP, HELD = PER > 0 ? PER : 1;
    __shared__ Contest<WARPS> shared;
    const int b = int(blockIdx.x), t = int(threadIdx.x), lane = t % WARP;
    const int counted = a.points.count(b), n = counted > 0 ? counted : 1;
    const float* points = a.points.of(b);
    double* exact = a.exact + b * a.rooms();
    float* kept = a.rough + b * a.rooms();
    int64_t* out = a.index + int64_t(b) * a.m;

    Point at[HELD];
    float rough[HELD];
    // f(point's index, its place, its distance)
    auto each = [&](auto f) {
        if constexpr (PER > 0) {
            AM_UNROLL
            for (int j = 0; j < HELD; ++j) f(t + j * THREADS, at[j], rough[j]);
        } else {
            for (int i = t; i < n; i += THREADS) f(i, load(points + 3 * int64_t(i)), kept[i]);
        }
    };
    if constexpr (PER > 0) {
        AM_UNROLL
        for (int j = 0; j < HELD; ++j)
            at[j] = t + j * THREADS < n ? load(points + 3 * int64_t(t + j * THREADS)) : Point{0.0f, 0.0f, 0.0f};
    }
    const float inf = __int_as_float(0x7F800000);
    each([&](int i, const Point&, float& d) {
        d = i < n ? inf : -1.0f;
        if (i < n) exact[i] = double(inf);
    });
    if (t < 2) {
        shared.tied[t] = 0;
        shared.index[t] = NOBODY;
    }
    const int64_t start = a.start[b];
    int last = start < 0 ? 0 : start < n ? int(start) : n - 1;
    if (t == 0) out[0] = last;
    for (int s = 1; s < a.m; ++s) {
        const Point q = load(points + 3 * int64_t(last));
        float most = -1.0f;
        each([&](int i, const Point& p, float& d) {
            if (rough_distance(p, q) <= upper(d)) {
                const double e = exact_distance(p, q);
                const float r = float(e);
                if (r < d || (r == d && e < exact[i])) {
                    d = r;
                    exact[i] = e;
                }
            }
            most = fmaxf(most, d);
        });
        const int own = __float_as_int(most), warp_most = warp_max(own);
        if (lane == 0) shared.most[t / WARP] = warp_most;
        __syncthreads();
        const int all = warp_max(lane < WARPS ? shared.most[lane] : __float_as_int(-1.0f));
        const int now = s & 1;
        if (own == all)
            each([&](int i, const Point&, float& d) {
                if (__float_as_int(d) == all) {
                    atomicAdd(&shared.tied[now], 1);
                    atomicMin(&shared.index[now], i);
                }
            });
        if (t == 0) {
            shared.tied[1 - now] = 0;
            shared.index[1 - now] = NOBODY;
        }
        __syncthreads();
        last = shared.index[now];
        if (shared.tied[now] > 1) {  // by their doubles
            double e = -1.0;
            int first = NOBODY;
            if (own == all)
                each([&](int i, const Point&, float& d) {
                    if (__float_as_int(d) == all && exact[i] > e) {
                        e = exact[i];
                        first = i;
                    }
                });
            for (int half = WARP / 2; half > 0; half /= 2) {
                const double other = __shfl_xor_sync(EVERY, e, half);
                const int index = __shfl_xor_sync(EVERY, first, half);
                if (better(other, index, e, first)) {
                    e = other;
                    first = index;
                }
            }
            if (lane == 0) {
                shared.exact[t / WARP] = e;
                shared.first[t / WARP] = first;
            }
            __syncthreads();
            e = shared.exact[0];
            last = shared.first[0];
            for (int w = 1; w < WARPS; ++w)
                if (better(shared.exact[w], shared.first[w], e, last)) {
                    e = shared.exact[w];
                    last = shared.first[w];
                }
        }
        if (t == 0) out[s] = last;
    }
}

// ---- nearest points ----

// A warp's list of 32 * LEVELS points, nearest first: rank 32 l + lane is entry l of a lane.
template <int LEVELS> struct Ranks {
    double distance[LEVELS];
    int index[LEVELS];

    AM_D Ranks() {
        AM_UNROLL
        for (int l = 0; l < LEVELS; ++l) {
            distance[l] = __longlong_as_double(0x7FF0000000000000LL);
            index[l] = -1;
        }
    }
    // Of rank k. Recursions, as loops around shuffles under conditions are not unrolled, and the list would lie in memory.
    template <int L = 0> AM_D double at(int k) const {
        if constexpr (L + 1 < LEVELS) {
            if (k >= WARP) return at<L + 1>(k - WARP);
        }
        return __shfl_sync(EVERY, distance[L], k);
    }
    // The same point by all lanes, of a higher index than those of its distance that are here; what falls off the end is forgotten.
    template <int L = 0> AM_D void insert(double d, int i, int lane) {
        if constexpr (L < LEVELS) {
            if (d < __shfl_sync(EVERY, distance[L], WARP - 1))
                push<L>(d, i, __popc(__ballot_sync(EVERY, distance[L] <= d)), lane);
            else insert<L + 1>(d, i, lane);
        }
    }

private:
    template <int L> AM_D void push(double d, int i, int rank, int lane) {
        if constexpr (L < LEVELS) {
            const double end = __shfl_sync(EVERY, distance[L], WARP - 1), above = __shfl_up_sync(EVERY, distance[L], 1);
            const int end_index = __shfl_sync(EVERY, index[L], WARP - 1), above_index = __shfl_up_sync(EVERY, index[L], 1);
            if (lane >= rank) {
                distance[L] = lane == rank ? d : above;
                index[L] = lane == rank ? i : above_index;
            }
            push<L + 1>(end, end_index, 0, lane);
        }
    }
};

// The longer the lists, the fewer warps have room for them in their registers.
template <int LEVELS> constexpr int NEAREST_WARPS = LEVELS <= 2 ? 16 : LEVELS <= 8 ? 8 : 4;
template <int LEVELS> constexpr int NEAREST_BLOCKS = LEVELS <= 8 ? 2 : 1;

template <int LEVELS>
__global__ void __launch_bounds__(NEAREST_WARPS<LEVELS>* WARP, NEAREST_BLOCKS<LEVELS>)
    nearest_kernel(const __grid_constant__ NearestArgs a, int tiles) {
    constexpr int WARPS = NEAREST_WARPS<LEVELS>;
    __shared__ float x[TILE], y[TILE], z[TILE];
    const int b = int(blockIdx.x) / tiles, lane = int(threadIdx.x) % WARP;
    const int row = (int(blockIdx.x) - b * tiles) * WARPS + int(threadIdx.x) / WARP;
    const bool asks = row < a.query.count(b);
    const int n = a.points.count(b);
    const float* points = a.points.of(b);
    const Point q = load(a.query.of(b) + 3 * int64_t(asks ? row : 0));
    Ranks<LEVELS> ranks;
    double bound = __longlong_as_double(0x7FF0000000000000LL);
    for (int begin = 0; begin < n; begin += TILE) {
        const int count = n - begin < TILE ? n - begin : TILE;
        __syncthreads();
        for (int c = int(threadIdx.x); c < 3 * count; c += WARPS * WARP)
            (c % 3 == 0 ? x : c % 3 == 1 ? y : z)[c / 3] = __ldg(points + 3 * int64_t(begin) + c);
        __syncthreads();
        for (int i = lane; i - lane < count && asks; i += WARP) {
            const Point p = i < count ? Point{x[i], y[i], z[i]} : Point{0.0f, 0.0f, 0.0f};
            const bool perhaps = i < count && rough_distance(p, q) <= upper(float(bound));
            if (!__any_sync(EVERY, perhaps)) continue;
            const double mine = exact_distance(p, q);
            for (unsigned votes = __ballot_sync(EVERY, perhaps && mine < bound); votes; votes &= votes - 1) {
                const int from = __ffs(int(votes)) - 1;
                const double d = __shfl_sync(EVERY, mine, from);
                if (d >= bound) continue;
                ranks.insert(d, begin + i - lane + from, lane);
                bound = ranks.at(a.k - 1);
            }
        }
    }
    if (row >= a.query.size) return;
    const int64_t to = (int64_t(b) * a.query.size + row) * a.k;
    AM_UNROLL
    for (int l = 0; l < LEVELS; ++l) {
        const int rank = l * WARP + lane;
        if (rank >= a.k) continue;
        a.distance[to + rank] = float(ranks.distance[l]);
        a.index[to + rank] = ranks.index[l];
    }
}

// ---- balls ----

__global__ void __launch_bounds__(BALL_WARPS* WARP) ball_kernel(const __grid_constant__ BallArgs a, int tiles) {
    const int b = int(blockIdx.x) / tiles, lane = int(threadIdx.x) % WARP;
    const int row = (int(blockIdx.x) - b * tiles) * BALL_WARPS + int(threadIdx.x) / WARP;
    if (row >= a.query.size) return;
    const bool asks = row < a.query.count(b);
    const int n = asks ? a.points.count(b) : 0;
    const float* points = a.points.of(b);
    int64_t* out = a.index + (int64_t(b) * a.query.size + row) * a.k;
    const Point q = load(a.query.of(b) + 3 * int64_t(row));
    const double squared = a.radius * a.radius;
    const float inside = float(squared) * BELOW - TINY, outside = upper(float(squared));
    int found = 0, first = 0;
    for (int begin = 0; begin < n && found < a.k; begin += WARP) {
        const int i = begin + lane;
        bool hit = false;
        if (i < n) {
            const Point p = load(points + 3 * int64_t(i));
            const float d = rough_distance(p, q);
            hit = d < inside || (d <= outside && exact_distance(p, q) < squared);
        }
        const unsigned votes = __ballot_sync(EVERY, hit);
        const int place = found + __popc(votes & ((1u << lane) - 1u));
        if (hit && place < a.k) out[place] = i;
        if (found == 0 && votes) first = begin + __ffs(int(votes)) - 1;
        found += __popc(votes);
    }
    const int64_t pad = asks ? padding_of(a, found, first) : -1;
    for (int place = found + lane; place < a.k; place += WARP) out[place] = pad;
}

unsigned grid_of(const char* name, int batch, int rows, int each, int& tiles) {
    tiles = (rows + each - 1) / each;
    const int64_t blocks = int64_t(tiles) * batch;
    if (blocks > 0x7FFFFFFF) fail<ShapeError>(name, ": expected fewer queries, given ", batch, " times ", rows);
    return unsigned(blocks);
}

template <int THREADS, int PER> void start_farthest(const FarthestArgs& a, void* stream) {
    launch("farthest_point_sample", farthest_kernel<THREADS, PER>, unsigned(a.points.batch), THREADS, 0, stream, a);
}
template <int LEVELS> void start_nearest(const NearestArgs& a, void* stream) {
    int tiles;
    const unsigned grid = grid_of("knn", a.query.batch, a.query.size, NEAREST_WARPS<LEVELS>, tiles);
    launch("knn", nearest_kernel<LEVELS>, grid, NEAREST_WARPS<LEVELS> * WARP, 0, stream, a, tiles);
}

}}  // namespace AM_LEVEL

void farthest_cuda(const FarthestArgs& a, void* stream) {
    const int n = a.points.size;
    if (n <= 256) cuda::start_farthest<64, 4>(a, stream);
    else if (n <= 1024) cuda::start_farthest<256, 4>(a, stream);
    else if (n <= 2048) cuda::start_farthest<512, 4>(a, stream);
    else if (n <= 4096) cuda::start_farthest<512, 8>(a, stream);
    else if (n <= 8192) cuda::start_farthest<512, 16>(a, stream);
    else cuda::start_farthest<1024, 0>(a, stream);
}
void nearest_cuda(const NearestArgs& a, void* stream) {
    if (a.k > MAX_NEAREST_CUDA) fail<ArgumentError>("k: expected at most ", int(MAX_NEAREST_CUDA), " on a GPU, given ", a.k);
    if (a.k <= 32) cuda::start_nearest<1>(a, stream);
    else if (a.k <= 64) cuda::start_nearest<2>(a, stream);
    else if (a.k <= 256) cuda::start_nearest<8>(a, stream);
    else cuda::start_nearest<32>(a, stream);
}
void ball_cuda(const BallArgs& a, void* stream) {
    int tiles;
    const unsigned grid = cuda::grid_of("ball_query", a.query.batch, a.query.size, cuda::BALL_WARPS, tiles);
    launch("ball_query", cuda::ball_kernel, grid, cuda::BALL_WARPS * WARP, 0, stream, a, tiles);
}

}  // namespace anamorph
