// Memory that the rows of a view work in.
#pragma once
#include <cstdlib>
#include <new>
#include "../../core/simd.h"

namespace anamorph { namespace AM_LEVEL {

// Room that grows and is used again.
struct Scratch {
    static constexpr size_t MOST = 4u << 20;  // floats that are kept
    float* data = nullptr;
    size_t size = 0;
    float* need(size_t n) {
        if (n > size) {
            free(data);
            size = 0;
            data = static_cast<float*>(aligned_alloc(64, (n * sizeof(float) + 63) / 64 * 64));
            if (!data) throw std::bad_alloc();
            size = n;
        }
        return data;
    }
    // After a picture of uncommon size its room goes back.
    void trim() {
        if (size <= MOST) return;
        free(data);
        data = nullptr;
        size = 0;
    }
    ~Scratch() { free(data); }
};

}}  // namespace anamorph::AM_LEVEL
