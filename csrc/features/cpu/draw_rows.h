// draws.h, some places at a time.
#pragma once
#include "../draws.h"

namespace anamorph { namespace AM_LEVEL {

void draw_task(const DrawArgs& a, int64_t first, int64_t last) {
    const Stream s(a.step, a.stream, uint32_t(uint64_t(first) >> 32));  // a part lies in one stretch
    int64_t i = first;
    if (a.kind == DRAW_PERMUTATION) {
        Permutation p;
        p.begin(s.first, s.second, uint32_t(a.n));
        for (; i < last; ++i) a.integers[i] = int64_t(p.forward(uint32_t(i)));
        return;
    }
    if (a.kind == DRAW_UNIFORM || a.kind == DRAW_NORMAL) {
        const float low = float(a.a), range = float(a.b) - low;
        const bool is_normal = a.kind == DRAW_NORMAL;
        const Words ahead = Words(to_int(Floats::iota()));
        for (; i + LANES <= last; i += LANES) {
            const Words word = word_at(Words(uint32_t(uint64_t(i))) + ahead, s.first, s.second);
            (is_normal ? normal(word) : Floats(low) + unit(word) * Floats(range)).store(a.numbers + i);
        }
        for (; i < last; ++i) {
            const uint32_t word = word_at(uint32_t(uint64_t(i)), s.first, s.second);
            a.numbers[i] = is_normal ? normal(word) : low + unit(word) * range;
        }
        return;
    }
    for (; i < last; ++i) draw_one(a, s, i);
}

}}  // namespace anamorph::AM_LEVEL
