// A permutation without a table: any thread may ask where any number goes.
#pragma once
#include "philox.h"

namespace anamorph {

// A keyed permutation of 0 .. n-1: eight Feistel rounds on the next even number of bits, walked until inside. (With four, of so
// few bits, some partners are twice as likely as others.)
struct Permutation {
    enum : int { ROUNDS = 8 };
    uint32_t key[ROUNDS];
    uint32_t n, half, mask;

    AM_HD void begin(uint64_t seed, uint32_t epoch, int64_t batch_key, uint32_t view, uint32_t count) {
        for (int i = 0; i < ROUNDS; ++i) {
            Philox4 p = philox4x32_10(((view << 20) | 0xFFFFFu) - uint32_t(i / 4), uint32_t(uint64_t(batch_key)),
                                      uint32_t(uint64_t(batch_key) >> 32), epoch, uint32_t(seed), uint32_t(seed >> 32));
            key[i] = p.v[i % 4];
        }
        over(count);
    }
    // By two words.
    AM_HD void begin(uint32_t first, uint32_t second, uint32_t count) {
        for (int i = 0; i < ROUNDS; i += 4) {
            const Philox4 p = philox4x32_10(uint32_t(i), 0u, 0u, 0u, first, second);
            for (int k = 0; k < 4; ++k) key[i + k] = p.v[k];
        }
        over(count);
    }
    AM_HD void over(uint32_t count) {
        n = count;
        half = 1;
        while ((uint64_t(1) << (2 * half)) < n) ++half;
        mask = (1u << half) - 1u;
    }
    AM_HD uint32_t round(uint32_t x, uint32_t k) const {
        uint32_t h = (x ^ k) * 0x9E3779B1u;
        h ^= h >> 15;
        h *= 0x85EBCA77u;
        h ^= h >> 13;
        return h & mask;
    }
    AM_HD uint32_t forward(uint32_t x) const {
        do {
            uint32_t l = x >> half, r = x & mask;
            for (int i = 0; i < ROUNDS; ++i) {
                uint32_t t = l ^ round(r, key[i]);
                l = r;
                r = t;
            }
            x = (l << half) | r;
        } while (x >= n);
        return x;
    }
    AM_HD uint32_t backward(uint32_t x) const {
        do {
            uint32_t l = x >> half, r = x & mask;
            for (int i = ROUNDS - 1; i >= 0; --i) {
                uint32_t t = r ^ round(l, key[i]);
                r = l;
                l = t;
            }
            x = (l << half) | r;
        } while (x >= n);
        return x;
    }
};

}  // namespace anamorph
