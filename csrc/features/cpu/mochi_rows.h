// mochi.h, a query at a time.
#pragma once
#include <algorithm>
#include <vector>
#include "../mochi.h"
#include "packs.h"

namespace anamorph { namespace AM_LEVEL {

// The `rank`-th of the numbers, the largest first, seen from a sample of them: hardly ever too large.
inline float about(const float* v, int size, int rank) {
    enum : int { SAMPLE = 4096 };
    const int step = size / SAMPLE + 1, count = size / step;
    const float expected = float(rank) / float(step);
    const int at = int(expected + 4.0f * sqrtf(expected)) + 8;
    if (at >= count) return -INFINITY;
    std::vector<float> sample(static_cast<size_t>(count));
    for (int i = 0; i < count; ++i) sample[size_t(i)] = v[i * step] == v[i * step] ? v[i * step] : -INFINITY;
    std::nth_element(sample.begin(), sample.begin() + at, sample.end(), [](float x, float y) { return x > y; });
    return sample[size_t(at)];
}

// Where they are at least `least`; where it is minus infinity all of them, NaN too.
inline void collect(const float* v, int size, float least, std::vector<int32_t>& found) {
    found.clear();
    int i = 0;
    if (least > -INFINITY)
        for (; i + LANES <= size; i += LANES) {
            if (all(Floats::load(v + i) < Floats(least))) continue;  // nearly always
            for (int k = i; k < i + LANES; ++k)
                if (v[k] >= least) found.push_back(k);
        }
    for (; i < size; ++i)
        if (least == -INFINITY || v[i] >= least) found.push_back(i);
}

void hardest_task(const HardestArgs& a, int b) {
    float* v = a.scores + b * a.stride;
    int32_t* index = a.index + int64_t(b) * a.count;
    if (a.count) {
        std::vector<int32_t> found;
        collect(v, a.size, about(v, a.size, a.count), found);
        if (int(found.size()) < a.count) collect(v, a.size, -INFINITY, found);
        std::vector<uint32_t> keys(found.size());
        for (size_t k = 0; k < found.size(); ++k) keys[k] = falling(v[found[k]]);
        std::nth_element(keys.begin(), keys.begin() + (a.count - 1), keys.end());
        const uint32_t last = keys[size_t(a.count - 1)];
        int before = 0, n = 0;
        for (int k = 0; k < a.count - 1; ++k) before += keys[size_t(k)] < last;
        int equal = a.count - before;
        for (const int32_t i : found) {
            const uint32_t key = falling(v[i]);
            if (key < last || (key == last && equal-- > 0)) index[n++] = i;
        }
    }
    over<float>(a.size, [&](int64_t i, auto kind) { put(take(v + i, kind) / decltype(kind)(a.tau), v + i); });
}

template <class F> AM_HD F mixed_at(const Pair& h, int64_t i, F kind) {
    return take(h.p + i, kind) * F(h.a) + take(h.r + i, kind) * F(h.b);
}

void mochi_task(const MochiArgs& a, int b) {
    const MochiStreams streams(a);
    const float* q = a.query + int64_t(b) * a.dim;
    const int count = a.mixes + a.query_mixes;
    for (int s = 0; s < count; ++s) {
        const Pair h(a, b, streams.of(a, b, s));
        Floats dots(0.0f), squares(0.0f);
        float dot = 0.0f, square = 0.0f;
        int64_t i = 0;
        for (; i + LANES <= a.dim; i += LANES) {
            const Floats v = mixed_at(h, i, Floats());
            dots = dots + v * Floats::load(q + i);
            squares = squares + v * v;
        }
        for (; i < a.dim; ++i) {
            const float v = mixed_at(h, i, 0.0f);
            dot += v * q[i];
            square += v * v;
        }
        const float length = length_of(sum_of(squares) + square);
        a.scores[b * a.stride + s] = (sum_of(dots) + dot) / length / a.tau;
        if (!a.made) continue;
        float* made = a.made + (int64_t(b) * count + s) * a.dim;
        over<float>(a.dim, [&](int64_t k, auto kind) { put(mixed_at(h, k, kind) / decltype(kind)(length), made + k); });
    }
}

void mochi_grad_task(const MochiArgs& a, int b) {
    const MochiStreams streams(a);
    float* out = a.grad_query + int64_t(b) * a.dim;
    for (int i = 0; i < a.dim; ++i) out[i] = 0.0f;
    for (int s = 0; s < a.mixes + a.query_mixes; ++s) {
        const float g = a.grad[b * a.stride + s];
        if (g == 0.0f) continue;
        const Pair h(a, b, streams.of(a, b, s));
        const float squares = total<float>(a.dim, [&](int64_t i, auto kind) {
            const auto v = mixed_at(h, i, kind);
            return v * v;
        });
        const float weight = g / a.tau / length_of(squares);
        over<float>(a.dim, [&](int64_t i, auto kind) {
            put(take(out + i, kind) + mixed_at(h, i, kind) * decltype(kind)(weight), out + i);
        });
    }
}

}}  // namespace anamorph::AM_LEVEL
