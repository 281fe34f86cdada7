// Mixing on CPU threads, without fused multiply-add: which points are within a ball must not depend on the machine.
#include "../mix.h"

#include <algorithm>
#include <vector>

#include "../../core/parallel.h"

namespace anamorph { namespace points {
namespace {

// The numbers of the `many` points nearest to a centre, of equally near ones the first, in order.
std::vector<int> nearest(const float* cloud, int n, int center, int many) {
    std::vector<uint64_t> keys(static_cast<size_t>(n));
    for (int p = 0; p < n; ++p) keys[size_t(p)] = uint64_t(squared_key(cloud, p, center)) << 32 | uint32_t(p);
    std::vector<uint64_t> sorted = keys;
    std::nth_element(sorted.begin(), sorted.begin() + many - 1, sorted.end());
    std::vector<int> found;
    for (int p = 0; p < n; ++p)
        if (keys[size_t(p)] <= sorted[size_t(many - 1)]) found.push_back(p);
    return found;
}

// Those that RSMix takes about a centre: at most so many, the nearest.
std::vector<int> around(const Pair& pair, const float* cloud, int center) {
    int many = pair.many();
    if (pair.rule == MIX_RS_BALL) {
        many = 0;
        for (int p = 0; p < pair.n; ++p) many += in_ball(cloud, p, center, pair.number());
    }
    return nearest(cloud, pair.n, center, std::min(many, pair.most()));
}

void mix_row(const MixArgs& a, int i) {
    const Pair pair(a, i);
    const int n = pair.n;
    a.share[i] = 0.0f;
    if (pair.rule == MIX_UP) {
        a.share[i] = pair.number();
        for (int p = 0; p < n; ++p) pair.blend(p, pair.number());
        return;
    }
    for (int p = 0; p < n; ++p) pair.keep(p);
    if (pair.rule == MIX_CUT_RANDOM) {
        Permutation order;
        pair.permute(order, 0, n);
        for (int k = 0; k < pair.many(); ++k) pair.take(int(order.forward(uint32_t(k))));
        a.share[i] = float(pair.many()) / float(n);
    } else if (pair.rule == MIX_CUT_NEAREST) {
        for (int p : nearest(pair.own, n, pair.center(0), pair.many())) pair.take(p);
        a.share[i] = float(pair.many()) / float(n);
    } else if (pair.rule != MIX_NONE) {
        const int own = pair.center(0), their = pair.center(1);
        const std::vector<int> go = around(pair, pair.own, own), come = around(pair, pair.theirs, their);
        const int some = int(come.size());
        Permutation order;
        pair.permute(order, 2, some);
        for (size_t k = 0; k < go.size(); ++k) pair.move(go[k], come[order.forward(uint32_t(int(k) % some))], own, their);
        a.share[i] = float(go.size()) / float(n);
    }
}

}  // namespace

void mix_cpu(const MixArgs& a, int threads) {
    if (int64_t(a.batch) * a.points < 4096) threads = 1;
    parallel_for(a.batch, threads, [&](int64_t i) { mix_row(a, int(i)); });
}

}}  // namespace anamorph::points
