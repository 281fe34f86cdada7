// What the threads of a block find together about the points of a cloud.
#pragma once
#include "../../core/launch.h"
#include "../../core/warp.h"

namespace anamorph { namespace AM_LEVEL {

template <int THREADS> struct Meeting {
    int counts[THREADS / WARP];
    uint32_t prefix, want;
    unsigned bins[256];
};

// How many threads before this one say yes, and how many do at all.
template <int THREADS> AM_D int block_rank(bool yes, int& all, Meeting<THREADS>& meet) {
    const unsigned votes = __ballot_sync(0xFFFFFFFFu, yes);
    const int lane = int(threadIdx.x) % WARP, warp = int(threadIdx.x) / WARP;
    if (lane == 0) meet.counts[warp] = __popc(votes);
    __syncthreads();
    int before = __popc(votes & ((1u << lane) - 1u));
    all = 0;
    for (int w = 0; w < THREADS / WARP; ++w) {
        if (w < warp) before += meet.counts[w];
        all += meet.counts[w];
    }
    __syncthreads();
    return before;
}

// Of n keys the one that is the `want`-th when they are sorted, and how many equal to it come among the first `want`. Found by its bits,
// eight at a time. want: 1 to n.
struct Selected {
    uint32_t key, equal;
};
template <int THREADS, class Key> AM_D Selected block_select(int n, int want_at, const Key& key, Meeting<THREADS>& meet) {
    static_assert(THREADS == 256, "a thread for each bin");
    uint32_t prefix = 0, known = 0, want = uint32_t(want_at);
    for (int shift = 24; shift >= 0; shift -= 8) {
        meet.bins[threadIdx.x] = 0;
        __syncthreads();
        for (int i = int(threadIdx.x); i < n; i += THREADS) {
            const uint32_t k = key(i);
            if ((k & known) == prefix) atomicAdd(&meet.bins[k >> shift & 255u], 1u);
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            uint32_t bin = 0;
            for (; bin < 255u && meet.bins[bin] < want; ++bin) want -= meet.bins[bin];
            meet.prefix = prefix | bin << shift;
            meet.want = want;
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
