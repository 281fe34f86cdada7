// neighbours.h on a CPU: leaves of trees in packs of points, boxes of leaves in packs of boxes.
#pragma once
#include <algorithm>
#include <limits>

#include "../../core/simd.h"
#include "../neighbours.h"
#include "neighbour_tasks.h"

namespace anamorph { namespace AM_LEVEL {
namespace near {

// Half a pack, as doubles of a whole one's bytes.
enum : int { HALF = LANES / 2 };
typedef float HalfBits __attribute__((vector_size(HALF * 4)));
typedef double DoubleBits __attribute__((vector_size(HALF * 8)));

AM_HD DoubleBits doubles(const float* p) {
    HalfBits x;
    std::memcpy(&x, p, sizeof x);
    return __builtin_convertvector(x, DoubleBits);
}

AM_HD uint32_t bits(Mask m) {
#if defined(__AVX512F__)
    return m.v;
#elif defined(__AVX2__)
    return uint32_t(_mm256_movemask_ps((__m256)m.v));
#else
    uint32_t word = 0;
    for (int i = 0; i < LANES; ++i) word |= uint32_t(m.v[i] & 1) << i;
    return word;
#endif
}
enum : uint32_t { ALL = (1u << LANES) - 1 };

AM_HD float largest(Floats a) {
#if defined(__AVX512F__)
    return _mm512_reduce_max_ps((__m512)a.v);
#elif defined(__AVX2__)
    __m128 x = _mm_max_ps(_mm256_castps256_ps128((__m256)a.v), _mm256_extractf128_ps((__m256)a.v, 1));
    x = _mm_max_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
#else
    float most = a.v[0];
    for (int i = 1; i < LANES; ++i) most = max_(most, a.v[i]);
    return most;
#endif
}

// a * b + c; how it rounds does not matter where it is used.
AM_HD Floats joined(Floats a, Floats b, Floats c) {
#if defined(__AVX512F__)
    return Floats((FloatBits)_mm512_fmadd_ps((__m512)a.v, (__m512)b.v, (__m512)c.v));
#elif defined(__AVX2__)
    return Floats((FloatBits)_mm256_fmadd_ps((__m256)a.v, (__m256)b.v, (__m256)c.v));
#else
    return a * b + c;
#endif
}

struct Place {
    float at[3];
    Floats x, y, z;
    AM_HD explicit Place(const float* p) : at{p[0], p[1], p[2]}, x(p[0]), y(p[1]), z(p[2]) {}
};

// Rough distances to the points of a pack.
AM_HD Floats rough_distance(const Tree& t, size_t i, const Place& q) {
    const Floats dx = Floats::load(t.at[0] + i) - q.x, dy = Floats::load(t.at[1] + i) - q.y, dz = Floats::load(t.at[2] + i) - q.z;
    return joined(dz, dz, joined(dy, dy, dx * dx));
}
AM_HD Floats upper(Floats d) { return joined(d, Floats(ABOVE), Floats(TINY)); }

// From a box to those of a pack, roughly: no distance between points of both is, as a rough one, below it by more than roundings,
// which upper() has room for.
AM_HD Floats gap(Floats low, Floats high, Floats from, Floats to) { return max_(max_(low - to, from - high), Floats(0.0f)); }
AM_HD Floats box_distance(const Boxes& b, size_t i, const float* low, const float* high) {
    Floats side[3];
    for (int axis = 0; axis < 3; ++axis)
        side[axis] = gap(Floats::load(b.low[axis] + i), Floats::load(b.high[axis] + i), Floats(low[axis]), Floats(high[axis]));
    return joined(side[2], side[2], joined(side[1], side[1], side[0] * side[0]));
}
AM_HD Floats box_distance(const Boxes& b, size_t i, const Place& q) {
    const Floats x = gap(Floats::load(b.low[0] + i), Floats::load(b.high[0] + i), q.x, q.x);
    const Floats y = gap(Floats::load(b.low[1] + i), Floats::load(b.high[1] + i), q.y, q.y);
    const Floats z = gap(Floats::load(b.low[2] + i), Floats::load(b.high[2] + i), q.z, q.z);
    return joined(z, z, joined(y, y, x * x));
}

AM_HD double exact_at(const Tree& t, size_t i, const float* q) {
    const float p[3] = {t.at[0][i], t.at[1][i], t.at[2][i]};
    return exact_distance(p, q);
}

// ---- farthest points ----

// The points of a pack are as far from the nearest sample as they were, or as far from q. In doubles.
AM_HD void take_exact(const Farthest& s, size_t at, const Place& q) {
    for (int h = 0; h < LANES; h += HALF) {
        const size_t i = at + h;
        const DoubleBits dx = doubles(s.tree.at[0] + i) - double(q.at[0]), dy = doubles(s.tree.at[1] + i) - double(q.at[1]),
                         dz = doubles(s.tree.at[2] + i) - double(q.at[2]);
        const DoubleBits d = (dx * dx + dy * dy) + dz * dz;
        DoubleBits old;
        std::memcpy(&old, s.exact + i, sizeof old);
        old = d < old ? d : old;
        std::memcpy(s.exact + i, &old, sizeof old);
        const HalfBits rough = __builtin_convertvector(old, HalfBits);
        std::memcpy(s.rough + i, &rough, sizeof rough);
    }
}

// A new sample q for the points of a leaf. Is any of them nearer to it, perhaps?
AM_HD bool take_leaf(const Farthest& s, int l, const Place& q) {
    const size_t begin = size_t(l) * s.tree.leaf, end = begin + s.tree.leaf;
    Floats most(-1.0f);
    bool changed = false;
    for (size_t i = begin; i < end; i += LANES) {
        Floats rough = Floats::load(s.rough + i);
        if (bits(rough_distance(s.tree, i, q) <= upper(rough))) {
            take_exact(s, i, q);
            rough = Floats::load(s.rough + i);
            changed = true;
        }
        most = max_(most, rough);
    }
    if (!changed) return false;
    s.most[l] = largest(most);
    s.limit[l] = anamorph::upper(s.most[l]);
    s.best[l] = -1;
    return true;
}

// Where the farthest point of a leaf lies: by its double, then by the lowest index.
AM_HD size_t best_of_leaf(const Farthest& s, int l) {
    if (s.best[l] >= 0) return size_t(s.best[l]);
    const size_t begin = size_t(l) * s.tree.leaf, end = begin + s.tree.leaf;
    size_t best = begin;
    double most = -2.0;
    for (size_t i = begin; i < end; i += LANES)
        for (uint32_t lanes = bits(Floats::load(s.rough + i) == Floats(s.most[l])); lanes; lanes &= lanes - 1) {
            const size_t at = i + size_t(__builtin_ctz(lanes));
            if (s.exact[at] > most || (s.exact[at] == most && s.tree.index[at] < s.tree.index[best]))
                most = s.exact[at], best = at;
        }
    s.best[l] = int32_t(best);
    return best;
}

}  // namespace near

void farthest_task(const Farthest& s, const float* points, int start, int m, int64_t* out) {
    using namespace near;
    const Tree& t = s.tree;
    const size_t places = size_t(t.leaves) * t.leaf;
    const float inf = std::numeric_limits<float>::infinity();
    for (size_t i = 0; i < places; ++i) {
        const bool there = t.index[i] >= 0;
        s.rough[i] = there ? inf : -1.0f;
        s.exact[i] = there ? double(inf) : -1.0;
    }
    for (int l = 0; l < t.groups * GROUP; ++l) {
        s.most[l] = s.limit[l] = l < t.leaves ? inf : -1.0f;
        s.best[l] = -1;
    }
    const int group_packs = packs_above(t.groups);
    for (int g = 0; g < group_packs; ++g) s.group_most[g] = s.group_limit[g] = g < t.groups ? inf : -1.0f;

    out[0] = start;
    for (int n = 1; n < m; ++n) {
        const Place q(points + 3 * out[n - 1]);
        for (int p = 0; p < group_packs; p += LANES) {
            const Mask far = box_distance(t.group_box, p, q) > Floats::load(s.group_limit + p);
            for (uint32_t open = ~bits(far) & ALL; open; open &= open - 1) {
                const int g = p + __builtin_ctz(open);
                bool changed = false;
                for (int l = g * GROUP; l < (g + 1) * GROUP; l += LANES) {
                    const Mask out_of_reach = box_distance(t.leaf_box, l, q) > Floats::load(s.limit + l);
                    for (uint32_t near = ~bits(out_of_reach) & ALL; near; near &= near - 1)
                        changed |= take_leaf(s, l + __builtin_ctz(near), q);
                }
                if (!changed) continue;
                Floats most = Floats::load(s.most + g * GROUP);
                for (int k = LANES; k < GROUP; k += LANES) most = max_(most, Floats::load(s.most + g * GROUP + k));
                s.group_most[g] = largest(most);
                s.group_limit[g] = anamorph::upper(s.group_most[g]);
            }
        }
        Floats packs = Floats::load(s.group_most);
        for (int p = LANES; p < group_packs; p += LANES) packs = max_(packs, Floats::load(s.group_most + p));
        const Floats most(largest(packs));
        double best = -1.0;
        int32_t index = 0;
        for (int p = 0; p < group_packs; p += LANES)
            for (uint32_t open = bits(Floats::load(s.group_most + p) == most); open; open &= open - 1) {
                const int g = p + __builtin_ctz(open);
                for (int l = g * GROUP; l < (g + 1) * GROUP; l += LANES)
                    for (uint32_t has = bits(Floats::load(s.most + l) == most); has; has &= has - 1) {
                        const size_t at = best_of_leaf(s, l + __builtin_ctz(has));
                        if (s.exact[at] > best || (s.exact[at] == best && t.index[at] < index))
                            best = s.exact[at], index = t.index[at];
                    }
            }
        if (best == 0.0) {  // no distinct point is left: of as many zeros the first, from here on
            std::fill(out + n, out + m, int64_t(0));
            return;
        }
        out[n] = index;
    }
}

namespace near {

// ---- nearest points ----

// The k nearest so far of one query, nearest first; a heap with the farthest on top where k is long. `limit`: what no rough distance
// of one of them is above.
struct List {
    Neighbour* items;
    int32_t k, held;
    float limit;

