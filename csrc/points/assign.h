// Assignment of the points of one cloud to those of another, one to one, for a small sum of Euclidean distances: the auction of
// Bertsekas ("A new algorithm for the assignment problem", 1981) with epsilon scaling. A person is a point of `a`, an object one of
// `b`. The arithmetic, which the CPU and the GPU share: distances are whole numbers, so the auction ends, and both give the same bits.
//
// A phase begins with everybody without an object and the prices that the phase before has left. Its rounds: the first BIDDERS
// persons that wait each look at all objects with the prices of the round's beginning, and bid for the cheapest what makes it as dear
// as the second cheapest, and epsilon more. The highest bid has an object (of equal ones the one that waited longest); who had it, and
// who lost, wait at the end of the queue. All is said by that, so it is the same whoever does how much of it at a time.
//
// As long as two wait, two objects have had no bid in this phase, so no price rises past the highest one at its beginning, the
// largest cost and epsilon; the last bid can add the largest cost and epsilon once more. So prices stay below 2^26 in all phases.
#pragma once
#include <cstdint>
#include "../core/exact_math.h"
#include "../core/simd.h"
#include "../core/best_level.h"

namespace anamorph {

enum : int {
    BIDDERS = 32,
    COST_ONE = 1 << 20,   // the cost of the longest side of the box round both clouds
    COST_MOST = 1 << 21,  // none is larger: the diagonal's is 1.74 of it. Also what is not a number
    FIRST_EPSILON = COST_ONE / 4,
    SHRINK = 5,       // epsilon's, from phase to phase
    PER_HUNDRED = 1,  // with no epsilon given: the matched distances add up to at most so much more than they could
    TAKEN = 1 << 29,  // the price of what nobody may bid for
    NO_OBJECT = 1 << 30,
    MOST_ASSIGNED = 1 << 16,  // points of a cloud
    ROOM_WORDS = 9            // of a GPU's memory for each point: coordinates of both, price, owner, queue
};

struct AssignArgs {
    const float* a;          // [B, N, 3]
    const float* b;          // [B, N, 3]
    const int64_t* partner;  // [B] which cloud of b; null: the same
    const int32_t* rule;     // [B] mix.h; samples whose rule needs no assignment keep their points' order. null: all need it
    int64_t* permutation;    // [B, N]
    float* cost;             // [B]
    int32_t* room;           // [B, ROOM_WORDS * N] on a GPU
    int64_t most_bids;       // after so many who still waits takes the nearest object that nobody has
    double eps;              // in the clouds' unit; 0: PER_HUNDRED
    int32_t batch, n;
};

// The box round two clouds: places in units of its longest side, from its lowest corner.
struct Box {
    double low[3], side, inverse;
    AM_HD void begin(const float* lowest, const float* highest) {
        side = 0.0;
        for (int k = 0; k < 3; ++k) {
            low[k] = double(lowest[k]);
            side = exact::maximum(side, double(highest[k]) - low[k]);
        }
        inverse = side > 0.0 ? 1.0 / side : 0.0;
    }
    AM_HD float place(float x, int k) const { return float((double(x) - low[k]) * inverse); }
};

// Epsilon from phase to phase.
struct Epsilon {
    int64_t now, least;  // least: 0 where the cost says it
    AM_HD void begin(double eps, const Box& box) {
        now = FIRST_EPSILON;
        least = 0;
        if (eps > 0.0) {
            const double units = eps * box.inverse * double(COST_ONE);
            least = units >= double(FIRST_EPSILON) ? int64_t(FIRST_EPSILON) : units >= 1.0 ? int64_t(units) : 1;
            if (!(box.side > 0.0)) least = FIRST_EPSILON;  // any assignment is as good
        }
    }
    // After a phase whose assignment costs `total`: is there another? An auction ends within n epsilon of the least cost.
    AM_HD bool next(int64_t total, int n) {
        if (now == 1 || now <= least || (least == 0 && now * n * 100 <= total * PER_HUNDRED)) return false;
        // A little below what would do, for the next total is the smaller one.
        const int64_t goal = least ? least : total * (9 * PER_HUNDRED) / (int64_t(n) * 1000);
        now = now / SHRINK > goal ? now / SHRINK : goal > 1 ? goal : 1;
        return true;
    }
};

// The sum of distances, in whole numbers so that their order is nothing: 2^-40 of the box's side.
AM_HD bool add_distance(const Box& box, const float* p, const float* q, int64_t& sum) {
    double square = 0.0;
    for (int k = 0; k < 3; ++k) {
        const double d = (double(p[k]) - double(q[k])) * box.inverse;
        square = square + d * d;
    }
    const double distance = exact::sqrt(square);
    if (!(square <= 4.0)) return false;  // a number that is none
    sum += int64_t(distance * 1099511627776.0 + 0.5);
    return true;
}
AM_HD float distance_of(const Box& box, int64_t sum) { return float(double(sum) * (1.0 / 1099511627776.0) * box.side); }

AM_HD int partner_of(const AssignArgs& a, int i) {
    if (!a.partner) return i;
    const int64_t p = a.partner[i];
    return int(p < 0 ? 0 : p < a.batch ? p : a.batch - 1);
}

namespace AM_LEVEL {

// What a person found among objects: the least cost and price, where it comes in the order of looking, and the second least.
struct Offer {
    int best, rank, second;
};
AM_HD Offer no_offer() { return {INT32_MAX, INT32_MAX, INT32_MAX}; }
AM_HD Offer joined(Offer x, Offer y) {
    const bool first = x.best < y.best || (x.best == y.best && x.rank < y.rank);
    return {first ? x.best : y.best, first ? x.rank : y.rank, min_(first ? y.best : x.best, min_(x.second, y.second))};
}
// A person looks from the object of its own number on, round the end: so many points at one place find one each.
AM_HD int object_of(int person, int rank, int n) { return person + rank < n ? person + rank : person + rank - n; }

template <class F> AM_HD typename IntOf<F>::type cost_between(F ax, F ay, F az, F bx, F by, F bz) {
    const F x = ax - bx, y = ay - by, z = az - bz;
    const F cost = sqrt_(x * x + y * y + z * z) * F(float(COST_ONE)) + F(0.5f);
    return to_int(select(cost < F(float(COST_MOST)), cost, F(float(COST_MOST))));
}

}  // namespace AM_LEVEL

#if !defined(__CUDACC__)
AM_AT_LEVELS(void assign_task(const AssignArgs&, int);)
#endif
void assign_cpu(const AssignArgs& args, int threads);
void assign_cuda(const AssignArgs& args, void* stream);

}  // namespace anamorph
