// Copy-paste on a GPU: a thread a pixel, a warp 32 of a row. Compiled without fused multiply-add (CMakeLists.txt): masks of the same
// pixels as the CPU's.
#define AM_LEVEL cuda
#include "../../core/launch.h"
#include "../paste.h"
#include "pixels.h"

namespace anamorph { namespace paste {
namespace {

template <class T> AM_D float read(const CompositeArgs& a, int b, int c, const GridPixel& at) {
    return pixel_value(*pixel_at<const T>(a.in, b, c, at.y, at.x));
}
template <class T> AM_D void write(const CompositeArgs& a, int c, const GridPixel& at, float v) {
    put_pixel(v, pixel_at<T>(a.out, at.b, c, at.y, at.x));
}

template <class T>
__global__ void __launch_bounds__(THREADS)
    cutouts_kernel(CompositeArgs a, const __grid_constant__ CutoutArgs cutouts, PixelGrid grid) {
    const GridPixel at(grid);
    if (!at.inside) return;
    float pixel[3];
    AM_UNROLL
    for (int c = 0; c < 3; ++c) pixel[c] = read<T>(a, at.b, c, at);
    for (int k = cutouts.first[at.b]; k < cutouts.first[at.b + 1]; ++k) {
        const Placement p = cutouts.placements[k];
        bool seen = false;
        if (holds(p, at.x, at.y)) {
            const Cutout cutout = cutouts.cutouts[p.cutout];
            const Texel* texels = cutouts.texels + cutout.first;
            const TentTaps down = taps_down(p, cutout, at.y);
            const Layer layer = cutout_layer(cutouts, taps_along(p, cutout, at.x), down, [&](int i) {
                Sums column{};
                for (int j = down.first; j < down.after; ++j) {
                    const Texel t = texels[int64_t(j) * cutout.width + i];
                    const float alpha = t.alpha;
                    add(column, down.weight(j), {alpha, alpha * float(t.red), alpha * float(t.green), alpha * float(t.blue)});
                }
                return column;
            });
            AM_UNROLL
            for (int c = 0; c < 3; ++c) pixel[c] = over(layer.alpha, layer.color[c], pixel[c]);
            seen = layer.alpha > 0.5f;
        }
        cutouts.masks[(int64_t(p.mask) * a.height + at.y) * a.width + at.x] = seen;
    }
    AM_UNROLL
    for (int c = 0; c < 3; ++c) write<T>(a, c, at, pixel[c]);
}

template <class T>
__global__ void __launch_bounds__(THREADS)
    partners_kernel(CompositeArgs a, const __grid_constant__ PartnerArgs partners, PixelGrid grid) {
    const GridPixel at(grid);
    if (!at.inside) return;
    const uint8_t* front = partners.front + int64_t(at.b) * a.height * a.width;
    const float alpha = blurred(partners, [&](int i) {
        const int x = mirrored(at.x + i, a.width - 1);
        return blurred(partners, [&](int j) { return float(front[int64_t(mirrored(at.y + j, a.height - 1)) * a.width + x]); });
    });
    const int partner = partners.partner[at.b];
    for (int c = 0; c < a.channels; ++c) {
        float pixel = read<T>(a, at.b, c, at);
        if (alpha > 0.0f) pixel = over(alpha, alpha * read<T>(a, partner, c, at), pixel);
        write<T>(a, c, at, pixel);
    }
}

// What a warp has seen of a mask is added to what is measured: integers, the same in every order. By one lane.
AM_D void add(Extent& e, unsigned seen, int left, int y) {
    if (!seen) return;
    atomicAdd(&e.area, __popc(seen));
    atomicMin(&e.left, left + __ffs(int(seen)) - 1);
    atomicMax(&e.right, left + WARP - __clz(int(seen)));
    atomicMin(&e.top, y);
    atomicMax(&e.bottom, y + 1);
}

__global__ void __launch_bounds__(THREADS) objects_kernel(ObjectArgs a, PixelGrid grid) {
    const GridPixel at(grid);
    if (!at.row) return;  // the whole warp
    const bool first = threadIdx.x % WARP == 0;
    const int64_t plane = int64_t(a.height) * a.width, pixel = int64_t(at.y) * a.width + at.x;
    uint8_t covered = 0;
    for (int k = a.first[at.b + 1] - 1; k >= a.first[at.b]; --k) {
        const Object object = a.objects[k];
        uint8_t* to = a.out + k * plane;
        const uint8_t* from = object.source < 0 ? to : a.masks + object.source * plane;
        const uint8_t mask = at.inside ? from[pixel] : uint8_t(0), left = left_of(mask, object.pasted, covered);
        if (at.inside) to[pixel] = left;
        const unsigned before = __ballot_sync(0xFFFFFFFFu, mask != 0), after = __ballot_sync(0xFFFFFFFFu, left != 0);
        if (first) {
            add(a.extents[2 * k], before, at.x, at.y);
            add(a.extents[2 * k + 1], after, at.x, at.y);
        }
    }
    if (a.front && at.inside) a.front[at.b * plane + pixel] = covered & 1;
}

}  // namespace

void composite_cuda(const CompositeArgs& a, const CutoutArgs& cutouts, void* stream) {
    const PixelGrid grid(a.width, a.height);
    by_dtype(a.dtype, [&](auto value) {
        launch("paste", cutouts_kernel<decltype(value)>, grid.of(a.batch), THREADS, 0, stream, a, cutouts, grid);
    });
}

void composite_cuda(const CompositeArgs& a, const PartnerArgs& partners, void* stream) {
    const PixelGrid grid(a.width, a.height);
    by_dtype(a.dtype, [&](auto value) {
        launch("paste", partners_kernel<decltype(value)>, grid.of(a.batch), THREADS, 0, stream, a, partners, grid);
    });
}

void objects_cuda(const ObjectArgs& a, void* stream) {
    const PixelGrid grid(a.width, a.height);
    launch("objects", objects_kernel, grid.of(a.batch), THREADS, 0, stream, a, grid);
}

}}  // namespace anamorph::paste
