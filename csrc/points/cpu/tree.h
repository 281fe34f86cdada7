// A cloud in leaves: equal runs of points that lie near each other, cut at medians of the widest side (Friedman, Bentley and Finkel
// 1977), in the order of the cuts, so that runs of leaves lie near each other as well. A search looks at boxes in packs and then at
// whole leaves in packs; there are no branches of a tree to walk. The boxes of GROUP leaves have a box around them.
#pragma once
#include <cstdint>

namespace anamorph {

enum : int { GROUP = 16 };  // the widest pack, and the number of leaves in a group

struct Boxes {
    float *low[3], *high[3];
};

// Views of memory of the caller's. A place that no point has: index -1, coordinates 0. A box of nothing: low = inf, high = -inf.
struct Tree {
    int32_t count, leaf, leaves, groups;  // points; places of a leaf; leaves that hold points; groups of leaves
    float* at[3];                         // [leaves * leaf]
    int32_t* index;                       // [leaves * leaf]: which point of the cloud lies there
    Boxes leaf_box, group_box;            // [groups * GROUP]; [packs of groups]

    int places(int l) const { return l + 1 < leaves ? leaf : count - l * leaf; }
};

}  // namespace anamorph
