// Mixing on a GPU: a block for each cloud.
#define AM_LEVEL cuda
#include "../../core/launch.h"
#include "../mix.h"
#include "block.h"

namespace anamorph {
namespace AM_LEVEL { namespace {

enum : int { THREADS = 256 };
using Meet = Meeting<THREADS>;

// How many RSMix takes about a centre.
AM_D int around(const points::Pair& pair, const float* cloud, int center, Meet& meet) {
    int many = pair.many();
    if (pair.rule == points::MIX_RS_BALL) {
        many = 0;
        for (int first = 0; first < pair.n; first += THREADS) {
            const int p = first + int(threadIdx.x);
            int all;
            block_rank(p < pair.n && points::in_ball(cloud, p, center, pair.number()), all, meet);
            many += all;
        }
    }
    return many < pair.most() ? many : pair.most();
}

// f(p, rank) of the `many` nearest to a centre, g(p) of the others.
template <class F, class G> AM_D void of_nearest(int n, const float* cloud, int center, int many, Meet& meet, const F& f,
                                                 const G& g) {
    auto key = [&](int p) { return points::squared_key(cloud, p, center); };
    const Selected last = block_select<THREADS>(n, many, key, meet);
    block_chosen<THREADS>(n, last, key, [&](int p, bool near, int rank) { near ? f(p, rank) : g(p); }, meet);
}

__global__ void __launch_bounds__(THREADS) mix_kernel(const __grid_constant__ points::MixArgs a) {
    __shared__ Meet meet;
    const int i = int(blockIdx.x);
    const points::Pair pair(a, i);
    const int n = pair.n, thread = int(threadIdx.x);
    float share = 0.0f;
    if (pair.rule == points::MIX_CUT_NEAREST) {
        const int many = pair.many();
        of_nearest(n, pair.own, pair.center(0), many, meet, [&](int p, int) { pair.take(p); }, [&](int p) { pair.keep(p); });
        share = float(many) / float(n);
    } else if (pair.rule == points::MIX_RS_BALL || pair.rule == points::MIX_RS_NEAREST) {
        const int own = pair.center(0), their = pair.center(1);
        int32_t* come = a.room + int64_t(i) * n;
        const int go = around(pair, pair.own, own, meet), some = around(pair, pair.theirs, their, meet);
        of_nearest(n, pair.theirs, their, some, meet, [&](int p, int rank) { come[rank] = p; }, [](int) {});
        __syncthreads();
        Permutation order;
        pair.permute(order, 2, some);
        of_nearest(
            n, pair.own, own, go, meet,
            [&](int p, int rank) { pair.move(p, come[order.forward(uint32_t(rank % some))], own, their); },
            [&](int p) { pair.keep(p); });
        share = float(go) / float(n);
    } else {
        Permutation order;
        pair.permute(order, 0, n);
        const int many = pair.many();
        for (int p = thread; p < n; p += THREADS) {
            if (pair.rule == points::MIX_UP) pair.blend(p, pair.number());
            else if (pair.rule == points::MIX_CUT_RANDOM && int(order.backward(uint32_t(p))) < many) pair.take(p);
            else pair.keep(p);
        }
        if (pair.rule == points::MIX_UP) share = pair.number();
        if (pair.rule == points::MIX_CUT_RANDOM) share = float(many) / float(n);
    }
    if (thread == 0) a.share[i] = share;
}

}}  // namespace AM_LEVEL

void points::mix_cuda(const points::MixArgs& a, void* stream) {
    launch("mixing of clouds", cuda::mix_kernel, unsigned(a.batch), cuda::THREADS, 0, stream, a);
}

}  // namespace anamorph
