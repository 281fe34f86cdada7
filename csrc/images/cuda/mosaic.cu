// Mosaics on a GPU: a thread a pixel, a warp 32 of a row. Compiled without fused multiply-add (CMakeLists.txt): the CPU's bits.
#define AM_LEVEL cuda
#include "../../core/launch.h"
#include "../mosaic.h"
#include "pixels.h"

namespace anamorph { namespace mosaic {
namespace {

enum : int { CHANNELS = 4 };  // at most

template <class T>
__global__ void __launch_bounds__(THREADS) mosaic_kernel(const __grid_constant__ MosaicArgs a, PixelGrid grid) {
    const GridPixel at(grid);
    if (!at.inside) return;
    const Sample& sample = a.samples[at.b];
    const float x = place(sample.inverse[0], at.x, place_down(sample.inverse, at.y)),
                y = place(sample.inverse[3], at.x, place_down(sample.inverse + 3, at.y));
    float sum[CHANNELS] = {}, rest = 1.0f;
    AM_UNROLL_BY(1)  // a pixel mostly lies in one of them, and its neighbours in the same
    for (int k = 0; k < TILES; ++k) {
        const Tile& t = sample.tiles[k];
        const float weight = cover(x, t.left, t.right) * cover(y, t.top, t.bottom);
        if (!(weight > 0.0f)) continue;
        rest -= weight;
        const Neighbours columns = along(t, x), rows = down(t, y);
        const Picture picture = picture_of(a.in, t.picture, int(sizeof(T)));
        const T* data = reinterpret_cast<const T*>(picture.data);
        const T *upper = data + rows.first * picture.stride_h, *lower = data + rows.second * picture.stride_h;
        const int64_t left = columns.first * picture.stride_w, right = columns.second * picture.stride_w;
        AM_UNROLL
        for (int c = 0; c < CHANNELS; ++c) {
            if (c >= a.in.channels) break;
            const int64_t channel = c * picture.stride_c;
            const float first = between(pixel_value(upper[channel + left]), pixel_value(lower[channel + left]), rows.share);
            const float second = between(pixel_value(upper[channel + right]), pixel_value(lower[channel + right]), rows.share);
            sum[c] += weight * between(first, second, columns.share);
        }
    }
    AM_UNROLL
    for (int c = 0; c < CHANNELS; ++c)
        if (c < a.in.channels)
            put_pixel(rest > 0.0f ? sum[c] + rest * a.fill[c] : sum[c], pixel_at<T>(a.out, at.b, c, at.y, at.x));
}

__global__ void __launch_bounds__(THREADS) masks_kernel(MaskArgs a, PixelGrid grid) {
    const GridPixel at(grid);
    if (!at.inside) return;
    const MaskRow of = a.rows[at.b];
    const Sample& sample = a.samples[of.sample];
    const Tile& t = sample.tiles[of.tile];
    const float x = place(sample.inverse[0], at.x, place_down(sample.inverse, at.y)),
                y = place(sample.inverse[3], at.x, place_down(sample.inverse + 3, at.y));
    uint8_t value = 0;
    if (holds(x, t.left, t.right) && holds(y, t.top, t.bottom))
        value =
            a.masks[of.source + int64_t(nearest(y, t.y, t.ratio_y, t.height)) * t.width + nearest(x, t.x, t.ratio_x, t.width)];
    a.out[(int64_t(at.b) * a.size + at.y) * a.size + at.x] = value;
}

}  // namespace

void mosaic_cuda(const MosaicArgs& a, void* stream) {
    const PixelGrid grid(a.size, a.size);
    by_dtype(a.in.dtype, [&](auto value) {
        launch("mosaic", mosaic_kernel<decltype(value)>, grid.of(a.in.batch), THREADS, 0, stream, a, grid);
    });
}

void masks_cuda(const MaskArgs& a, void* stream) {
    const PixelGrid grid(a.size, a.size);
    launch("masks", masks_kernel, grid.of(a.count), THREADS, 0, stream, a, grid);
}

}}  // namespace anamorph::mosaic
