// What the lanes of a warp do together. Each brings a value and waits until every lane that the mask names, and that has not
// ended, has come to the same call with the same mask. Only __syncwarp orders memory, as on a device.
#pragma once
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "threads.h"

namespace emulated {

struct Gathered {
    uint64_t values[32];  // of the lanes that came; noise for the others
    unsigned lanes;       // who came
};
Gathered gather(const char* call, unsigned mask, uint64_t value, Place place);
unsigned active_lanes(Place place);
int lane();

template <class T> uint64_t to_word(T value) {
    static_assert(std::is_arithmetic<T>::value && (sizeof(T) == 4 || sizeof(T) == 8), "shuffles take numbers of 4 or 8 bytes");
    uint64_t word = 0;
    std::memcpy(&word, &value, sizeof value);
    return word;
}
template <class T> T from_word(uint64_t word) {
    T value;
    std::memcpy(&value, &word, sizeof value);
    return value;
}

// The lane that `lane` reads in segments of `width`; its own where that would leave the segment.
enum class Way { INDEX, UP, DOWN, XOR };
inline int source_lane(Way way, int lane, int by, int width) {
    int first = lane & ~(width - 1), last = first + width - 1;
    int from = way == Way::INDEX  ? first + (by & (width - 1))
               : way == Way::UP   ? lane - by
               : way == Way::DOWN ? lane + by
                                  : lane ^ by;
    bool inside = way == Way::UP ? from >= first : from <= last;
    return inside ? from : lane;
}

template <class T> T shuffle(const char* call, Way way, unsigned mask, T value, int by, int width, Place place) {
    Gathered all = gather(call, mask, to_word(value), place);
    return from_word<T>(all.values[source_lane(way, lane(), by, width) & 31]);
}

template <class T, class Join> T reduce(const char* call, unsigned mask, T value, Join join, Place place) {
    Gathered all = gather(call, mask, to_word(value), place);
    bool first = true;
    T total{};
    for (int i = 0; i < 32; ++i) {
        if (!(all.lanes >> i & 1)) continue;
        T one = from_word<T>(all.values[i]);
        total = first ? one : join(total, one);
        first = false;
    }
    return total;
}

inline unsigned ballot(const char* call, unsigned mask, int predicate, Place place, unsigned* came = nullptr) {
    Gathered all = gather(call, mask, predicate != 0, place);
    unsigned votes = 0;
    for (int i = 0; i < 32; ++i)
        if (all.lanes >> i & 1) votes |= unsigned(all.values[i]) << i;
    if (came) *came = all.lanes;
    return votes;
}

}  // namespace emulated

inline void __syncwarp(unsigned mask = 0xFFFFFFFFu, EMULATED_PLACE) { emulated::gather("__syncwarp", mask, 0, {file, line}); }
inline unsigned __activemask(EMULATED_PLACE) { return emulated::active_lanes({file, line}); }

template <class T> T __shfl_sync(unsigned mask, T value, int lane, int width = 32, EMULATED_PLACE) {
    return emulated::shuffle("__shfl_sync", emulated::Way::INDEX, mask, value, lane, width, {file, line});
}
template <class T> T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32, EMULATED_PLACE) {
    return emulated::shuffle("__shfl_up_sync", emulated::Way::UP, mask, value, int(by), width, {file, line});
}
template <class T> T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32, EMULATED_PLACE) {
    return emulated::shuffle("__shfl_down_sync", emulated::Way::DOWN, mask, value, int(by), width, {file, line});
}
template <class T> T __shfl_xor_sync(unsigned mask, T value, int by, int width = 32, EMULATED_PLACE) {
    return emulated::shuffle("__shfl_xor_sync", emulated::Way::XOR, mask, value, by, width, {file, line});
}

inline unsigned __ballot_sync(unsigned mask, int predicate, EMULATED_PLACE) {
    return emulated::ballot("__ballot_sync", mask, predicate, {file, line});
}
inline int __any_sync(unsigned mask, int predicate, EMULATED_PLACE) {
    return emulated::ballot("__any_sync", mask, predicate, {file, line}) != 0;
}
inline int __all_sync(unsigned mask, int predicate, EMULATED_PLACE) {
    unsigned came, votes = emulated::ballot("__all_sync", mask, predicate, {file, line}, &came);
    return votes == came;
}
template <class T> unsigned __match_any_sync(unsigned mask, T value, EMULATED_PLACE) {
    emulated::Gathered all = emulated::gather("__match_any_sync", mask, emulated::to_word(value), {file, line});
    unsigned same = 0;
    for (int i = 0; i < 32; ++i)
        if (all.lanes >> i & 1 && all.values[i] == emulated::to_word(value)) same |= 1u << i;
    return same;
}
template <class T> unsigned __match_all_sync(unsigned mask, T value, int* all_same, EMULATED_PLACE) {
    emulated::Gathered all = emulated::gather("__match_all_sync", mask, emulated::to_word(value), {file, line});
    *all_same = 1;
    for (int i = 0; i < 32; ++i)
        if (all.lanes >> i & 1 && all.values[i] != emulated::to_word(value)) *all_same = 0;
    return *all_same ? all.lanes : 0;
}

#define EMULATED_REDUCE(name, T, expression)                                                                 \
    inline T name(unsigned mask, T value, EMULATED_PLACE) {                                                  \
        return emulated::reduce(#name, mask, value, [](T a, T b) -> T { return expression; }, {file, line}); \
    }
// clang-format off
EMULATED_REDUCE(__reduce_add_sync, unsigned, a + b)
EMULATED_REDUCE(__reduce_min_sync, unsigned, a < b ? a : b)
EMULATED_REDUCE(__reduce_max_sync, unsigned, a > b ? a : b)
EMULATED_REDUCE(__reduce_add_sync, int, int(unsigned(a) + unsigned(b)))
EMULATED_REDUCE(__reduce_min_sync, int, a < b ? a : b)
EMULATED_REDUCE(__reduce_max_sync, int, a > b ? a : b)
EMULATED_REDUCE(__reduce_and_sync, unsigned, a & b)
EMULATED_REDUCE(__reduce_or_sync, unsigned, a | b)
EMULATED_REDUCE(__reduce_xor_sync, unsigned, a ^ b)
// clang-format on
#undef EMULATED_REDUCE
