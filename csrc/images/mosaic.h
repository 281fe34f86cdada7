// Mosaics of four pictures: the arithmetic of one pixel, for both backends. Compiled without fused multiply-add (CMakeLists.txt), so
// that a mosaic is the same bits everywhere.
//
// A canvas of two sizes each way, on which four pictures touch one point, is seen through an affine map. Neither it nor a resized
// picture is ever made: a pixel of the view has a place on the canvas, and from there one in its picture. The canvas is read
// bilinearly: within half a pixel of where a picture ends, what lies next to it has its share.
#pragma once
#include <cstdint>
#include "levels.h"
#include "taps.h"

namespace anamorph { namespace mosaic {

// A picture on the canvas, whose coordinates begin at the point that all touch.
struct Tile {
    int32_t picture;                    // of the batch; -1: none
    int32_t height, width;              // of the picture
    int32_t shown_height, shown_width;  // when resized
    float left, top, right, bottom;     // the part that is on the canvas; of none it lies nowhere
    float x, y;                         // the picture's corner
    float ratio_x, ratio_y;             // pixels of the picture for one of the canvas
};
enum : int { TILES = 4 };

struct Sample {
    double forward[6];    // from the canvas to the view, edge coordinates
    double zoom;          // its scale
    double shown[TILES];  // which share of the view shows each tile
    float inverse[6];     // from the number of a view's pixel to its centre's place on the canvas
    Tile tiles[TILES];    // top left, top right, bottom left, bottom right; or one
};
static_assert(sizeof(Sample) == 320, "as the package reads it");

struct MosaicArgs {
    Images in;
    Pixels out;             // [B, C, size, size]
    const Sample* samples;  // [B]
    int32_t size;
    float fill[4];  // bytes are levels, 0 to 255
};

// A mask of the view: an object's of one of its tiles.
struct MaskRow {
    int64_t source;  // where its plane begins
    int32_t sample, tile;
};
struct MaskArgs {
    const uint8_t* masks;  // planes [height, width] of each object's own picture
    const MaskRow* rows;   // [N]
    const Sample* samples;
    uint8_t* out;  // [N, size, size]
    int32_t count, size;
};

// ---- places ----

// Of the view's pixel (x, y) on the canvas, by one row of the map; along a row of the view the second term is the same.
AM_HD float place_down(const float* map, int y) { return map[1] * float(y) + map[2]; }
AM_HD float place(float slope, int x, float down) { return slope * float(x) + down; }

AM_HD float clamp_to(float v, float low, float high) { return v < low ? low : v > high ? high : v; }
AM_HD int clamp_to(int v, int low, int high) { return v < low ? low : v > high ? high : v; }

// How much of the canvas's value at a place is a tile's, along one axis: it fades over the pixel about its edge.
AM_HD float cover(float at, float low, float high) {
    const float from = at - low + 0.5f, to = high - at + 0.5f;
    return clamp_to(from < to ? from : to, 0.0f, 1.0f);
}

// The two neighbours of a place along one axis of a tile's picture. Where the tile ends its last pixel's centre is read.
struct Neighbours {
    int first, second;
    float share;  // of the second
};
AM_HD Neighbours neighbours(float at, float low, float high, float corner, float ratio, int side) {
    const float place = (clamp_to(at, low + 0.5f, high - 0.5f) - corner) * ratio - 0.5f, inside = place < 0.0f ? 0.0f : place;
    const int whole = int(inside), first = whole < side - 1 ? whole : side - 1;
    return {first, first + 1 < side ? first + 1 : first, inside - float(whole)};
}
AM_HD Neighbours along(const Tile& t, float x) { return neighbours(x, t.left, t.right, t.x, t.ratio_x, t.width); }
AM_HD Neighbours down(const Tile& t, float y) { return neighbours(y, t.top, t.bottom, t.y, t.ratio_y, t.height); }

// The nearest pixel, for masks.
AM_HD bool holds(float at, float low, float high) { return at >= low && at < high; }
AM_HD int nearest(float at, float corner, float ratio, int side) { return clamp_to(int((at - corner) * ratio), 0, side - 1); }

template <class F> AM_HD F between(F a, F b, float share) { return a + (b - a) * share; }

// ---- the launches ----

void mosaic_cpu(const MosaicArgs& args, int threads);
void masks_cpu(const MaskArgs& args, int threads);

// Where it is built.
void mosaic_cuda(const MosaicArgs& args, void* stream);
void masks_cuda(const MaskArgs& args, void* stream);

}}  // namespace anamorph::mosaic
