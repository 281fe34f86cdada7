// Rendering on a GPU: after prepare.cu, where that has anything to do. A block works on one sample: what its threads share of it lies
// in shared memory.
#define AM_LEVEL cuda
#include "prepare.h"
#include "walk.h"

namespace anamorph {
namespace AM_LEVEL { namespace {

// How many blocks share a multiprocessor's registers: four leave a thread 64, three 80, two 128, which strides of any kind take.
// AM_STRIDED_BLOCKS=3 is for a GPU to judge (docs/performance.md).
#ifndef AM_STRIDED_BLOCKS
#define AM_STRIDED_BLOCKS 2
#endif
template <class Source, Holds> constexpr int BLOCKS = AM_STRIDED_BLOCKS;
template <int C> constexpr int BLOCKS<ByteSource<C>, PLAIN> = C < 4 ? 4 : 3;
template <int C> constexpr int BLOCKS<ByteSource<C>, READY> = 3;

template <int C, class Source, Holds HOLDS>
__global__ void __launch_bounds__(THREADS, BLOCKS<Source, HOLDS>) render_kernel(const __grid_constant__ RenderArgs a, int tiles) {
    // An array, and no choice between two: the compiler would load from both, and racecheck see one warp read what another writes.
    __shared__ View<C> views[2];
    __shared__ float4 kept[C][THREADS];
    const int i = int(blockIdx.x) / tiles, lane = int(threadIdx.x % WARP), warp = int(threadIdx.x / WARP);
    const int32_t* row = row_of(a, i);
    if (warp < 2) {  // a warp for each view
        View<C>& v = views[warp];
        int from = warp == 0 ? i : partner_of(a, row, i);
        const float* ready = nullptr;
        if (lane == 0) {
            open_layer(a, row_of(a, from), from, v);
            if (HOLDS != PLAIN) ready = go_on_from_ready(a, from, v);
            if (warp == 1) place_layer(a, row, v);
        }
        __syncwarp();  // and what lies in registers goes to shared memory
        if (lane == 0) {
            v.open();
            v.ready = ready;
            v.shrunk = warp == 1 && row[W_MIX] == MIX_RESIZED_BOX;
            if (ready || (warp == 1 && row[W_MIX] == MIX_NONE)) v.large = false;
        }
    }
    const int tile = int(blockIdx.x) - i * tiles;
    if (tile == 0) write_targets(a, i, int(threadIdx.x), THREADS);
    __syncthreads();

    const View<C>&own = views[0], &other = views[1];
    int across = (a.out_w + TILE - 1) / TILE;
    int left = tile % across * TILE, top = tile / across * (TILE * ROUNDS);
    const Column<C, Source, HOLDS> walk{a, i, kept};
    for (int round = 0; round < ROUNDS && top < a.out_h; ++round, top += TILE) {
        const bool fields = HOLDS == EXTRA && a.info.most.fields;
        if (own.large || other.large || fields) {
            __syncthreads();
            AM_UNROLL_BY(1)
            for (int k = 0; k < 2; ++k) {
                views[k].template draw_points<Source>(a, left, top);
                if (fields) views[k].draw_field(a, left, top, dynamic_shared<float>() + k * FIELD_FUNCTIONS * FieldTile::ROOM);
            }
            __syncthreads();
        }
        int y = top + warp * LANES;
        if (y < a.out_h) render(walk, own, other, {left + lane, y});
    }
}

}}  // namespace AM_LEVEL

void render_cuda(const RenderArgs& a, void* stream) {
    using namespace cuda;
    const int64_t tiles = int64_t((a.out_w + TILE - 1) / TILE) * ((a.out_h + TILE * ROUNDS - 1) / (TILE * ROUNDS));
    if (tiles * a.batch > 0x7FFFFFFF) fail<ShapeError>("images: expected a smaller batch, given ", a.batch, " views");
    if (a.ready) prepare_cuda(a, stream);
    by_source(a, [&](auto reads) {
        using R = decltype(reads);
        by_what_it_holds<R>(a, [&](auto holds) {
            launch("render", render_kernel<R::C, typename R::Source, decltype(holds)::value>, unsigned(tiles * a.batch), THREADS,
                   FieldTile::bytes(a.info), stream, a, int(tiles));
        });
    });
}

}  // namespace anamorph
