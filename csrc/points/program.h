// The two tables of point clouds: the recipe as a program of slots, and the plan's row of 32-bit words.
//
// A row is a header and then its steps in the order in which they are done, each of as many words as it says. Steps that are one
// affine map after another are one step.
#pragma once
#include <cstdint>
#include "../core/halves.h"
#include "../core/slot.h"

namespace anamorph { namespace points {

enum : int { MAX_ANCHORS = 64, MAX_CLUSTERS = 64, MAX_POINTS = 1 << 24, MAX_ADDED = 4000 };

// Control ops run the slots that belong to them. APPLY: with probability p[0]. CHOICE: with probability p[0] one of k branches, by
// weights with the sum p[1]; BRANCH heads a branch, p[0]: the weights as far as it.
// clang-format off
#define AM_POINT_OPS(X)      \
    X(APPLY,             1)  \
    X(CHOICE,            2)  \
    X(BRANCH,            3)  \
    X(SCALE,            10)  \
    X(TRANSLATE,        11)  \
    X(ROTATE,           12)  \
    X(ROTATE_ANGLES,    13)  \
    X(ROTATE_UNIFORM,   14)  \
    X(SHEAR,            15)  \
    X(FLIP,             16)  \
    X(JITTER,           20)  \
    X(NORMALIZE,        21)  \
    X(WOLF,             22)  \
    X(KEEP,             30)  \
    X(RESAMPLE,         31)  \
    X(FARTHEST,         32)  \
    X(TO_FIRST,         33)  \
    X(DROP_LOCAL,       34)  \
    X(ADD_GLOBAL,       35)  \
    X(ADD_LOCAL,        36)  \
    X(MIXUP,            60)  \
    X(CUTMIX,           61)  \
    X(RSMIX,            62)
// clang-format on

enum Op : int32_t {
#define AM_OP(name, code) OP_##name = code,
    AM_POINT_OPS(AM_OP)
#undef AM_OP
};
struct OpLine {
    const char* name;
    int32_t code;
};
constexpr OpLine OPS[] = {
#define AM_OP(name, code) {#name, code},
    AM_POINT_OPS(AM_OP)
#undef AM_OP
};

enum SlotFlag : int32_t {
    SLOT_SAME = 1,         // SCALE, TRANSLATE: one number for all axes
    SLOT_NORMAL = 2,       // ROTATE_ANGLES: normal angles
    SLOT_COMPAT = 4,       // WOLF: the published matrix
    SLOT_CENTER = 8,       // NORMALIZE: subtract the mean,
    SLOT_UNIT = 16,        // and divide by the largest norm
    SLOT_PER_BATCH = 32,   // one draw for the batch
    SLOT_NEIGHBOURS = 64,  // CUTMIX, RSMIX: by nearest neighbours
};

// The words of a row. Floats are stored by their bits.
enum Word : int {
    P_FROM = 0,        // points of the cloud
    P_COUNT = 1,       // points of its view
    P_STEPS = 2,       // how many follow
    P_USED = 3,        // words of the row that are used
    P_MIX = 4,         // MixRule
    P_PARTNER = 5,     // row of the batch
    P_PARTNER_ID = 6,  // int64 in two words
    P_NUMBERS = 8,     // two floats
    P_KEYS = 10,       // four words
    P_HEADER = 14,
};
enum MixRule : int32_t { MIX_NONE = 0, MIX_UP = 1, MIX_CUT_RANDOM = 2, MIX_CUT_NEAREST = 3, MIX_RS_BALL = 4, MIX_RS_NEAREST = 5 };

// A step's words: what it is, how many words it has, and
enum Step : int32_t {
    STEP_AFFINE = 1,      // 12 floats: p' = p A + t, A row by row
    STEP_JITTER = 2,      // two keys, deviation, clip (0: none)
    STEP_NORMALIZE = 3,   // flags (SLOT_CENTER, SLOT_UNIT), a factor
    STEP_WOLF = 4,        // start, 1 / (2 sigma^2), axes (bits), anchors; for each its matrix (9) and its shift (3)
    STEP_KEEP = 5,        // count, two keys: that many in a random order; more than there are: all, and some again
    STEP_FARTHEST = 6,    // count, start: by farthest point sampling
    STEP_TO_FIRST = 7,    // two keys, threshold: those whose word is below it become the first point
    STEP_DROP_LOCAL = 8,  // clusters; for each a word for its centre, and how many of the nearest go
    STEP_ADD_GLOBAL = 9,  // count, two keys: that many in the unit ball
    STEP_ADD_LOCAL = 10,  // count, two keys, clusters; for each a deviation, and how many
};

struct RecipeInfo {
    int32_t slots;
    int32_t row_words;
};

struct PlanArgs {
    const Slot* slots;
    RecipeInfo info;
    const int64_t* index;       // [B]
    const int64_t* counts;      // [B]; null: count
    const int64_t* epoch_cell;  // null: epoch. On a device, so that a replayed graph reads the new epoch
    int64_t count;
    uint64_t seed;
    uint32_t epoch, view;
    int32_t batch;
    int32_t* rows;  // [B, row_words]
};

struct RenderArgs {
    const int32_t* rows;
    int32_t row_words;
    int32_t batch, points, view_points;  // of the tensors
    const float* in;                     // [B, points, 3]
    const float* normals;                // the same, or null
    float* out;                          // [B, view_points, 3]
    float* out_normals;
    int64_t* origin;  // [B, view_points]: which point of the cloud each is; -1: none. Or null
    float* room;      // a GPU's: for each cloud two times (fields + 1) lines of `most` words
    int32_t most;     // points that a cloud has on the way
};

void plan_cpu(const PlanArgs& a, int threads);
void plan_cuda(const PlanArgs& a, void* stream);
void render_cpu(const RenderArgs& a, int threads);
void render_cuda(const RenderArgs& a, void* stream);

}}  // namespace anamorph::points
