// Pixels in the numbers that they have, bytes as levels from 0 to 255: for what is done to views outside a recipe.
#pragma once
#include <cstdint>
#include "../core/halves.h"

namespace anamorph {

struct Pixels {  // [B, C, H, W] by their strides, in elements
    uint8_t* data;
    int64_t n, c, y, x;
};
template <class T> AM_HD T* pixel_at(const Pixels& p, int64_t b, int c, int y, int x) {
    return reinterpret_cast<T*>(p.data) + b * p.n + c * p.c + y * p.y + x * p.x;
}

AM_HD float pixel_value(uint8_t v) { return float(v); }
AM_HD float pixel_value(float v) { return v; }
AM_HD float pixel_value(Half v) { return to_float(v); }
AM_HD float pixel_value(BFloat v) { return to_float(v); }
AM_HD void put_pixel(float v, uint8_t* to) {
    v = v + 0.5f;
    *to = uint8_t(v < 0.0f ? 0 : v > 255.0f ? 255 : int(v));
}
template <class T> AM_HD void put_pixel(float v, T* to) { store_value(v, to); }

}  // namespace anamorph
