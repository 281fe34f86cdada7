// carry.h on a GPU: a thread for each pixel, box or point. The maps of a block's sample are opened once, into shared memory.
#define AM_LEVEL cuda
#include "../../core/launch.h"
#include "../carry.h"
#include "../render.h"

namespace anamorph {
namespace AM_LEVEL { namespace {

enum : int { THREADS = 128 };

// By a block: its sample's own maps, and those of its partner where there is one.
template <class Args> AM_D void open_both(const Args& a, int i, bool mixes, Maps& own, Maps& other) {
    if (threadIdx.x == 0) maps_of(a, i, false, own);
    if (threadIdx.x == 32 && mixes) maps_of(a, i, true, other);
    __syncthreads();
}

template <class T> AM_D void put(uint8_t* plane, int64_t at, T value) { reinterpret_cast<T*>(plane)[at] = value; }

// One value of a plane: the nearest one's bits or a weighed mean, or the fill.
AM_D void carry_value(const CarryArgs& a, const uint8_t* from, bool there, const Values<float>& v, uint8_t* to, int64_t at) {
    if (a.bilinear) return put(to, at, there ? weighed(reinterpret_cast<const float*>(from), v) : word_float(int32_t(a.fill)));
    switch (a.bytes) {
        case 1: return put(to, at, there ? reinterpret_cast<const uint8_t*>(from)[v.at[0]] : uint8_t(a.fill));
        case 2: return put(to, at, there ? reinterpret_cast<const uint16_t*>(from)[v.at[0]] : uint16_t(a.fill));
        case 4: return put(to, at, there ? reinterpret_cast<const uint32_t*>(from)[v.at[0]] : uint32_t(a.fill));
        default: return put(to, at, there ? reinterpret_cast<const uint64_t*>(from)[v.at[0]] : uint64_t(a.fill));
    }
}

__global__ void __launch_bounds__(THREADS) carry_kernel(const __grid_constant__ CarryArgs a, int tiles) {
    __shared__ Maps own, other, next;
    const int i = int(blockIdx.x) / tiles;
    const int32_t* row = plan_row_of(a.rows, a.info, i);
    const int partner = partner_in(row, i, a.batch);
    const bool mixed = !a.undo && row[W_MIX] != MIX_NONE && partner != i;
    if (threadIdx.x == 64 && a.next_rows) {
        CarryArgs b = a;
        b.rows = a.next_rows;
        maps_of(b, i, false, next);
    }
    open_both(a, i, mixed, own, other);
    const FieldTable none{nullptr, 0};
    const Planes to = planes_of(a.undo ? a.source : a.view, i);
    const Planes valid = planes_of(a.valid, i);
    const int64_t pixels = int64_t(to.h) * to.w;
    for (int64_t p = int64_t(blockIdx.x - unsigned(i) * unsigned(tiles)) * THREADS + threadIdx.x; p < pixels;
         p += int64_t(tiles) * THREADS) {
        const int x = int(p % to.w), y = int(p / to.w);
        const bool theirs = mixed && shows_partner(row, a.part, x, y);
        Values<float> v{};
        bool there = a.part != (theirs ? PART_OWN : PART_PARTNER);
        float sx = 0.0f, sy = 0.0f, z;
        const Maps& m = theirs ? other : own;
        const int of = theirs ? partner : i;
        const Planes from = planes_of(a.undo ? a.view : a.source, of), known = planes_of(a.known, of);
        if (a.undo) {
            there = there && values_undone(a, m, none, x, y, v);
        } else if (there) {
            to_source(m, none, float(x) + 0.5f, float(y) + 0.5f, sx, sy, z);
            values_of_source(m.reading, a.bilinear, sx, sy, from.w, v);
            there = cover_of(m.reading, true, sx, sy, z) > 0.5f;
        }
        there = there && only_known(known.data, a.bilinear, v);
        const int64_t plane = int64_t(from.h) * from.w;
        for (int n = 0; n < to.planes; ++n) {
            uint8_t *here = to.data + n * pixels * a.bytes, *other_plane = from.data + n * plane * a.bytes;
            if (!a.scatter) {
                carry_value(a, other_plane, there, v, here, p);
            } else if (there) {
                const float gradient = reinterpret_cast<const float*>(here)[p];
                for (int k = 0; k < (a.bilinear ? 4 : 1); ++k)
                    atomicAdd(reinterpret_cast<float*>(other_plane) + v.at[k], a.bilinear ? v.weight[k] * gradient : gradient);
            }
        }
        if (a.next_rows) {
            float* u = reinterpret_cast<float*>(to.data) + p;
            there = there && holds(m.seen, sx, sy) &&
                    flow_in_view(next, none, sx, sy, float(x) + 0.5f, float(y) + 0.5f, u, u + pixels);
            if (!there) u[0] = u[pixels] = word_float(int32_t(a.fill));
        }
        if (valid.data) valid.data[p] = there;
    }
}

// f(maps, the list's sample, first place to write to, may they be there at all), of the own list and of the partner's.
template <class Args, class F> AM_D void both_lists(const Args& a, Maps& own, Maps& other, const F& f) {
    const int i = int(blockIdx.x), per = a.info.most.mixes && !a.undo ? 2 * a.count : a.count;
    const int32_t* row = plan_row_of(a.rows, a.info, i);
    const int partner = partner_in(row, i, a.batch);
    const bool mixed = row[W_MIX] != MIX_NONE && partner != i;
    open_both(a, i, per > a.count, own, other);
    for (int k = int(threadIdx.x); k < per; k += THREADS) {
        const bool theirs = k >= a.count;
        const int of = theirs ? partner : i, one = theirs ? k - a.count : k;
        const int64_t count = a.counts ? a.counts[of] : a.count;
        f(theirs ? other : own, int64_t(of) * a.count + one, int64_t(i) * per + k, one < count && (mixed || !theirs));
    }
}

__global__ void __launch_bounds__(THREADS) boxes_kernel(const __grid_constant__ BoxArgs a) {
    const int32_t* row = plan_row_of(a.rows, a.info, int(blockIdx.x));
    const float source[4] = {0.0f, 0.0f, float(source_side(row, 1)), float(source_side(row, 0))};
    __shared__ Maps own, other;
    both_lists(a, own, other, [&](const Maps& m, int64_t in, int64_t to, bool there) {
        carry_box(a, m, FieldTable{nullptr, 0}, in, to, there, source);
    });
}

__global__ void __launch_bounds__(THREADS, 4) points_kernel(const __grid_constant__ PointArgs a) {
    __shared__ Maps own, other;
    both_lists(a, own, other, [&](const Maps& m, int64_t in, int64_t to, bool there) {
        carry_point(a, m, FieldTable{nullptr, 0}, in, to, there);
    });
}

}}  // namespace AM_LEVEL

void carry_cuda(const CarryArgs& a, void* stream) {
    const Planes& to = a.undo ? a.source : a.view;
    // Of pictures of different sizes nobody knows here how large they are: each thread takes as many pixels as there are.
    const int64_t pixels = to.table ? 1 << 17 : int64_t(to.h) * to.w;
    const int64_t tiles = (pixels + cuda::THREADS - 1) / cuda::THREADS;
    if (tiles * a.batch > 0x7FFFFFFF) fail<ShapeError>("planes: expected a smaller batch, given ", a.batch, " samples");
    launch("carry", cuda::carry_kernel, unsigned(tiles * a.batch), cuda::THREADS, 0, stream, a, int(tiles));
}
void boxes_cuda(const BoxArgs& a, void* stream) {
    launch("boxes", cuda::boxes_kernel, unsigned(a.batch), cuda::THREADS, 0, stream, a);
}
void points_cuda(const PointArgs& a, void* stream) {
    launch("points", cuda::points_kernel, unsigned(a.batch), cuda::THREADS, 0, stream, a);
}

}  // namespace anamorph
