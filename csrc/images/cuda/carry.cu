// carry.h on a GPU: a thread for each of a block's pixels, boxes or points. The maps of its sample are opened once, into shared
// memory, and so are the coefficients of their fields where there is room; so a block has many pixels.
#define AM_LEVEL cuda
#include <algorithm>

#include "../../core/launch.h"
#include "../carry.h"
#include "../render.h"

namespace anamorph {
namespace AM_LEVEL { namespace {

// PIXELS: of a thread, where there are enough to keep the device busy. ROOM: a field's coefficients, in bytes of three 46 kB.
enum : int { THREADS = 128, PIXELS = 32, BUSY = 2048, ROOM = 3840 };

struct OpenMaps : Maps {
    FieldTable table;
};

// Dynamic shared memory for the fields of so many maps.
size_t room_for(const RecipeInfo& info, int maps) { return info.most.fields ? size_t(maps) * ROOM * sizeof(float) : 0; }

// By one thread, then by the block.
template <class Args> AM_D void open(const Args& a, const int32_t* rows, int i, bool partner, OpenMaps& m) {
    maps_of(a, rows, i, partner, m);
    m.table = {nullptr, 0};
}
AM_D void draw_field(int place, OpenMaps& m) {
    const Field& f = m.field;
    if (!f.moves) return;
    const int each = f.count[0] * f.count[1], functions = 32 - __clz(int(f.used & ((1u << MOTIONS) - 1u)));
    if (each * functions > ROOM) return;
    float* at = dynamic_shared<float>() + place * ROOM;
    for (int k = 0; k < MOTIONS; ++k) {
        if (!f.has(k)) continue;
        const Philox4 keys = field_keys(f, k);
        for (int c = int(threadIdx.x); c < each; c += THREADS)
            at[k * each + c] = coefficient(keys, uint32_t(c % f.count[0]), uint32_t(c / f.count[0]));
    }
    if (threadIdx.x == 0) m.table = {at, f.count[0]};
}

// By a block: its sample's own maps, those of its partner where there is one, and those of the next frame.
template <class Args>
AM_D void open_all(const Args& a, int i, bool mixes, const int32_t* next_rows, OpenMaps& own, OpenMaps& other, OpenMaps& next) {
    if (threadIdx.x == 0) open(a, a.rows, i, false, own);
    if (threadIdx.x == 32 && mixes) open(a, a.rows, i, true, other);
    if (threadIdx.x == 64 && next_rows) open(a, next_rows, i, false, next);
    __syncthreads();
    if (!a.info.most.fields) return;
    draw_field(0, own);
    if (mixes) draw_field(1, other);
    if (next_rows) draw_field(2, next);
    __syncthreads();
}

// One place of all planes: the bits of the one that is read, or the fill.
template <class T>
AM_D void carry_nearest(const uint8_t* from, int64_t plane, int at, bool there, uint64_t fill, uint8_t* to, int64_t pixels,
                        int planes) {
    const T* in = reinterpret_cast<const T*>(from) + at;
    T* out = reinterpret_cast<T*>(to);
    AM_UNROLL_BY(4)
    for (int n = 0; n < planes; ++n) out[n * pixels] = there ? in[n * plane] : T(fill);
}

__global__ void __launch_bounds__(THREADS) carry_kernel(const __grid_constant__ CarryArgs a, int tiles) {
    __shared__ OpenMaps own, other, next;
    const int i = int(blockIdx.x) / tiles;
    const int32_t* row = plan_row_of(a.rows, a.info, i);
    const int partner = partner_in(row, i, a.batch);
    const bool mixed = !a.undo && row[W_MIX] != MIX_NONE && partner != i;
    open_all(a, i, mixed, a.next_rows, own, other, next);
    const Planes to = planes_of(a.undo ? a.source : a.view, i);
    const Planes valid = planes_of(a.valid, i);
    const int pixels = to.h * to.w;
    for (int p = (int(blockIdx.x) - i * tiles) * THREADS + int(threadIdx.x); p < pixels; p += tiles * THREADS) {
        const int x = p % to.w, y = p / to.w;
        const bool theirs = mixed && shows_partner(row, a.part, x, y);
        Values<float> v{};
        bool there = a.part != (theirs ? PART_OWN : PART_PARTNER);
        float sx = 0.0f, sy = 0.0f, z;
        const OpenMaps& m = theirs ? other : own;
        const int of = theirs ? partner : i;
        const Planes from = planes_of(a.undo ? a.view : a.source, of), known = planes_of(a.known, of);
        if (a.undo) {
            there = there && values_undone(a, m, m.table, x, y, v);
        } else if (there) {
            to_source(m, m.table, float(x) + 0.5f, float(y) + 0.5f, sx, sy, z);
            values_of_source(m.reading, a.bilinear, sx, sy, from.w, v);
            there = cover_of(m.reading, true, sx, sy, z) > 0.5f;
        }
        there = there && only_known(known.data, a.bilinear, v);
        const int64_t plane = int64_t(from.h) * from.w;
        if (a.scatter) {
            for (int n = 0; n < to.planes && there; ++n) {
                const float gradient = reinterpret_cast<const float*>(to.data)[int64_t(n) * pixels + p];
                for (int k = 0; k < (a.bilinear ? 4 : 1); ++k)
                    atomicAdd(reinterpret_cast<float*>(from.data) + n * plane + v.at[k],
                              a.bilinear ? v.weight[k] * gradient : gradient);
            }
        } else if (a.bilinear) {
            float* here = reinterpret_cast<float*>(to.data) + p;
            const float* plane_of = reinterpret_cast<const float*>(from.data);
            for (int n = 0; n < to.planes; ++n, here += pixels, plane_of += plane)
                *here = there ? weighed(plane_of, v) : word_float(int32_t(a.fill));
        } else {
            uint8_t* here = to.data + int64_t(p) * a.bytes;
            switch (a.bytes) {
                case 1: carry_nearest<uint8_t>(from.data, plane, v.at[0], there, a.fill, here, pixels, to.planes); break;
                case 2: carry_nearest<uint16_t>(from.data, plane, v.at[0], there, a.fill, here, pixels, to.planes); break;
                case 4: carry_nearest<uint32_t>(from.data, plane, v.at[0], there, a.fill, here, pixels, to.planes); break;
                default: carry_nearest<uint64_t>(from.data, plane, v.at[0], there, a.fill, here, pixels, to.planes);
            }
        }
        if (a.next_rows) {
            float* u = reinterpret_cast<float*>(to.data) + p;
            there = there && holds(m.seen, sx, sy) &&
                    flow_in_view(next, next.table, sx, sy, float(x) + 0.5f, float(y) + 0.5f, u, u + pixels);
            if (!there) u[0] = u[pixels] = word_float(int32_t(a.fill));
        }
        if (valid.data) valid.data[p] = there;
    }
}

// f(maps, the list's sample, first place to write to, may they be there at all), of the own list and of the partner's.
template <class Args, class F> AM_D void both_lists(const Args& a, OpenMaps& own, OpenMaps& other, const F& f) {
    const int i = int(blockIdx.x), per = a.info.most.mixes && !a.undo ? 2 * a.count : a.count;
    const int32_t* row = plan_row_of(a.rows, a.info, i);
    const int partner = partner_in(row, i, a.batch);
    const bool mixed = row[W_MIX] != MIX_NONE && partner != i;
    open_all(a, i, per > a.count, nullptr, own, other, other);
    for (int k = int(threadIdx.x); k < per; k += THREADS) {
        const bool theirs = k >= a.count;
        const int of = theirs ? partner : i, one = theirs ? k - a.count : k;
        const int64_t count = a.counts ? a.counts[of] : a.count;
        f(theirs ? other : own, int64_t(of) * a.count + one, int64_t(i) * per + k, one < count && (mixed || !theirs));
    }
}

__global__ void __launch_bounds__(THREADS, 3) boxes_kernel(const __grid_constant__ BoxArgs a) {
    const int32_t* row = plan_row_of(a.rows, a.info, int(blockIdx.x));
    const float source[4] = {0.0f, 0.0f, float(source_side(row, 1)), float(source_side(row, 0))};
    __shared__ OpenMaps own, other;
    both_lists(a, own, other,
               [&](const OpenMaps& m, int64_t in, int64_t to, bool there) { carry_box(a, m, m.table, in, to, there, source); });
}

__global__ void __launch_bounds__(THREADS, 4) points_kernel(const __grid_constant__ PointArgs a) {
    __shared__ OpenMaps own, other;
    both_lists(a, own, other,
               [&](const OpenMaps& m, int64_t in, int64_t to, bool there) { carry_point(a, m, m.table, in, to, there); });
}

}}  // namespace AM_LEVEL

void carry_cuda(const CarryArgs& a, void* stream) {
    const Planes& to = a.undo ? a.source : a.view;
    // Of pictures of different sizes nobody knows here how large they are: each thread takes as many pixels as there are.
    const int64_t pixels = to.table ? 1 << 17 : int64_t(to.h) * to.w;
    const int64_t most = (pixels + cuda::THREADS - 1) / cuda::THREADS;
    const int64_t tiles =
        std::min(most, std::max((most + cuda::PIXELS - 1) / cuda::PIXELS, (cuda::BUSY + a.batch - 1) / int64_t(a.batch)));
    if (tiles * a.batch > 0x7FFFFFFF) fail<ShapeError>("planes: expected a smaller batch, given ", a.batch, " samples");
    launch("carry", cuda::carry_kernel, unsigned(tiles * a.batch), cuda::THREADS, cuda::room_for(a.info, 3), stream, a,
           int(tiles));
}
void boxes_cuda(const BoxArgs& a, void* stream) {
    launch("boxes", cuda::boxes_kernel, unsigned(a.batch), cuda::THREADS, cuda::room_for(a.info, 2), stream, a);
}
void points_cuda(const PointArgs& a, void* stream) {
    launch("points", cuda::points_kernel, unsigned(a.batch), cuda::THREADS, cuda::room_for(a.info, 2), stream, a);
}

}  // namespace anamorph
