// A field on a GPU: the coefficients that a tile needs lie in dynamic shared memory, which only recipes with fields ask for. Where
// their grid is so fine that a tile needs more, each pixel makes its own.
#pragma once
#include "../field.h"

namespace anamorph { namespace cuda {

struct FieldTile {
    enum : int { ROOM = 256 };  // coefficients of a function
    float* coefficients;        // [FIELD_FUNCTIONS][ROOM]
    int x, y, w, h;             // those that are there
    bool fits;

    static size_t bytes(const RecipeInfo& info) {
        return info.most.fields ? 2 * size_t(FIELD_FUNCTIONS) * ROOM * sizeof(float) : 0;  // of two views
    }

    FieldTile() = default;
    // Around the pixels from (left, top) to (right, bottom).
    AM_D FieldTile(const Field& f, int left, int top, int right, int bottom, float* room) : coefficients(room) {
        float low_x = 3e38f, low_y = 3e38f, high_x = -3e38f, high_y = -3e38f, weights[4];
        fits = true;
        AM_UNROLL
        for (int k = 0; k < 4; ++k) {
            float qx, qy;
            in_field(f, float(k % 2 ? right : left), float(k / 2 ? bottom : top), qx, qy);
            fits = fits && qx == qx && qy == qy;
            low_x = min_(low_x, qx);
            low_y = min_(low_y, qy);
            high_x = max_(high_x, qx);
            high_y = max_(high_y, qy);
        }
        knots_at(f, 0, low_x, x, weights);
        knots_at(f, 1, low_y, y, weights);
        knots_at(f, 0, high_x, w, weights);
        knots_at(f, 1, high_y, h, weights);
        w = w - x + 4;
        h = h - y + 4;
        fits = fits && w * h <= ROOM;
    }
    // By the block's threads.
    AM_D void make(const Field& f, int thread, int threads) const {
        if (!fits) return;
        for (int function = 0; function < FIELD_FUNCTIONS; ++function) {
            if (!f.has(function)) continue;
            const Philox4 keys = field_keys(f, function);
            for (int k = thread; k < w * h; k += threads)
                coefficients[function * ROOM + k] = coefficient(keys, uint32_t(x + k % w), uint32_t(y + k / w));
        }
    }
};

// A function at a position of the field's view. Called: few recipes have fields, and the other ones' registers are not for it.
AM_CALLED float field_value(const Field& f, const FieldTile& t, int function, float qx, float qy) {
    int x, y;
    float across[4], down[4], sum = 0.0f;
    knots_at(f, 0, qx, x, across);
    knots_at(f, 1, qy, y, down);
    const int at = function * FieldTile::ROOM + kept_in(y - t.y, 0, t.h - 4) * t.w + kept_in(x - t.x, 0, t.w - 4);
    Philox4 keys{};
    if (!t.fits) keys = field_keys(f, function);
    AM_UNROLL
    for (int j = 0; j < 4; ++j) {
        AM_UNROLL
        for (int i = 0; i < 4; ++i) {
            const float c = t.fits ? t.coefficients[at + j * t.w + i] : coefficient(keys, uint32_t(x + i), uint32_t(y + j));
            sum += down[j] * across[i] * c;
        }
    }
    return sum;
}

struct Position {
    float x, y;
};
// Where output position (x, y) lies before the field has moved it.
AM_CALLED Position moved(const Field& f, const FieldTile& t, float x, float y) {
    float qx, qy;
    in_field(f, x, y, qx, qy);
    Position p{qx, qy};
    displace(f, [&](int function) { return field_value(f, t, function, qx, qy); }, p.x, p.y);
    return p;
}

}}  // namespace anamorph::cuda
