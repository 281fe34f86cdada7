// What the threads of a block find together about the points of a cloud.
#pragma once
#include "../../core/launch.h"
#include "../../core/warp.h"

namespace anamorph { namespace AM_LEVEL {

constexpr unsigned WHOLE_WARP = 0xFFFFFFFFu;

template <int THREADS> struct Meeting {
    int counts[THREADS / WARP], places[THREADS / WARP];
    double numbers[THREADS / WARP];
    uint32_t prefix, want;
    unsigned bins[256];
};

// The sum over `LANES` lanes that follow each other, always in the same order, to each of them.
template <int LANES, class T> AM_D T lanes_sum(T v) {
    static_assert((LANES & (LANES - 1)) == 0 && LANES <= WARP, "halves of halves");
    for (int half = LANES / 2; half > 0; half /= 2) v += __shfl_xor_sync(WHOLE_WARP, v, half);
    return v;
}

// What its warps have found, each of a block's warps folds for itself: by shuffles, a lane for each warp. (ptxas of CUDA 13.0 has misplaced
// reads of a loop over shared memory that it unrolled.)

// The sum of a number of each thread, always in the same order, to every thread.
template <int THREADS> AM_D double block_sum(double own, Meeting<THREADS>& meet) {
    constexpr int WARPS = THREADS / WARP;
    own = lanes_sum<WARP>(own);
    if (threadIdx.x % WARP == 0) meet.numbers[threadIdx.x / WARP] = own;
    __syncthreads();
    own = lanes_sum<WARPS>(meet.numbers[threadIdx.x % WARPS]);
    __syncthreads();
    return own;
}

// The largest of a number of each thread and its place, of equal ones the first, to every thread.
template <int THREADS> AM_D double block_largest(double own, int& place, Meeting<THREADS>& meet) {
    constexpr int WARPS = THREADS / WARP;
    auto fold = [&](int lanes) {
        for (int half = lanes / 2; half > 0; half /= 2) {
            const double other = __shfl_xor_sync(WHOLE_WARP, own, half);
            const int at = __shfl_xor_sync(WHOLE_WARP, place, half);
            if (other > own || (other == own && at < place)) {
                own = other;
                place = at;
            }
        }
    };
    fold(WARP);
    if (threadIdx.x % WARP == 0) {
        meet.numbers[threadIdx.x / WARP] = own;
        meet.places[threadIdx.x / WARP] = place;
    }
    __syncthreads();
    own = meet.numbers[threadIdx.x % WARPS];
    place = meet.places[threadIdx.x % WARPS];
    fold(WARPS);
    __syncthreads();
    return own;
}

// How many threads before this one say yes, and how many do at all.
template <int THREADS> AM_D int block_rank(bool yes, int& all, Meeting<THREADS>& meet) {
    constexpr int WARPS = THREADS / WARP;
    const unsigned votes = __ballot_sync(WHOLE_WARP, yes);
    const int lane = int(threadIdx.x) % WARP, warp = int(threadIdx.x) / WARP;
    if (lane == 0) meet.counts[warp] = __popc(votes);
    __syncthreads();
    const int found = meet.counts[lane % WARPS];
    all = lanes_sum<WARPS>(found);
    const int before = lanes_sum<WARPS>(lane % WARPS < warp ? found : 0);
    __syncthreads();
    return before + __popc(votes & ((1u << lane) - 1u));
}

// Of n keys the one that is the `want`-th when they are sorted, and how many equal to it come among the first `want`. Found by its bits,
// eight at a time. Below 1 none is among the first, from n on all are.
struct Selected {
    uint32_t key, equal;
};
template <int THREADS, class Key> AM_D Selected block_select(int n, int want_at, const Key& key, Meeting<THREADS>& meet) {
    static_assert(THREADS == 256, "a thread for each bin");
    constexpr int WARPS = THREADS / WARP;
    if (want_at < 1) return {0u, 0u};
    if (want_at >= n) return {0xFFFFFFFFu, uint32_t(n)};
    uint32_t prefix = 0, known = 0, want = uint32_t(want_at);
    for (int shift = 24; shift >= 0; shift -= 8) {
        meet.bins[threadIdx.x] = 0;
        __syncthreads();
        for (int i = int(threadIdx.x); i < n; i += THREADS) {
            const uint32_t k = key(i);
            if ((k & known) == prefix) atomicAdd(&meet.bins[k >> shift & 255u], 1u);
        }
        __syncthreads();
        // Where the running total of the bins reaches `want`: a thread for each bin, whose sum before it is its warps' and lanes'.
        const int lane = int(threadIdx.x) % WARP, warp = int(threadIdx.x) / WARP;
        const uint32_t here = meet.bins[threadIdx.x];
        uint32_t until = here;
        for (int far = 1; far < WARP; far *= 2) {
            const uint32_t other = __shfl_up_sync(WHOLE_WARP, until, far);
            if (lane >= far) until += other;
        }
        if (lane == WARP - 1) meet.counts[warp] = int(until);
        __syncthreads();
        until += uint32_t(lanes_sum<WARPS>(lane % WARPS < warp ? meet.counts[lane % WARPS] : 0));
        if (until >= want && until - here < want) {
            meet.prefix = prefix | threadIdx.x << shift;
            meet.want = want - (until - here);
        }
        __syncthreads();
        prefix = meet.prefix;
        want = meet.want;
        known |= 255u << shift;
        __syncthreads();
    }
    return {prefix, want};
}

// f(i, chosen, rank) for each of n points by one thread, in tiles, all threads at once: is it among the first of block_select, and how many
// of the points before it are (of those that are not: how many are not).
template <int THREADS, class Key, class F>
AM_D void block_chosen(int n, const Selected& last, const Key& key, const F& f, Meeting<THREADS>& meet) {
    int equal = 0, chosen = 0;
    for (int first = 0; first < n; first += THREADS) {
        const int i = first + int(threadIdx.x);
        const uint32_t k = i < n ? key(i) : 0u;
        int all;
        const bool same = i < n && k == last.key;
        const int among = equal + block_rank(same, all, meet);
        equal += all;
        const bool yes = i < n && (k < last.key || (same && among < int(last.equal)));
        const int rank = chosen + block_rank(yes, all, meet);
        chosen += all;
        if (i < n) f(i, yes, yes ? rank : i - rank);
    }
}

}}  // namespace anamorph::AM_LEVEL
