// The memory of the launch that makes views ready (cuda/prepare.cu), where rendering goes on: one tensor of floats. At its head is
// what the blocks of a sample meet by; then each sample has its planes, what its last such step has found, and room for what its
// blocks tell each other.
#pragma once
#include "color.h"
#include "render_args.h"

namespace anamorph {

// Of a view: PARTS of tiles, each of which is summed alone, so that a sum does not depend on how many blocks a sample has.
enum : int { READY_TILE = 32, READY_PARTS = 16 };

AM_HD int ready_parts(int h, int w) {
    const int64_t tiles = int64_t((h + READY_TILE - 1) / READY_TILE) * ((w + READY_TILE - 1) / READY_TILE);
    return tiles < READY_PARTS ? int(tiles) : int(READY_PARTS);
}

struct ReadyRoom {
    int64_t plane;  // [C, h, w]: the view; with stencils one more, that they write; with blends a third one, for their layers
    int64_t found;  // the mean, then [C][TABLE]
    int64_t sums;   // [2][parts][2]: the greys of a part and their number; this time's and the next time's
    int64_t tells;  // [2][parts][C][TABLE + 2]: what each block has counted, the least and the most
    int64_t all;
    AM_HD ReadyRoom(int planes, int channels, int h, int w) {
        const int parts = ready_parts(h, w);
        plane = int64_t(channels) * h * w;
        found = planes * plane;
        sums = found + 1 + channels * TABLE;
        tells = sums + 4 * parts;
        all = tells + 2 * int64_t(parts) * channels * (TABLE + 2);
    }
};
// Words: how many blocks have begun, then how many of each sample have come to where they meet.
AM_HD int64_t ready_head(int64_t batch) { return batch + 1; }
AM_HD int64_t ready_floats(int planes, int64_t batch, int channels, int h, int w) {
    return ready_head(batch) + batch * ReadyRoom(planes, channels, h, w).all;
}

AM_HD ReadyRoom ready_room(const RenderArgs& a) { return {a.info.ready_planes, a.in.channels, a.out_h, a.out_w}; }
AM_HD float* ready_of(const RenderArgs& a, int i) { return a.ready + ready_head(a.batch) + i * ready_room(a).all; }

}  // namespace anamorph
