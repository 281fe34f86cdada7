// Hard negatives that are mixed (Kalantidis et al., "Hard negative mixing for contrastive learning", NeurIPS 2020). Of a query's
// similarities to the queue the N largest are chosen; a synthetic negative is a mix of two of these rows, or of the query and one of
// them, of length 1; its similarity to the query is all that is kept of it.
//     first `mixes`      h = a n_i + (1 - a) n_j    a of [0, 1)
//     `query_mixes`      h = a q + (1 - a) n_j      a of [0, query_most)
// i and j are any of the chosen, which stand in the order of the queue. Their numbers are words `b * (mixes + query_mixes) + s` of three
// streams. Nothing of h is kept for the gradient, which makes it again: d/dq = sum g h, with h held fast.
#pragma once
#include "draws.h"

namespace anamorph {

enum : int { MOCHI_MOST_DIM = 1536 };  // on a GPU: a block's shared memory holds eight lines

struct HardestArgs {
    float* scores;  // [batch, ...]: rows of `size` similarities, `stride` apart; each is divided by tau afterwards
    int64_t stride;
    int32_t* index;  // [batch, count], ascending; of equal ones the first are chosen
    int batch, size, count;
    float tau;
};

struct MochiArgs {
    const float *query, *queue;  // [batch, dim], [size, dim]
    const int32_t* index;        // [batch, count]
    const int64_t* step;
    uint32_t streams[3];  // of a, i, j
    int batch, dim, size, count, mixes, query_mixes;
    float query_most, tau;
    float* scores;  // [batch, mixes + query_mixes] over tau, `stride` apart
    int64_t stride;
    float* made;        // [batch, mixes + query_mixes, dim], or null
    const float* grad;  // of the scores, `stride` apart
    float* grad_query;  // [batch, dim]
};

namespace AM_LEVEL {

// Floats in an order of whole numbers: the largest first; NaN is the smallest of all.
AM_HD uint32_t falling(float v) {
    const uint32_t u = v == v ? uint32_t(float_word(v + 0.0f)) : 0xFFFFFFFFu;  // of both zeros the same
    return u & 0x80000000u ? u : ~u & 0x7FFFFFFFu;
}

struct Mixed {
    float a, b;    // the weights of the two
    int32_t i, j;  // rows of the queue; i of -1: the query
};
// The two that are mixed, and the length that a mix is divided by.
struct Pair {
    const float *p, *r;
    float a, b;
    AM_HD Pair(const MochiArgs& args, int query, const Mixed& m)
        : p(m.i < 0 ? args.query + int64_t(query) * args.dim : args.queue + int64_t(m.i) * args.dim),
          r(args.queue + int64_t(m.j) * args.dim), a(m.a), b(m.b) {}
};
AM_HD float length_of(float squares) { return max_(sqrtf(squares), 1e-12f); }

struct MochiStreams {
    Stream share, first, second;
    AM_HD explicit MochiStreams(const MochiArgs& a)
        : share(a.step, a.streams[0]), first(a.step, a.streams[1]), second(a.step, a.streams[2]) {}
    AM_HD Mixed of(const MochiArgs& a, int b, int s) const {
        const uint32_t at = uint32_t(b) * uint32_t(a.mixes + a.query_mixes) + uint32_t(s);
        const float u = unit(word_at(at, share.first, share.second));
        const int32_t* chosen = a.index + int64_t(b) * a.count;
        const int32_t j = chosen[below(word_at(at, second.first, second.second), uint32_t(a.count))];
        if (s >= a.mixes) return {u * a.query_most, 1.0f - u * a.query_most, -1, j};
        return {u, 1.0f - u, chosen[below(word_at(at, first.first, first.second), uint32_t(a.count))], j};
    }
};

}  // namespace AM_LEVEL

void hardest_cpu(const HardestArgs&, int threads);
void mochi_cpu(const MochiArgs&, int threads);       // scores, and `made` where it is given
void mochi_grad_cpu(const MochiArgs&, int threads);  // grad_query
void hardest_cuda(const HardestArgs&, void* stream);
void mochi_cuda(const MochiArgs&, void* stream);
void mochi_grad_cuda(const MochiArgs&, void* stream);

}  // namespace anamorph