    enum : int { LONG = 48 };
    AM_HD bool heap() const { return k > LONG; }
    AM_HD void clear(Neighbour* room, int count) {
        items = room;
        k = count;
        held = 0;
        limit = std::numeric_limits<float>::infinity();
    }
    AM_HD void offer(double d, int32_t index) {
        const Neighbour one{d, index};
        const bool full = held == k;
        if (full && !before(one, heap() ? items[0] : items[k - 1])) return;
        if (heap()) {
            if (full) std::pop_heap(items, items + held, Before());
            else ++held;
            items[held - 1] = one;
            std::push_heap(items, items + held, Before());
            if (held == k) limit = upper(float(items[0].distance));
            return;
        }
        int i = full ? k - 1 : held++;
        for (; i > 0 && before(one, items[i - 1]); --i) items[i] = items[i - 1];
        items[i] = one;
        if (held == k) limit = upper(float(items[k - 1].distance));
    }
    AM_HD void finish() {
        if (heap()) std::sort_heap(items, items + held, Before());
    }

private:
    static AM_HD float upper(float d) { return anamorph::upper(d); }
    static AM_HD bool before(const Neighbour& a, const Neighbour& b) {
        return a.distance < b.distance || (a.distance == b.distance && a.index < b.index);
    }
    struct Before {
        bool operator()(const Neighbour& a, const Neighbour& b) const { return before(a, b); }
    };
};

AM_HD void search_leaf(const Tree& t, int l, const Place& q, List& list) {
    const size_t begin = size_t(l) * t.leaf;
    const int count = t.places(l);
    for (int i = 0; i < count; i += LANES) {
        uint32_t lanes = ~bits(rough_distance(t, begin + i, q) > Floats(list.limit)) & ALL;
        if (count - i < LANES) lanes &= (1u << (count - i)) - 1;
        for (; lanes; lanes &= lanes - 1) {
            const size_t at = begin + i + size_t(__builtin_ctz(lanes));
            list.offer(exact_at(t, at, q.at), t.index[at]);
        }
    }
}

// The leaves whose boxes are not above `limit` from a box, with their distances; those with NaN in `away` are left out.
AM_HD int gather(const Tree& t, const float* away, float limit, Candidate* found) {
    int count = 0;
    for (int l = 0; l < t.leaves; l += LANES) {
        uint32_t lanes = bits(Floats::load(away + l) <= Floats(limit));
        if (t.leaves - l < LANES) lanes &= (1u << (t.leaves - l)) - 1;
        for (; lanes; lanes &= lanes - 1) {
            const int at = l + __builtin_ctz(lanes);
            found[count++] = {away[at], at};
        }
    }
    return count;
}
struct Nearer {
    bool operator()(const Candidate& a, const Candidate& b) const {
        return a.away < b.away || (a.away == b.away && a.leaf < b.leaf);
    }
};

// The boxes of the candidates, side by side.
AM_HD void line_up(const Tree& t, const Candidate* found, int count, const Boxes& b) {
    for (int axis = 0; axis < 3; ++axis)
        for (int i = 0; i < packs_above(count); ++i) {
            b.low[axis][i] = t.leaf_box.low[axis][found[i < count ? i : 0].leaf];
            b.high[axis][i] = t.leaf_box.high[axis][found[i < count ? i : 0].leaf];
        }
}

AM_HD void box_of_leaf(const Tree& t, int l, float* low, float* high) {
    for (int axis = 0; axis < 3; ++axis) {
        low[axis] = t.leaf_box.low[axis][l];
        high[axis] = t.leaf_box.high[axis][l];
    }
}

}  // namespace near

// The queries of one leaf of their own tree, which lie near each other: most leaves are ruled out for all of them at once.
void nearest_task(const Tree& t, const Tree& queries, int leaf, const NearestArgs& a, int b, const Search& room) {
    using namespace near;
    const int first = leaf * queries.leaf, count = queries.places(leaf), k = std::min(a.k, t.count);
    float low[3], high[3];
    box_of_leaf(queries, leaf, low, high);
    for (int l = 0; l < t.leaves; l += LANES) box_distance(t.leaf_box, l, low, high).store(room.away + l);

    // To begin with, leaves with k points whose middles are near: the own one, where the queries are the cloud itself.
    for (int l = 0; l < t.leaves; ++l) {
        float sum = 0.0f;
        for (int axis = 0; axis < 3; ++axis) {
            const float d =
                (t.leaf_box.low[axis][l] * 0.5f + t.leaf_box.high[axis][l] * 0.5f) - (low[axis] * 0.5f + high[axis] * 0.5f);
            sum += d * d;
        }
        room.found[l] = {sum, l};
    }
    const int seeds = std::min(t.leaves, (k + t.leaf - 1) / t.leaf);
    if (seeds > 0) std::nth_element(room.found, room.found + (seeds - 1), room.found + t.leaves, Nearer());
    List lists[QUERIES];
    for (int i = 0; i < count; ++i) lists[i].clear(room.lists + size_t(i) * a.k, k);
    for (int s = 0; s < seeds; ++s) {
        for (int i = 0; i < count; ++i) {
            const float at[3] = {queries.at[0][first + i], queries.at[1][first + i], queries.at[2][first + i]};
            search_leaf(t, room.found[s].leaf, Place(at), lists[i]);
        }
        room.away[room.found[s].leaf] = std::numeric_limits<float>::quiet_NaN();  // done
    }
    float limit = 0.0f;
    for (int i = 0; i < count; ++i) limit = max_(limit, lists[i].limit);
    const int candidates = k > 0 ? gather(t, room.away, limit, room.found) : 0;
    std::sort(room.found, room.found + candidates, Nearer());
    line_up(t, room.found, candidates, room.boxes);
    for (int i = 0; i < count; ++i) {
        List& list = lists[i];
        const float at[3] = {queries.at[0][first + i], queries.at[1][first + i], queries.at[2][first + i]};
        const Place q(at);
        for (int c = 0; c < candidates && !(room.found[c].away > list.limit); c += LANES) {
            Floats away = box_distance(room.boxes, c, q);
            uint32_t lanes = ~bits(away > Floats(list.limit)) & ALL;
            if (candidates - c < LANES) lanes &= (1u << (candidates - c)) - 1;
            float each[LANES];
            away.store(each);
            for (; lanes; lanes &= lanes - 1) {
                const int lane = __builtin_ctz(lanes);
                if (!(each[lane] > list.limit)) search_leaf(t, room.found[c + lane].leaf, q, list);
            }
        }
        list.finish();
        const int64_t row = (int64_t(b) * a.query.size + queries.index[first + i]) * a.k;
        for (int n = 0; n < k; ++n) {
            a.distance[row + n] = float(list.items[n].distance);
            a.index[row + n] = list.items[n].index;
        }
        for (int n = k; n < a.k; ++n) {
            a.distance[row + n] = std::numeric_limits<float>::infinity();
            a.index[row + n] = -1;
        }
    }
}

namespace near {

// ---- balls ----

struct Ball {
    double squared;
    Floats inside, outside;  // a rough distance below the one is inside for sure, one above the other is not
    AM_HD explicit Ball(double radius) : squared(radius * radius) {
        const float r = float(squared);
        inside = Floats(r * BELOW - TINY);
        outside = Floats(anamorph::upper(r));
    }
};

// Which points of a pack are in the ball.
AM_HD uint32_t in_ball(const Tree& t, size_t i, const Place& q, const Ball& ball) {
    const Floats d = rough_distance(t, i, q);
    uint32_t sure = bits(d < ball.inside);
    for (uint32_t lanes = ~(sure | bits(d > ball.outside)) & ALL; lanes; lanes &= lanes - 1) {
        const int lane = __builtin_ctz(lanes);
        if (exact_at(t, i + size_t(lane), q.at) < ball.squared) sure |= 1u << lane;
    }
    return sure;
}

AM_HD void write_ball(const BallArgs& a, const int32_t* hits, int found, int64_t* out) {
    for (int n = 0; n < a.k; ++n) out[n] = n < found ? hits[n] : padding_of(a, found, found ? hits[0] : 0);
}

}  // namespace near

// The queries of one leaf. `plain`: the cloud in the order of its points, as one leaf. A ball with many points has k of them among
// the first ones of the cloud; what shows there to have few is looked up in the tree, if there is one.
void ball_task(const Tree& plain, const Tree* t, const Tree& queries, int leaf, const BallArgs& a, int b, const Search& room) {
    using namespace near;
    const int first = leaf * queries.leaf, count = queries.places(leaf), n = plain.count;
    const Ball ball(a.radius);
    int candidates = -1;
    for (int i = 0; i < count; ++i) {
        const float at[3] = {queries.at[0][first + i], queries.at[1][first + i], queries.at[2][first + i]};
        const Place q(at);
        int64_t* out = a.index + (int64_t(b) * a.query.size + queries.index[first + i]) * a.k;
        int found = 0;
        bool rare = false;
        for (int p = 0; p < n && found < a.k; p += LANES) {
            if (t && p == TRIED && int64_t(found) * n < int64_t(a.k) * 2 * TRIED) {
                rare = true;
                break;
            }
            uint32_t lanes = in_ball(plain, p, q, ball);
            if (n - p < LANES) lanes &= (1u << (n - p)) - 1;
            for (; lanes && found < a.k; lanes &= lanes - 1) room.hits[found++] = p + __builtin_ctz(lanes);
        }
        if (rare) {
            if (candidates < 0) {
                float low[3], high[3];
                box_of_leaf(queries, leaf, low, high);
                for (int l = 0; l < t->leaves; l += LANES) box_distance(t->leaf_box, l, low, high).store(room.away + l);
                candidates = gather(*t, room.away, anamorph::upper(float(ball.squared)), room.found);
                line_up(*t, room.found, candidates, room.boxes);
            }
            found = 0;
            for (int c = 0; c < candidates; c += LANES) {
                uint32_t open = ~bits(box_distance(room.boxes, c, q) > ball.outside) & ALL;
                if (candidates - c < LANES) open &= (1u << (candidates - c)) - 1;
                for (; open; open &= open - 1) {
                    const int l = room.found[c + __builtin_ctz(open)].leaf, places = t->places(l);
                    const size_t begin = size_t(l) * t->leaf;
                    for (int p = 0; p < places; p += LANES) {
                        uint32_t lanes = in_ball(*t, begin + p, q, ball);
                        if (places - p < LANES) lanes &= (1u << (places - p)) - 1;
                        for (; lanes; lanes &= lanes - 1) room.hits[found++] = t->index[begin + p + __builtin_ctz(lanes)];
                    }
                }
            }
            struct Lower {
                bool operator()(int32_t x, int32_t y) const { return x < y; }
            };
            if (found > a.k) std::nth_element(room.hits, room.hits + a.k, room.hits + found, Lower());
            found = std::min(found, a.k);
            std::sort(room.hits, room.hits + found, Lower());
        }
        write_ball(a, room.hits, found, out);
    }
}

}}  // namespace anamorph::AM_LEVEL
