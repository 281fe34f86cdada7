// The two tables that everything else reads: the recipe as a program of slots, and the plan's row of 32-bit words.
#pragma once
#include <cstdint>
#include <cstring>
#include "../core/halves.h"
#include "../core/slot.h"

namespace anamorph {

// Positions are float32: 1/512 pixel at MAX_SIDE. Steps: of a kind, in a row; layers: that are blended in it.
enum : int { MAX_SIDE = 1 << 15, MAX_STEPS = 64, MAX_LAYERS = 8 };
constexpr double MAX_WORD = 0x1p100;  // of a row's floats: what is drawn beyond it, as a product of many maps may be, is clamped

// The ops, one line each, and all there is to say of one beside its arithmetic: Python's OPS, the analysis of a recipe and the
// dispatch of colour steps come from here. Its code stands in the files of plans. The counts: what it may add to a row at most.
// Control ops run the slots that belong to them. APPLY: with probability p[0]. CHOICE: with probability p[0] one of k branches, by
// weights with the sum p[1]. ORDER: p[0] to p[1] of k branches, in a random order. BRANCH heads a branch; p[0]: in a CHOICE the
// weights as far as it.
// CHAINS: its slots k times over, each on the view as it was before; what they make is blended (AugMix).
// A colour op is also the op code of the row's step, and its number is drawn by plan.h's `argument`. What its number alone does not say
// of a policy's geometry (SHEAR_X .. ROTATE_BY) is in the matrix; the step says what was drawn, and changes no pixel.
// clang-format off
//        name                code  kind       steps wholes erasures mixes fields layers
#define AM_OPS(X)                                                 \
    X(APPLY,                   1, CONTROL,    0, 0, 0, 0, 0, 0)   \
    X(CHOICE,                  2, CONTROL,    0, 0, 0, 0, 0, 0)   \
    X(ORDER,                   3, CONTROL,    0, 0, 0, 0, 0, 0)   \
    X(BRANCH,                  4, CONTROL,    0, 0, 0, 0, 0, 0)   \
    X(CHAINS,                  5, CONTROL,    1, 1, 0, 0, 0, 0)   \
    X(RESIZED_CROP,           10, GEOMETRY,   0, 0, 0, 0, 0, 0)   \
    X(RESIZE,                 11, GEOMETRY,   0, 0, 0, 0, 0, 0)   \
    X(CROP,                   12, GEOMETRY,   0, 0, 0, 0, 0, 0)   \
    X(FLIP_H,                 13, GEOMETRY,   0, 0, 0, 0, 0, 0)   \
    X(FLIP_V,                 14, GEOMETRY,   0, 0, 0, 0, 0, 0)   \
    X(AFFINE,                 15, GEOMETRY,   0, 0, 0, 0, 0, 0)   \
    X(ROTATE,                 16, GEOMETRY,   0, 0, 0, 0, 0, 0)   \
    X(PERSPECTIVE,            17, GEOMETRY,   0, 0, 0, 0, 0, 0)   \
    X(CENTER_CROP,            18, GEOMETRY,   0, 0, 0, 0, 0, 0)   \
    X(TURN,                   19, GEOMETRY,   0, 0, 0, 0, 0, 0)   \
    X(PAD,                    20, GEOMETRY,   0, 0, 0, 0, 0, 0)   \
    X(WARP,                   21, GEOMETRY,   0, 0, 0, 0, 0, 0)   \
    X(CROP_AND_PAD,           22, GEOMETRY,   0, 0, 0, 0, 0, 0)   \
    X(SHEAR_X,                23, GEOMETRY,   1, 0, 0, 0, 0, 0)   \
    X(SHEAR_Y,                24, GEOMETRY,   1, 0, 0, 0, 0, 0)   \
    X(TRANSLATE_X,            25, GEOMETRY,   1, 0, 0, 0, 0, 0)   \
    X(TRANSLATE_Y,            26, GEOMETRY,   1, 0, 0, 0, 0, 0)   \
    X(ROTATE_BY,              27, GEOMETRY,   1, 0, 0, 0, 0, 0)   \
    X(FIELD,                  28, GEOMETRY,   0, 0, 0, 0, 1, 0)   \
    X(ZOOM_OUT,               29, GEOMETRY,   0, 0, 0, 0, 0, 0)   \
    X(SCALE_JITTER,           80, GEOMETRY,   0, 0, 0, 0, 0, 0)   \
    X(FIXED_SIZE,             81, GEOMETRY,   0, 0, 0, 0, 0, 0)   \
    X(IOU_CROP,               82, GEOMETRY,   0, 0, 0, 0, 0, 0)   \
    X(BRIGHTNESS,             30, COLOR,      1, 0, 0, 0, 0, 0)   \
    X(CONTRAST,               31, COLOR,      1, 1, 0, 0, 0, 0)   \
    X(CONTRAST_MIDGRAY,       32, COLOR,      1, 0, 0, 0, 0, 0)   \
    X(SATURATION,             33, COLOR,      1, 0, 0, 0, 0, 0)   \
    X(HUE,                    34, COLOR,      1, 0, 0, 0, 0, 0)   \
    X(GRAYSCALE,              35, COLOR,      1, 0, 0, 0, 0, 0)   \
    X(INVERT,                 36, COLOR,      1, 0, 0, 0, 0, 0)   \
    X(POSTERIZE,              37, COLOR,      1, 0, 0, 0, 0, 0)   \
    X(SOLARIZE,               38, COLOR,      1, 0, 0, 0, 0, 0)   \
    X(CHANNEL_PERMUTATION,    39, COLOR,      1, 0, 0, 0, 0, 0)   \
    X(GAMMA,                  40, COLOR,      1, 0, 0, 0, 0, 0)   \
    X(SHIFT_RED,              41, COLOR,      1, 0, 0, 0, 0, 0)   \
    X(SHIFT_GREEN,            42, COLOR,      1, 0, 0, 0, 0, 0)   \
    X(SHIFT_BLUE,             43, COLOR,      1, 0, 0, 0, 0, 0)   \
    X(AUTOCONTRAST,           44, COLOR,      1, 1, 0, 0, 0, 0)   \
    X(EQUALIZE,               45, COLOR,      1, 1, 0, 0, 0, 0)   \
    X(SHARPNESS,              46, COLOR,      1, 1, 0, 0, 0, 0)   \
    X(GAUSSIAN_BLUR,          47, COLOR,      1, 1, 0, 0, 0, 0)   \
    X(GAUSSIAN_NOISE,         48, COLOR,      1, 0, 0, 0, 0, 0)   \
    X(SOLARIZE_ADD,           49, COLOR,      1, 0, 0, 0, 0, 0)   \
    X(IDENTITY,               70, COLOR,      1, 0, 0, 0, 0, 0)   \
    X(BLEND,                  71, COLOR,      1, 1, 0, 0, 0, 0)   \
    X(FIELD_BRIGHTNESS,       72, COLOR,      1, 0, 0, 0, 0, 0)   \
    X(FIELD_CONTRAST,         73, COLOR,      1, 1, 0, 0, 0, 0)   \
    X(FIELD_SATURATION,       74, COLOR,      1, 0, 0, 0, 0, 0)   \
    X(FIELD_HUE,              75, COLOR,      1, 0, 0, 0, 0, 0)   \
    X(ERASE,                  50, ERASE,      0, 0, 1, 0, 0, 0)   \
    X(DROPOUT,                51, ERASE,      0, 0, 1, 0, 0, 0)   \
    X(CUTOUT,                 52, ERASE,      0, 0, 1, 0, 0, 0)   \
    X(GRID_MASK,              53, ERASE,      0, 0, 1, 0, 0, 0)   \
    X(HIDE_AND_SEEK,          54, ERASE,      0, 0, 1, 0, 0, 0)   \
    X(MIXUP,                  60, MIX,        0, 0, 0, 1, 0, 0)   \
    X(CUTMIX,                 61, MIX,        0, 0, 0, 1, 0, 0)   \
    X(RESIZEMIX,              62, MIX,        0, 0, 0, 1, 0, 0)   \
    X(MASKMIX,                63, MIX,        0, 0, 0, 1, 0, 0)
// clang-format on

enum class Kind : int32_t { CONTROL, GEOMETRY, COLOR, ERASE, MIX };

// What slots may add to a row at most.
struct Needs {
    int32_t colors = 0, wholes = 0, erases = 0, mixes = 0, fields = 0, layers = 0;
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

// Does a step need the whole view before it: a statistic of it, or more of it than a pixel?
AM_HD bool needs_whole(int32_t op) {
    switch (op) {
#define AM_OP(name, code, kind, colors, wholes, ...) \
    case code: return wholes;
        AM_OPS(AM_OP)
#undef AM_OP
        default: return false;
    }
}

// Does a step change pixels where they lie? A policy's maps are steps too, which say what was drawn.
AM_HD bool changes_pixels(int32_t op) { return op >= OP_BRIGHTNESS && op != OP_IDENTITY; }

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
    SLOT_LEVELS = 1 << 16,      // plan.h's argument: one of evenly spaced levels,
    SLOT_LEVEL_NORMAL = 1 << 17,  // or a level about one that is given,
    SLOT_ROUND = 1 << 18,         // then to the nearest integer (ties to even),
    SLOT_TRUNCATE = 1 << 19,      // or towards zero,
    SLOT_SIGN = 1 << 20,          // and with either sign
    SLOT_EVERY_VIEW = 1 << 21,    // the same draw in all views of a sample
    SLOT_WEIGHTED = 1 << 22,      // order: the branches' p[0] are weights, by which the next of those left is drawn
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
    // Of a lattice over the view, always by a constant: of each cell the strips along two of its sides, or the square that they
    // leave; or some of the cells.
    ERASE_STRIPS = 5,
    ERASE_SQUARES = 6,
    ERASE_CELLS = 7,
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
    W_HEADER = 52,    // steps start here: COLOR_WORDS each, then erasures: ERASE_WORDS each, then a field: FIELD_WORDS
};
// clang-format on
// A step: its op, its number (a float), and two words more of some ops (StepWord).
enum : int { COLOR_WORDS = 4, ERASE_WORDS = 12, FIELD_WORDS = 24 };
// clang-format off
enum StepWord : int {
    S_OP = 0,
    S_NUMBER = 1,
    S_IN_BYTES = 2,  // SOLARIZE, SOLARIZE_ADD: 1 where the number counts 255ths, whatever the picture's dtype
    S_BLUR = 2,      // GAUSSIAN_BLUR: the taps across, those down << 8, BlurKind << 16
    S_KEY = 2,       // GAUSSIAN_NOISE: the key; its lowest bit: the result is kept within [0, 1]
    S_MEAN = 3,      // GAUSSIAN_NOISE: a float
    S_FIELD = 2,     // FIELD_*: which of the field's functions
    S_LAYER = 2,     // BLEND: the first of the layers
    S_LAYERS = 3,    // BLEND: how many
};
// clang-format on
// An erasure: its box (4 ints), its mode, the key of what is random in it, its value (4 floats), and two words more. That of a
// lattice has no box, and there the map from the view to cells: (cosine * x - sine * y + across, sine * x + cosine * y + down).
enum EraseWord : int {
    E_COSINE = 0,  // floats, over a cell's side
    E_SINE = 1,
    E_ACROSS = 2,
    E_DOWN = 3,
    E_MODE = 4,  // EraseMode, SLOT_NORMALISED
    E_KEY = 5,
    E_VALUE = 6,
    E_SHARE = 10,  // a float: of a cell's side the strips', or how likely a cell is erased
};
// The words of a row's field, behind its erasures.
enum FieldWord : int {
    F_KEY = 0,     // of its coefficients
    F_FLAGS = 1,   // FieldFlag
    F_KNOTS = 2,   // 2 floats: knots per view pixel, across and down; 0: one coefficient for the whole view
    F_OFFSET = 4,  // 2 floats in [0, 1): where the grid begins, in knots
    F_SIZE = 6,    // 2 floats: width and height of the view that it lies in
    F_SIGMA = 8,   // a float for each Motion: pixels, pixels, radians, log of the scale, radians
    F_AFTER = 13,  // 9 floats: output pixel -> that view. W_MATRIX goes on from there, where the field moves pixels
};
enum FieldFlag : int32_t { FIELD_THERE = 1, FIELD_MOVES = 2, FIELD_KNOWN = 3 };
// A field's functions: those that move pixels, then those of colour.
enum Motion : int { MOTION_X, MOTION_Y, MOTION_TURN, MOTION_SCALE, MOTION_SHEAR, MOTIONS };
// Knots: along a view's side. A line of a field may have that many coefficients.
enum : int { FIELD_FUNCTIONS = MOTIONS + 4, MAX_KNOTS = 1024, FIELD_LINE = 2048 };
enum BlurKind : int32_t {
    BLUR_REFLECT = 0,  // torchvision's: the Gaussian at the taps, mirrored borders
    BLUR_ZERO = 1,     // SimCLR's and BYOL's: the same with zeros around
    BLUR_BOXES = 2,    // PIL's: three boxes that have the variance, the edge repeated
};
enum : int { MAX_BLUR = 127 };  // taps

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
    int32_t layer_words;   // of a row's own layer, and of each that is blended into it and follows it, in the same form
    int32_t row_words;     // of all of them
    bool extra;            // may a row have a field, or noise?
    bool shrinks;          // may a view be shrunk into another one?
    int32_t ready_planes;  // ready.h's, of a sample
};

}  // namespace anamorph
