// The two tables that everything else reads: the recipe as a program of slots, and the plan's row of 32-bit words.
#pragma once
#include <cstdint>
#include <cstring>
#include "../core/halves.h"

namespace anamorph {

enum : int { MAX_SIDE = 1 << 15, MAX_STEPS = 64 };  // positions are float32: 1/512 pixel at MAX_SIDE; steps: of a kind, in a row
constexpr double MAX_WORD = 0x1p100;  // of a row's floats: what is drawn beyond it, as a product of many maps may be, is clamped

// The ops, one line each, and all there is to say of one beside its arithmetic: Python's OPS, the analysis of a recipe and the
// dispatch of colour steps come from here. Its code stands in the files of plans. The counts: what it may add to a row at most.
// Control ops run the slots that belong to them. APPLY: with probability p[0]. CHOICE: with probability p[0] one of k branches.
// ORDER: p[0] to p[1] of k branches, in a random order. BRANCH heads a branch; p[0]: its cumulative probability in a CHOICE.
// A colour op is also the op code of the row's step, and its number is drawn uniformly from [p[0], p[1]).
// clang-format off
//        name              code  kind      colours means erasures mixes
#define AM_OPS(X)                                          \
    X(APPLY,                 1, CONTROL,    0, 0, 0, 0)    \
    X(CHOICE,                2, CONTROL,    0, 0, 0, 0)    \
    X(ORDER,                 3, CONTROL,    0, 0, 0, 0)    \
    X(BRANCH,                4, CONTROL,    0, 0, 0, 0)    \
    X(RESIZED_CROP,         10, GEOMETRY,   0, 0, 0, 0)    \
    X(RESIZE,               11, GEOMETRY,   0, 0, 0, 0)    \
    X(CROP,                 12, GEOMETRY,   0, 0, 0, 0)    \
    X(FLIP_H,               13, GEOMETRY,   0, 0, 0, 0)    \
    X(FLIP_V,               14, GEOMETRY,   0, 0, 0, 0)    \
    X(AFFINE,               15, GEOMETRY,   0, 0, 0, 0)    \
    X(ROTATE,               16, GEOMETRY,   0, 0, 0, 0)    \
    X(PERSPECTIVE,          17, GEOMETRY,   0, 0, 0, 0)    \
    X(CENTER_CROP,          18, GEOMETRY,   0, 0, 0, 0)    \
    X(TURN,                 19, GEOMETRY,   0, 0, 0, 0)    \
    X(PAD,                  20, GEOMETRY,   0, 0, 0, 0)    \
    X(WARP,                 21, GEOMETRY,   0, 0, 0, 0)    \
    X(CROP_AND_PAD,         22, GEOMETRY,   0, 0, 0, 0)    \
    X(BRIGHTNESS,           30, COLOR,      1, 0, 0, 0)    \
    X(CONTRAST,             31, COLOR,      1, 1, 0, 0)    \
    X(CONTRAST_MIDGRAY,     32, COLOR,      1, 0, 0, 0)    \
    X(SATURATION,           33, COLOR,      1, 0, 0, 0)    \
    X(HUE,                  34, COLOR,      1, 0, 0, 0)    \
    X(GRAYSCALE,            35, COLOR,      1, 0, 0, 0)    \
    X(INVERT,               36, COLOR,      1, 0, 0, 0)    \
    X(POSTERIZE,            37, COLOR,      1, 0, 0, 0)    \
    X(SOLARIZE,             38, COLOR,      1, 0, 0, 0)    \
    X(CHANNEL_PERMUTATION,  39, COLOR,      1, 0, 0, 0)    \
    X(GAMMA,                40, COLOR,      1, 0, 0, 0)    \
    X(SHIFT_RED,            41, COLOR,      1, 0, 0, 0)    \
    X(SHIFT_GREEN,          42, COLOR,      1, 0, 0, 0)    \
    X(SHIFT_BLUE,           43, COLOR,      1, 0, 0, 0)    \
    X(ERASE,                50, ERASE,      0, 0, 1, 0)    \
    X(DROPOUT,              51, ERASE,      0, 0, 1, 0)    \
    X(MIXUP,                60, MIX,        0, 0, 0, 1)    \
    X(CUTMIX,               61, MIX,        0, 0, 0, 1)    \
    X(RESIZEMIX,            62, MIX,        0, 0, 0, 1)    \
    X(MASKMIX,              63, MIX,        0, 0, 0, 1)
// clang-format on

enum class Kind : int32_t { CONTROL, GEOMETRY, COLOR, ERASE, MIX };

// What slots may add to a row at most.
struct Needs {
    int32_t colors = 0, means = 0, erases = 0, mixes = 0;
};

enum Op : int32_t {
#define AM_OP(name, code, ...) OP_##name = code,
    AM_OPS(AM_OP)
#undef AM_OP
};

struct OpLine {
    const char* name;
    int32_t code;
    Kind kind;
    Needs needs;
};
constexpr OpLine OPS[] = {
#define AM_OP(name, code, kind, ...) {#name, code, Kind::kind, {__VA_ARGS__}},
    AM_OPS(AM_OP)
#undef AM_OP
};

// Does a colour step need the view's mean before it?
AM_HD bool needs_mean(int32_t op) {
    switch (op) {
#define AM_OP(name, code, kind, colors, means, ...) \
    case code: return means;
        AM_OPS(AM_OP)
#undef AM_OP
        default: return false;
    }
}

struct Slot {
    int32_t op;
    int32_t n;      // control: slots that belong to it
    int32_t k;      // control: branches; others: a small integer of their own
    int32_t flags;  // SlotFlag
    double p[12];
};

// clang-format off
enum SlotFlag : int32_t {
    SLOT_INTERP = 7,          // Interpolation
    SLOT_ANTIALIAS = 8,
    SLOT_EXPAND = 16,
    SLOT_PAD_IF_NEEDED = 32,
    SLOT_BORDER_SHIFT = 6,    // two bits: Border
    SLOT_BATCH = 1 << 8,      // mixers: one draw for the batch
    SLOT_PAIR = 1 << 9,       // mixers: one draw for a row and its mirror row
    SLOT_PARTNER_SHIFT = 10,  // two bits: Partner
    SLOT_NORMALISED = 1 << 12,  // erase: the value is in the units after Normalize
    SLOT_BY_VIEW = 1 << 13,     // choice: by the number of the view
    SLOT_REPLACE = 1 << 14,     // order: a branch may run several times
    SLOT_IN_ORDER = 1 << 15,    // order: those that run keep the list's order
};
// clang-format on

enum Interpolation : int32_t { INTERP_NEAREST = 0, INTERP_BILINEAR = 1, INTERP_BICUBIC = 2, INTERP_LANCZOS = 3, INTERP_AREA = 4 };
enum Border : int32_t { BORDER_CONSTANT = 0, BORDER_EDGE = 1, BORDER_REFLECT = 2, BORDER_SYMMETRIC = 3 };
enum Partner : int32_t { PARTNER_DERANGE = 0, PARTNER_ROLL = 1, PARTNER_FLIP = 2 };
enum MixRule : int32_t { MIX_NONE = 0, MIX_CONSTANT = 1, MIX_BOX = 2, MIX_RESIZED_BOX = 3, MIX_MASK = 4 };
enum EraseMode : int32_t {
    ERASE_CONSTANT = 0,
    ERASE_CHANNEL_NOISE = 1,  // normal
    ERASE_PIXEL_NOISE = 2,
    ERASE_CHANNEL_UNIFORM = 3,  // in [0, 1), whether the value is normalised or not
    ERASE_PIXEL_UNIFORM = 4,
};

// The words of a plan row. Floats are stored by their bits.
// clang-format off
enum Word : int {
    W_MATRIX = 0,     // 9 floats: output pixel (edge coordinates, centres at +0.5) -> source position
    W_RECT = 9,       // 4 floats x0 y0 x1 y1: the pixels of the source that may be read
    W_REACH = 13,     // 4 floats: the taps that count. Larger than the rect where it was padded: the border's rule holds there
    W_FRAME = 17,     // 4 floats: beyond it there is only the fill (ROW_FRAME)
    W_SLOPE = 21,     // 4 floats, one for each side of the frame: view pixels per source pixel; the fill fades over one
    W_FOLD = 25,      // 4 floats: positions beyond are mirrored there, or kept there (ROW_FOLD)
    W_FILTER = 29,    // 2 floats >= 1: antialias support in source pixels
    W_FLAGS = 31,     // RowFlag
    W_SOURCE = 32,    // 2 ints: source height, width
    W_FILL = 34,      // 4 floats, in the input's units
    W_FILL_STEP = 38,  // int: the fill is laid before this colour step; the steps before it do not touch it
    W_MIX = 39,       // MixRule
    W_PARTNER = 40,   // int: row of the batch
    W_PARTNER_ID = 41,  // int64 in two words
    W_LAM = 43,       // float: weight of the row's own image
    W_BOX = 44,       // 4 ints x0 y0 x1 y1 in the output
    W_COLORS = 48,    // int: colour ops that follow
    W_ERASES = 49,    // int: erasures that follow
    W_VIEW = 50,      // 2 floats: the view's width and height, as large as the geometry has made it
    W_HEADER = 52,    // colour ops start here: COLOR_WORDS each, then erasures: ERASE_WORDS each
};
// clang-format on
enum : int { COLOR_WORDS = 4, ERASE_WORDS = 12 };

enum RowFlag : int32_t {
    ROW_INTERP = 7,  // Interpolation
    ROW_PERSPECTIVE = 8,
    ROW_ANTIALIAS = 16,  // taps beyond the reach are dropped, the others renormalised; else they repeat its edge
    ROW_FRAME = 32,
    ROW_BORDER_SHIFT = 6,  // two bits: Border, between the reach and the rect
    ROW_FOLD_SHIFT = 8,    // two bits: Border, where positions are folded; BORDER_CONSTANT: nowhere
    ROW_KNOWN = (1 << 10) - 1,
};

// Everything about a recipe that a kernel needs beside the slots.
struct RecipeInfo {
    int32_t slots;
    Needs most;            // that a row of it holds
    int32_t out_h, out_w;  // 0: as the source
    int32_t row_words;
};

}  // namespace anamorph
