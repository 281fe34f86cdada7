// A cloud mixed with its partner's: which points of the two, and where they are.
#pragma once
#include "../core/permutation.h"
#include "program.h"

namespace anamorph { namespace points {

struct MixArgs {
    int32_t batch, points;
    const float* in;         // [B, N, 3]
    const int64_t* partner;  // [B]
    const int32_t* rule;     // [B]: MixRule
    const float* numbers;    // [B, 2]: the share, how many points, or the radius; how many at most
    const int64_t* words;    // [B, 4]: random
    const int64_t* match;    // [B, N]: the partner's point that each is matched with; or null where no rule asks for it
    float* out;              // [B, N, 3]
    int64_t* origin;         // [B, N]: a point of the cloud, or N + a point of the partner's
    float* share;            // [B]: of the partner's label
    int32_t* room;           // a GPU's: [B, N]
};

AM_HD bool needs_match(int rule) { return rule == MIX_UP || rule == MIX_CUT_RANDOM || rule == MIX_CUT_NEAREST; }

// The pair of clouds of a row.
struct Pair {
    const MixArgs& a;
    int i, other, rule, n;
    const float *own, *theirs;

    AM_HD Pair(const MixArgs& args, int row) : a(args), i(row), rule(args.rule[row]), n(args.points) {
        const int64_t p = args.partner[row];
        other = p >= 0 && p < args.batch ? int(p) : row;
        if (other == row || (needs_match(rule) && !args.match)) rule = MIX_NONE;
        own = args.in + int64_t(row) * n * 3;
        theirs = args.in + int64_t(other) * n * 3;
    }
    AM_HD float number() const { return a.numbers[2 * i]; }
    // How many points: of the rules that say it.
    AM_HD int many() const {
        const float v = number();
        return v >= 1.0f ? v < float(n) ? int(v) : n : 1;
    }
    AM_HD int most() const {
        const float v = a.numbers[2 * i + 1];
        return v >= 1.0f && v < float(n) ? int(v) : n;
    }
    AM_HD uint32_t word(int k) const { return uint32_t(a.words[4 * i + k]); }
    AM_HD int center(int k) const { return int(uint64_t(word(k)) * uint64_t(n) >> 32); }
    AM_HD int match(int p) const {
        const int64_t m = a.match[int64_t(i) * n + p];
        return m >= 0 && m < n ? int(m) : p;
    }
    AM_HD void permute(Permutation& p, int from, int count) const { p.begin(word(from), word(from + 1), uint32_t(count)); }

    AM_HD void put(int p, float x, float y, float z, int from) const {
        float* to = a.out + (int64_t(i) * n + p) * 3;
        to[0] = x;
        to[1] = y;
        to[2] = z;
        a.origin[int64_t(i) * n + p] = from;
    }
    AM_HD void keep(int p) const { put(p, own[3 * p], own[3 * p + 1], own[3 * p + 2], p); }
    AM_HD void take(int p) const {  // the partner's point that it is matched with
        const int m = match(p);
        put(p, theirs[3 * m], theirs[3 * m + 1], theirs[3 * m + 2], n + m);
    }
    AM_HD void blend(int p, float r) const {
        const float* m = theirs + 3 * match(p);
        const float* o = own + 3 * p;
        put(p, o[0] + r * (m[0] - o[0]), o[1] + r * (m[1] - o[1]), o[2] + r * (m[2] - o[2]), p);
    }
    // The partner's point q, moved as its centre is moved to the own one.
    AM_HD void move(int p, int q, int own_center, int their_center) const {
        const float *o = own + 3 * own_center, *c = theirs + 3 * their_center, *t = theirs + 3 * q;
        put(p, (t[0] - c[0]) + o[0], (t[1] - c[1]) + o[1], (t[2] - c[2]) + o[2], n + q);
    }
};

AM_HD float squared(const float* cloud, int p, int center) {
    const float x = cloud[3 * p] - cloud[3 * center], y = cloud[3 * p + 1] - cloud[3 * center + 1],
                z = cloud[3 * p + 2] - cloud[3 * center + 2];
    return x * x + y * y + z * z;
}
AM_HD uint32_t squared_key(const float* cloud, int p, int center) {
    return p == center ? 0u : uint32_t(float_word(squared(cloud, p, center)));
}
// Is a point within a ball? Its centre always is.
AM_HD bool in_ball(const float* cloud, int p, int center, float radius) {
    return p == center || squared(cloud, p, center) < radius * radius;
}

void mix_cpu(const MixArgs& a, int threads);
void mix_cuda(const MixArgs& a, void* stream);

}}  // namespace anamorph::points
