// What a render launch is given.
#pragma once
#include "program.h"
#include "taps.h"

namespace anamorph {

struct Targets {
    const int64_t* labels;  // [B] class ids, or
    const float* soft;      // [B, K] rows
    int64_t soft_stride;
    float* out;  // [V * B, K]
    int32_t classes;
    float smoothing, off;  // off: what smoothing gives every class
    int64_t* pair_a;       // pairs: [V * B] each
    int64_t* pair_b;
    float* pair_lam;
};

struct RenderArgs {
    Images in;            // B of them
    int32_t batch;        // V * B: a view of each, then the next view of each
    const int32_t* rows;  // [V * B, info.row_words]
    RecipeInfo info;
    int32_t out_h, out_w, out_dtype;
    uint8_t* out;
    int64_t out_n, out_c, out_y, out_x;  // strides, elements
    float scale[4], bias[4];             // out = value * scale + bias (Normalize)
    float mean[4], std[4];               // of Normalize, for erasures written in its units
    const float* mask;                   // [B, 1, H, W] or null
    int64_t mask_n, mask_y, mask_x;
    const float* mask_lam;  // [B] or null
    float* ready;           // CUDA: ready.h's, where views are made ready before they are rendered; else null
    Targets targets;
};

}  // namespace anamorph
