// A thread for each pixel of a batch of one size, a warp for 32 of a row.
#pragma once
#include "../../core/errors.h"
#include "../../core/warp.h"

namespace anamorph { namespace {

enum : int { THREADS = 256, WARPS = THREADS / WARP };

// The pixels of a batch: warps in rows of a picture, blocks of WARPS of them.
struct PixelGrid {
    int width, height, across, blocks;  // of a picture

    PixelGrid(int width, int height) : width(width), height(height), across((width + WARP - 1) / WARP) {
        blocks = int((int64_t(across) * height + WARPS - 1) / WARPS);
    }
    unsigned of(int batch) const {
        if (int64_t(blocks) * batch > 0x7FFFFFFF)
            fail<ShapeError>("images: expected a smaller batch, given ", batch, " pictures");
        return unsigned(blocks * batch);
    }
};

struct GridPixel {
    int b, x, y;
    bool inside, row;  // in the picture; `row`: some of the warp is

    AM_D explicit GridPixel(const PixelGrid& grid) {
        const int unit = int(blockIdx.x) % grid.blocks * WARPS + int(threadIdx.x) / WARP;
        b = int(blockIdx.x) / grid.blocks;
        y = unit / grid.across;
        x = unit % grid.across * WARP + int(threadIdx.x) % WARP;
        row = y < grid.height;
        inside = row && x < grid.width;
    }
};

}}  // namespace anamorph
