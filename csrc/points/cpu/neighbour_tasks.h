// What the launches of neighbours.cpp and the packs of neighbour_rows.h tell each other.
#pragma once
#include "../../core/best_level.h"
#include "../neighbours.h"
#include "tree.h"

namespace anamorph {

// Farthest point sampling: what is known of each point of a tree, of each leaf and of each group of leaves.
struct Farthest {
    Tree tree;
    float* rough;                     // [leaves * leaf]: the distance to the nearest sample, as a float; -1 where no point is
    double* exact;                    // and as it is
    float *most, *limit;              // [groups * GROUP]: the largest `rough` of a leaf, and upper() of it
    int32_t* best;                    // where its farthest point lies, or -1: nobody has looked since it changed
    float *group_most, *group_limit;  // of a group
};

struct Neighbour {
    double distance;
    int32_t index;
};
struct Candidate {
    float away;  // from the box of the queries
    int32_t leaf;
};
enum : int { QUERIES = 32, TRIED = 512 };  // of a leaf; how many points of a cloud a ball looks at in their order

// A thread's memory for the queries of one leaf.
struct Search {
    float* away;       // [leaves, whole packs]
    Candidate* found;  // [leaves]
    Boxes boxes;       // [leaves, whole packs]
    Neighbour* lists;  // [QUERIES, k]
    int32_t* hits;     // [N]
};

AM_AT_LEVELS(void farthest_task(const Farthest& s, const float* points, int start, int m, int64_t* out);
             void nearest_task(const Tree& t, const Tree& queries, int leaf, const NearestArgs& a, int b, const Search& room);
             void ball_task(const Tree& plain, const Tree* t, const Tree& queries, int leaf, const BallArgs& a, int b,
                            const Search& room);)

}  // namespace anamorph
