// neighbours.h on a GPU. Farthest points: a block for each cloud, its points in registers, or, of a large one, in leaves of neighbouring
// points, most of which a sample is too far from to change. Nearest points: a warp for each query, its list sorted across the lanes.
// Balls: a warp for each query, which stops where its row is full.
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

AM_D bool better(double d, int i, double than, int at) { return d > than || (d == than && i < at); }
// The largest double of a warp's lanes and its point, of equal ones the first, to all of them.
AM_D void warp_farthest(double& d, int& i) {
    for (int half = WARP / 2; half > 0; half /= 2) {
        const double other = __shfl_xor_sync(EVERY, d, half);
        const int index = __shfl_xor_sync(EVERY, i, half);
        if (better(other, index, d, i)) {
            d = other;
            i = index;
        }
    }
}

// What the threads of a block tell each other about one sample.
template <int WARPS> struct Contest {
    int most[WARPS];        // the largest rough distance in each warp, as its bits
    int tied[2], index[2];  // how many points have the largest of all, and the first of them; of this sample and of the next
    double exact[WARPS];    // where there are several: the largest double of a warp, and its first point
    int first[WARPS];
};

// The points are dealt out: thread t has t, t + THREADS, ... PER of them in registers. Of each point a thread keeps its distance
// from the nearest sample as a float, which stands for the double wherever it decides; the double lies in memory and is read only
// where floats are equal.
template <int THREADS, int PER>
__global__ void __launch_bounds__(THREADS) farthest_kernel(const __grid_constant__ FarthestArgs a) {
    constexpr int WARPS = THREADS / WARP;
    __shared__ Contest<WARPS> shared;
    const int b = int(blockIdx.x), t = int(threadIdx.x), lane = t % WARP;
    const int counted = a.points.count(b), n = counted > 0 ? counted : 1;
    const float* points = a.points.of(b);
    double* exact = a.exact + b * a.rooms();
    int64_t* out = a.index + int64_t(b) * a.m;

    const float inf = __int_as_float(0x7F800000);
    Point at[PER];
    float rough[PER];
    AM_UNROLL
    for (int j = 0; j < PER; ++j) {
        const int i = t + j * THREADS;
        at[j] = i < n ? load(points + 3 * int64_t(i)) : Point{0.0f, 0.0f, 0.0f};
        rough[j] = i < n ? inf : -1.0f;
        if (i < n) exact[i] = double(inf);
    }
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
        AM_UNROLL
        for (int j = 0; j < PER; ++j) {
            if (rough_distance(at[j], q) <= upper(rough[j])) {
                const int i = t + j * THREADS;
                const double e = exact_distance(at[j], q);
                const float r = float(e);
                if (r < rough[j] || (r == rough[j] && e < exact[i])) {
                    rough[j] = r;
                    exact[i] = e;
                }
            }
            most = fmaxf(most, rough[j]);
        }
        const int own = __float_as_int(most), warp_most = warp_max(own);
        if (lane == 0) shared.most[t / WARP] = warp_most;
        __syncthreads();
        const int all = warp_max(lane < WARPS ? shared.most[lane] : __float_as_int(-1.0f));
        const int now = s & 1;
        if (own == all) {
            AM_UNROLL
            for (int j = 0; j < PER; ++j)
                if (__float_as_int(rough[j]) == all) {
                    atomicAdd(&shared.tied[now], 1);
                    atomicMin(&shared.index[now], t + j * THREADS);
                }
        }
        if (t == 0) {
            shared.tied[1 - now] = 0;
            shared.index[1 - now] = NOBODY;
        }
        __syncthreads();
        last = shared.index[now];
        if (shared.tied[now] > 1) {  // by their doubles
            double e = -1.0;
            int first = NOBODY;
            if (own == all) {
                AM_UNROLL
                for (int j = 0; j < PER; ++j)
                    if (__float_as_int(rough[j]) == all && exact[t + j * THREADS] > e) {
                        e = exact[t + j * THREADS];
                        first = t + j * THREADS;
                    }
            }
            warp_farthest(e, first);
            if (lane == 0) {
                shared.exact[t / WARP] = e;
                shared.first[t / WARP] = first;
            }
            __syncthreads();
            e = lane < WARPS ? shared.exact[lane] : -1.0;
            last = lane < WARPS ? shared.first[lane] : int(NOBODY);
            warp_farthest(e, last);
        }
        if (t == 0) out[s] = last;
    }
}

