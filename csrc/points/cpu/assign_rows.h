// assign.h on a CPU: a cloud's auction, whose scans take a pack of objects at a time.
#pragma once
#include <algorithm>
#include <memory>
#include <vector>

#include "../assign.h"
#include "../mix.h"

namespace anamorph { namespace AM_LEVEL {

struct Auction {
    enum : int { KEPT = 2048 };  // up to so many points all costs are kept, in 16 MB: a root takes longer than a load
    const int n, stride;         // a row's, and as much is read past its end
    std::vector<float> a, b;     // [3, stride]
    std::vector<int32_t> price, owner, queue;
    std::unique_ptr<int32_t[]> costs;  // [n, stride]

    Auction(const Box& box, const float* from, const float* to, int count)
        : n(count), stride(packs_above(count) + LANES), a(size_t(3) * stride), b(size_t(3) * stride), price(stride, NO_OBJECT),
          owner(n), queue(n) {
        for (int i = 0; i < n; ++i)
            for (int k = 0; k < 3; ++k) {
                a[k * stride + i] = box.place(from[3 * i + k], k);
                b[k * stride + i] = box.place(to[3 * i + k], k);
            }
        std::fill(price.begin(), price.begin() + n, 0);
        if (n > KEPT) return;
        costs.reset(new int32_t[size_t(n) * stride]);
        for (int i = 0; i < n; ++i)
            for (int j = 0; j < stride; j += LANES) cost<false>(i, j).store(&costs[size_t(i) * stride + j]);
    }

    template <bool KEEPS> AM_HD Ints cost(int i, int j) const {
        if constexpr (KEEPS) return load(&costs[size_t(i) * stride + j]);
        const float *p = a.data() + i, *q = b.data() + j;
        return cost_between<Floats>(Floats(p[0]), Floats(p[stride]), Floats(p[2 * stride]), Floats::load(q),
                                    Floats::load(q + stride), Floats::load(q + 2 * stride));
    }
    static AM_HD Ints load(const int32_t* p) {
        IntBits v;
        std::memcpy(&v, p, sizeof v);
        return Ints(v);
    }

    template <bool KEEPS> Offer look(int person) const {
        const Ints lane = to_int(Floats::iota());
        Ints best(INT32_MAX), second(INT32_MAX), rank(0);
        auto see = [&](Ints value, Ints order) {
            second = min_(second, max_(best, value));
            rank = select(value < best, order, rank);
            best = min_(best, value);
        };
        for (int j = person; j < n; j += LANES)  // past the end nothing has a price that anybody would pay
            see(cost<KEEPS>(person, j) + load(&price[j]), lane + Ints(j - person));
        for (int j = 0; j < person; j += LANES) {
            const Ints value = cost<KEEPS>(person, j) + load(&price[j]);
            see(select(lane < Ints(person - j), value, Ints(NO_OBJECT)), lane + Ints(n - person + j));
        }
        int32_t bests[LANES], ranks[LANES], seconds[LANES];
        best.store(bests);
        rank.store(ranks);
        second.store(seconds);
        Offer all = no_offer();
        for (int k = 0; k < LANES; ++k) all = joined(all, {bests[k], ranks[k], seconds[k]});
        return all;
    }

    void run(double eps, const Box& box, int64_t most_bids) {
        Epsilon epsilon;
        epsilon.begin(eps, box);
        bool forced = false;
        int64_t bids = 0;
        for (;;) {
            std::fill(owner.begin(), owner.end(), -1);
            for (int i = 0; i < n; ++i) queue[i] = i;
            int head = 0, count = n;
            while (count > 0) {
                if (!forced && bids >= most_bids) {
                    forced = true;
                    for (int j = 0; j < n; ++j)
                        if (owner[j] >= 0) price[j] = TAKEN;
                }
                const int k = forced ? 1 : std::min<int>(count, BIDDERS);
                int person[BIDDERS], object[BIDDERS], bid[BIDDERS];
                for (int t = 0; t < k; ++t) {
                    person[t] = queue[head + t < n ? head + t : head + t - n];
                    const Offer o = costs ? look<true>(person[t]) : look<false>(person[t]);
                    object[t] = object_of(person[t], o.rank, n);
                    bid[t] = forced ? int(TAKEN) : price[object[t]] + (o.second - o.best) + int(epsilon.now);
                }
                bids += k;
                head = head + k < n ? head + k : head + k - n;
                count -= k;
                for (int t = 0; t < k; ++t) {
                    bool wins = true;
                    for (int s = 0; s < k; ++s)
                        wins = wins && !(object[s] == object[t] && (bid[s] > bid[t] || (bid[s] == bid[t] && s < t)));
                    int waits = person[t];
                    if (wins) {
                        waits = owner[object[t]];
                        owner[object[t]] = person[t];
                        price[object[t]] = bid[t];
                    }
                    if (waits < 0) continue;
                    queue[head + count < n ? head + count : head + count - n] = waits;
                    ++count;
                }
            }
            if (forced) return;
            int64_t total = 0;
            for (int j = 0; j < n; ++j) {
                const int i = owner[j];
                total += cost_between<float>(a[i], a[stride + i], a[2 * stride + i], b[j], b[stride + j], b[2 * stride + j]);
            }
            if (!epsilon.next(total, n)) return;
        }
    }
};

void assign_task(const AssignArgs& args, int sample) {
    const int n = args.n;
    const float *from = args.a + int64_t(sample) * n * 3, *to = args.b + int64_t(partner_of(args, sample)) * n * 3;
    int64_t* permutation = args.permutation + int64_t(sample) * n;
    float low[3], high[3];
    for (int k = 0; k < 3; ++k) low[k] = high[k] = from[k];
    for (int i = 0; i < 3 * n; ++i) {
        low[i % 3] = min_(low[i % 3], min_(from[i], to[i]));
        high[i % 3] = max_(high[i % 3], max_(from[i], to[i]));
    }
    Box box;
    box.begin(low, high);
    if (n == 1 || (args.rule && !points::needs_match(args.rule[sample]))) {
        for (int i = 0; i < n; ++i) permutation[i] = i;
    } else {
        Auction auction(box, from, to, n);
        auction.run(args.eps, box, args.most_bids);
        for (int j = 0; j < n; ++j) permutation[auction.owner[j]] = j;
    }
    int64_t sum = 0;
    bool numbers = true;
    for (int i = 0; i < n; ++i) numbers = add_distance(box, from + 3 * i, to + 3 * permutation[i], sum) && numbers;
    args.cost[sample] = numbers ? distance_of(box, sum) : word_float(0x7FC00000);
}

}}  // namespace anamorph::AM_LEVEL
