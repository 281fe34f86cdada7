// Copy-paste: the arithmetic of one pixel, for both backends. Compiled without fused multiply-add (CMakeLists.txt), so that a mask
// ends at the same pixel everywhere.
//
// Two launches a batch. The composite writes pixels: of cut-outs, which are resized on the way, or of a partner's objects, under one
// alpha. The objects' launch writes masks: what lies over an object is taken off it, and what is left is measured.
#pragma once
#include <cstdint>
#include "levels.h"
#include "taps.h"

namespace anamorph { namespace paste {

// A picture with an alpha channel, of [height, width] texels in the pool.
struct Cutout {
    int32_t first, height, width;  // the first texel
};
struct alignas(4) Texel {
    uint8_t red, green, blue, alpha;
};

// Where a cut-out is pasted: a rectangle of the view, of which parts may lie outside.
struct Placement {
    int32_t cutout, left, top, height, width, flip;
    int32_t mask;  // the plane that its own mask is written to
};

// What is measured of a mask; of an empty one area is 0, and the rest as it was.
struct Extent {
    int32_t area, left, top, right, bottom;  // edges: right is the last column + 1
};

// An object of the composite. `source`: its plane of the masks given, or -1: it lies in its own plane of those made already.
struct Object {
    int32_t source, pasted;
};

struct CompositeArgs {
    Pixels in, out;
    int32_t dtype, batch, channels, height, width;
};

struct CutoutArgs {
    const Texel* texels;
    const Cutout* cutouts;
    const Placement* placements;
    const int32_t* first;     // [B + 1]: of each sample's placements
    uint8_t* masks;           // planes [H, W] of 0 and 1, one for each placement
    float scale[3], bias[3];  // from a texel's 0..255 to the view's numbers
};

enum : int { MAX_REACH = 15 };
struct PartnerArgs {
    const int32_t* partner;     // [B]
    const uint8_t* front;       // [B, H, W]: where something is pasted
    float taps[MAX_REACH + 1];  // of the Gaussian that its edge is blurred with: the middle's, its neighbours' ...
    int32_t reach;
};

struct ObjectArgs {
    const uint8_t* masks;   // planes [H, W]
    const Object* objects;  // of each sample the old ones, then the pasted
    const int32_t* first;   // [B + 1]
    uint8_t* out;           // a plane for each object
    Extent* extents;        // two for each object: before anything lay over it, and after; to begin with (0, W, H, 0, 0)
    uint8_t* front;         // [B, H, W] or null
    int32_t batch, height, width;
};

// ---- pixels ----

// What is laid over a pixel; the colours are multiplied by alpha already.
struct Layer {
    float alpha, color[3];
};
AM_HD float over(float alpha, float color, float below) { return color + (1.0f - alpha) * below; }

// ---- cut-outs ----

// The taps of a bilinear resize to pixel `at` of `to`, with antialias where it shrinks (torch's and PIL's).
struct TentTaps {
    float centre, inverse;
    int first, after;

    AM_HD TentTaps(int at, int to, int from) {
        const float scale = float(from) / float(to), support = scale > 1.0f ? scale : 1.0f;
        centre = (float(at) + 0.5f) * scale;
        inverse = 1.0f / support;
        const float low = centre - support + 0.5f, high = centre + support + 0.5f;
        first = low > 0.0f ? int(low) : 0;
        after = high < float(from) ? int(high) : from;
    }
    AM_HD float weight(int i) const {
        float d = (float(i) + 0.5f - centre) * inverse;
        d = d < 0.0f ? -d : d;
        return d < 1.0f ? 1.0f - d : 0.0f;
    }
};

// Colours are weighed by their alpha: what cannot be seen has none.
struct Sums {
    float alpha, red, green, blue;
};
AM_HD void add(Sums& to, float w, const Sums& v) {
    to.alpha += w * v.alpha;
    to.red += w * v.red;
    to.green += w * v.green;
    to.blue += w * v.blue;
}

// The taps of a pixel of a placement, along and down.
AM_HD TentTaps taps_along(const Placement& p, const Cutout& cutout, int x) {
    return {p.flip ? p.width - 1 - (x - p.left) : x - p.left, p.width, cutout.width};
}
AM_HD TentTaps taps_down(const Placement& p, const Cutout& cutout, int y) { return {y - p.top, p.height, cutout.height}; }

// A cut-out at a pixel of its placement. `column(i)`: the sums of the taps down, of the cut-out's column i.
template <class F>
AM_HD Layer cutout_layer(const CutoutArgs& a, const TentTaps& along, const TentTaps& down, const F& column) {
    Sums sums{};
    float across = 0.0f, deep = 0.0f;
    for (int i = along.first; i < along.after; ++i) {
        const float w = along.weight(i);
        across += w;
        add(sums, w, column(i));
    }
    for (int j = down.first; j < down.after; ++j) deep += down.weight(j);
    const float share = 1.0f / (255.0f * (across * deep)), alpha = sums.alpha * share;
    return {alpha,
            {sums.red * share * a.scale[0] + alpha * a.bias[0], sums.green * share * a.scale[1] + alpha * a.bias[1],
             sums.blue * share * a.scale[2] + alpha * a.bias[2]}};
}
AM_HD bool holds(const Placement& p, int x, int y) {
    return x >= p.left && x < p.left + p.width && y >= p.top && y < p.top + p.height;
}

// ---- a partner's objects ----

// Mirrored at the border, as torchvision's blur; where that is not enough, the edge.
AM_HD int mirrored(int i, int last) {
    i = i < 0 ? -i : i > last ? 2 * last - i : i;
    return i < 0 ? 0 : i > last ? last : i;
}
// One direction of the blur, `value(i)` being what lies i away. Both directions sum in this order.
template <class F> AM_HD float blurred(const PartnerArgs& a, const F& value) {
    float sum = a.taps[0] * value(0);
    for (int i = 1; i <= a.reach; ++i) sum += a.taps[i] * (value(-i) + value(i));
    return sum;
}

// ---- masks ----

// What is left of an object's mask at a pixel. Objects come from the last to the first; `covered` is 255 where a pasted one has
// been seen.
AM_HD uint8_t left_of(uint8_t mask, bool pasted, uint8_t& covered) {
    const uint8_t left = uint8_t(mask & ~covered);
    if (pasted && mask) covered = 255;
    return left;
}

// ---- the launches ----

void composite_cpu(const CompositeArgs& args, const CutoutArgs& cutouts, int threads);
void composite_cpu(const CompositeArgs& args, const PartnerArgs& partners, int threads);
void objects_cpu(const ObjectArgs& args, int threads);

// Where it is built.
void composite_cuda(const CompositeArgs& args, const CutoutArgs& cutouts, void* stream);
void composite_cuda(const CompositeArgs& args, const PartnerArgs& partners, void* stream);
void objects_cuda(const ObjectArgs& args, void* stream);

}}  // namespace anamorph::paste