// ---- farthest points of large clouds ----

// In the order that the caller found, in which neighbours follow each other. 16 bytes, which are read at once.
struct alignas(16) Placed {
    Point at;
    int index;  // in the cloud
};
struct Box {
    Point low, high;

    // A rough distance that no point in here is below.
    AM_D float rough_distance(const Point& q) const {
        const float dx = fmaxf(fmaxf(low.x - q.x, q.x - high.x), 0.0f), dy = fmaxf(fmaxf(low.y - q.y, q.y - high.y), 0.0f),
                    dz = fmaxf(fmaxf(low.z - q.z, q.z - high.z), 0.0f);
        return fmaf(dz, dz, fmaf(dy, dy, dx * dx));
    }
    AM_D void grow(const Point& p) {
        low = {fminf(low.x, p.x), fminf(low.y, p.y), fminf(low.z, p.z)};
        high = {fmaxf(high.x, p.x), fmaxf(high.y, p.y), fmaxf(high.z, p.z)};
    }
};

enum : int { LARGE_THREADS = 1024, LARGE_WARPS = LARGE_THREADS / WARP, BOXES = 4, MOST_LEAVES = BOXES * LARGE_THREADS };
static_assert(int(LARGE_WARPS) == int(WARP), "a lane for each warp");

struct Leaves {
    float most[MOST_LEAVES];     // of each leaf the largest rough distance
    int where[MOST_LEAVES];      // and the place of its point
    uint16_t list[MOST_LEAVES];  // those that a sample may change
    int listed[2];               // by this sample, and by the next
    float warp_most[LARGE_WARPS];
    int warp_where[LARGE_WARPS];
};

struct Farthest {
    float most = -1.0f;
    int place = -1;
};

struct LargeCloud {
    Placed* placed;  // [n]
    double* exact;   // [n], likewise
    float* rough;

    AM_D void take(Farthest& f, float d, int place) const {
        if (d > f.most || (d == f.most && better(exact[place], placed[place].index, exact[f.place], placed[f.place].index)))
            f = {d, place};
    }
    // The farthest of what lanes have, to all of them. Doubles are read where floats are equal.
    AM_D Farthest warp_farthest(const Farthest& own) const {
        const int most = warp_max(__float_as_int(own.most));
        const bool mine = own.place >= 0 && __float_as_int(own.most) == most;
        const unsigned tied = __ballot_sync(EVERY, mine);
        if (__popc(tied) <= 1) return {__int_as_float(most), __shfl_sync(EVERY, own.place, tied ? __ffs(int(tied)) - 1 : 0)};
        double e = mine ? exact[own.place] : -1.0;
        const int index = mine ? placed[own.place].index : int(NOBODY);
        int first = index;
        cuda::warp_farthest(e, first);
        return {__int_as_float(most),
                __shfl_sync(EVERY, own.place, __ffs(int(__ballot_sync(EVERY, mine && index == first))) - 1)};
    }
    // A sample comes to a leaf. Its points, and what the warp then finds farthest in it.
    AM_D Farthest come(const Point& q, int from, int to, int lane) const {
        Farthest f;
        for (int i = from + lane; i < to; i += WARP) {
            const Point p = placed[i].at;
            float d = rough[i];
            if (rough_distance(p, q) <= upper(d)) {
                const double e = exact_distance(p, q);
                const float r = float(e);
                if (r < d || (r == d && e < exact[i])) {
                    rough[i] = d = r;
                    exact[i] = e;
                }
            }
            take(f, d, i);
        }
        return warp_farthest(f);
    }
};

