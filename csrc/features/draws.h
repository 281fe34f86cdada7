// Random numbers of feature space: a pure function of (seed, step, stream, place), the same bits on a CPU and on a GPU.
//
// Philox makes two words of the key and the stream. They name a sequence of words (normal.h), of which a place has the one that
// stands there; what takes more words than one (Beta) draws with Philox, a permutation is one of theirs (permutation.h). The files that
// include this are compiled without fused multiply-add.
#pragma once
#include "../core/draw.h"
#include "../core/normal.h"
#include "../core/permutation.h"

namespace anamorph {

enum DrawKind : int { DRAW_UNIFORM, DRAW_NORMAL, DRAW_BETA, DRAW_INTEGERS, DRAW_PERMUTATION, DRAW_KINDS };

struct DrawArgs {
    const int64_t* step;  // (seed, step), where the kernels run
    uint32_t stream;
    int kind;
    double a, b;  // uniform: from a to b; Beta(a, b); integers: below a
    int64_t n;
    float* numbers;
    int64_t* integers;
};

// The two words that name a sequence; `stretch`: which 2^32 of its places.
struct Stream {
    uint32_t first, second;
    AM_HD Stream(const int64_t* step, uint32_t name, uint32_t stretch = 0) {
        const uint64_t seed = uint64_t(step[0]), at = uint64_t(step[1]);
        const Philox4 p =
            philox4x32_10(name, uint32_t(at), uint32_t(at >> 32), 0xFEA70000u + stretch, uint32_t(seed), uint32_t(seed >> 32));
        first = p.v[0];
        second = p.v[1];
    }
};

namespace AM_LEVEL {

// [0, 1): 24 bits, exact.
template <class W> AM_HD typename FloatOf<W>::type unit(W word) {
    using F = typename FloatOf<W>::type;
    return signed_float(word >> 8) * F(5.9604644775390625e-08f);
}
AM_HD int64_t below(uint32_t word, uint32_t n) { return int64_t(uint64_t(word) * n >> 32); }  // an integer 0 .. n-1

// One number of those that are not drawn in packs.
AM_HD void draw_one(const DrawArgs& a, const Stream& s, int64_t i) {
    const uint32_t at = uint32_t(uint64_t(i));
    if (a.kind == DRAW_BETA) {
        Draw d;
        d.begin(uint64_t(s.second) << 32 | s.first, 0, i, 0, 0, 0);
        a.numbers[i] = float(d.beta(a.a, a.b));
    } else {
        a.integers[i] = below(word_at(at, s.first, s.second), uint32_t(a.a));
    }
}

}  // namespace AM_LEVEL

void draw_cpu(const DrawArgs&, int threads);
void draw_cuda(const DrawArgs&, void* stream);

}  // namespace anamorph