// Leaves are 32 points or a multiple. A thread has the boxes of four; those that a sample may change are listed and dealt out to
// warps. Of every leaf the farthest point is known, so the next sample is the farthest of these.
__global__ void __launch_bounds__(LARGE_THREADS) farthest_large_kernel(const __grid_constant__ FarthestArgs a) {
    __shared__ Leaves shared;
    const int b = int(blockIdx.x), t = int(threadIdx.x), lane = t % WARP, warp = t / WARP;
    const int counted = a.points.count(b), n = counted > 0 ? counted : 1;
    const float* points = a.points.of(b);
    const int64_t* order = a.order + int64_t(b) * a.points.size;
    const LargeCloud cloud{reinterpret_cast<Placed*>(a.placed) + int64_t(b) * a.points.size, a.exact + b * a.rooms(),
                           a.rough + b * a.rooms()};
    int64_t* out = a.index + int64_t(b) * a.m;
    const float inf = __int_as_float(0x7F800000);
    for (int i = t; i < n; i += LARGE_THREADS) {
        const int from = order[i] < 0 ? 0 : order[i] < n ? int(order[i]) : n - 1;
        cloud.placed[i] = {load(points + 3 * int64_t(from)), from};
        cloud.exact[i] = double(inf);
        cloud.rough[i] = inf;
    }
    __syncthreads();
    const int size = (n + MOST_LEAVES * WARP - 1) / (MOST_LEAVES * WARP) * WARP, leaves = (n + size - 1) / size;
    Box boxes[BOXES];
    AM_UNROLL
    for (int j = 0; j < BOXES; ++j) {
        const int leaf = t + j * LARGE_THREADS;
        boxes[j] = {{inf, inf, inf}, {-inf, -inf, -inf}};
        Farthest f;  // of points that are all infinitely far
        for (int i = leaf * size; leaf < leaves && i < n && i < (leaf + 1) * size; ++i) {
            boxes[j].grow(cloud.placed[i].at);
            cloud.take(f, inf, i);
        }
        shared.most[leaf] = f.most;
        shared.where[leaf] = f.place;
    }
    if (t < 2) shared.listed[t] = 0;
    const int64_t start = a.start[b];
    const int first = start < 0 ? 0 : start < n ? int(start) : n - 1;
    if (t == 0) out[0] = first;
    Point q = load(points + 3 * int64_t(first));
    __syncthreads();
    for (int s = 1; s < a.m; ++s) {
        const int now = s & 1;
        AM_UNROLL
        for (int j = 0; j < BOXES; ++j) {
            const int leaf = t + j * LARGE_THREADS;
            if (leaf < leaves && boxes[j].rough_distance(q) <= upper(shared.most[leaf]))
                shared.list[atomicAdd(&shared.listed[now], 1)] = uint16_t(leaf);
        }
        __syncthreads();
        if (t == 0) shared.listed[1 - now] = 0;
        for (int k = warp; k < shared.listed[now]; k += LARGE_WARPS) {
            const int leaf = shared.list[k], from = leaf * size;
            const Farthest f = cloud.come(q, from, from + size < n ? from + size : n, lane);
            if (lane == 0) {
                shared.most[leaf] = f.most;
                shared.where[leaf] = f.place;
            }
        }
        __syncthreads();
        Farthest f;
        for (int leaf = t; leaf < leaves; leaf += LARGE_THREADS) cloud.take(f, shared.most[leaf], shared.where[leaf]);
        f = cloud.warp_farthest(f);
        if (lane == 0) {
            shared.warp_most[warp] = f.most;
            shared.warp_where[warp] = f.place;
        }
        __syncthreads();
        f.most = shared.warp_most[lane];
        f.place = shared.warp_where[lane];
        f = cloud.warp_farthest(f);
        const Placed next = cloud.placed[f.place];
        q = next.at;
        if (t == 0) out[s] = next.index;
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
    if (a.order)
        launch("farthest_point_sample", cuda::farthest_large_kernel, unsigned(a.points.batch), cuda::LARGE_THREADS, 0, stream, a);
    else if (n <= 256) cuda::start_farthest<64, 4>(a, stream);
    else if (n <= 1024) cuda::start_farthest<256, 4>(a, stream);
    else if (n <= 2048) cuda::start_farthest<512, 4>(a, stream);
    else if (n <= 4096) cuda::start_farthest<512, 8>(a, stream);
    else if (n <= FARTHEST_HELD) cuda::start_farthest<512, 16>(a, stream);
    else
        fail<ArgumentError>("order: expected one for clouds of more than ", int(FARTHEST_HELD),
                            " points on a GPU, given none for ", n);
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
