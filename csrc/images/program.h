// The two tables that everything else reads: the recipe as a program of slots, and the plan's row of 32-bit words.
#pragma once
#include <cstdint>
#include <cstring>
#include "../core/halves.h"

namespace anamorph {

// What a slot does. Python's transforms compile to these; python/anamorph/images names the same numbers (a test compares).
enum Op : int32_t {
    // control: n counts the slots that belong to it
    OP_APPLY = 1,    // p[0] probability; the next n slots run or are skipped
    OP_CHOICE = 2,   // k branches, p[1..k] cumulative probabilities, p[0] probability of any
    OP_ORDER = 3,    // k branches, all run, in a random order
    OP_BRANCH = 4,   // heads a branch of n slots
    // geometry
    OP_RESIZED_CROP = 10, OP_RESIZE = 11, OP_CROP = 12, OP_FLIP_H = 13, OP_FLIP_V = 14, OP_AFFINE = 15,
    OP_ROTATE = 16, OP_PERSPECTIVE = 17, OP_CENTER_CROP = 18,
    // colour: the same numbers are the op codes of the plan's colour program
    OP_BRIGHTNESS = 30, OP_CONTRAST = 31, OP_CONTRAST_MIDGRAY = 32, OP_SATURATION = 33, OP_HUE = 34,
    OP_GRAYSCALE = 35, OP_INVERT = 36, OP_POSTERIZE = 37, OP_SOLARIZE = 38,
    OP_ERASE = 50,
    OP_MIXUP = 60, OP_CUTMIX = 61, OP_RESIZEMIX = 62, OP_MASKMIX = 63,
};

#define AM_COLOR_OPS(X) X(BRIGHTNESS) X(CONTRAST) X(CONTRAST_MIDGRAY) X(SATURATION) X(HUE) X(GRAYSCALE) X(INVERT) \
    X(POSTERIZE) X(SOLARIZE)

struct Slot {
    int32_t op;
    int32_t n;      // control: slots that belong to it
    int32_t k;      // control: branches; others: a small integer of their own
    int32_t flags;  // SlotFlag
    double p[12];
};

enum SlotFlag : int32_t {
    SLOT_INTERP = 3,          // 0 nearest, 1 bilinear, 2 bicubic
    SLOT_ANTIALIAS = 4,
    SLOT_EXPAND = 8,
    SLOT_PAD_IF_NEEDED = 16,
    SLOT_BORDER_SHIFT = 5,    // two bits: Border
    SLOT_BATCH = 1 << 8,      // mixers: one draw for the batch
    SLOT_PAIR = 1 << 9,       // mixers: one draw for a row and its mirror row
    SLOT_PARTNER_SHIFT = 10,  // two bits: Partner
    SLOT_NORMALISED = 1 << 12,  // erase: the value is in the units after Normalize
};

enum Border : int32_t { BORDER_CONSTANT = 0, BORDER_EDGE = 1, BORDER_REFLECT = 2, BORDER_SYMMETRIC = 3 };
enum Partner : int32_t { PARTNER_DERANGE = 0, PARTNER_ROLL = 1, PARTNER_FLIP = 2 };
enum MixRule : int32_t { MIX_NONE = 0, MIX_CONSTANT = 1, MIX_BOX = 2, MIX_RESIZED_BOX = 3, MIX_MASK = 4 };
enum EraseMode : int32_t { ERASE_CONSTANT = 0, ERASE_CHANNEL_NOISE = 1, ERASE_PIXEL_NOISE = 2 };

// The words of a plan row. Floats are stored by their bits.
enum Word : int {
    W_MATRIX = 0,     // 9 floats: output pixel (edge coordinates, centres at +0.5) -> source position
    W_RECT = 9,       // 4 floats x0 y0 x1 y1: the part of the source the view may read
    W_SLOPE = 13,     // 2 floats: view pixels per source pixel where the fill begins; 0: no fill
    W_FILTER = 15,    // 2 floats >= 1: antialias support in source pixels
    W_FLAGS = 17,     // RowFlag
    W_SOURCE = 18,    // 2 ints: source height, width
    W_FILL = 20,      // 4 floats, in the input's units
    W_MIX = 24,       // MixRule
    W_PARTNER = 25,   // int: row of the batch
    W_PARTNER_ID = 26,  // int64 in two words
    W_LAM = 28,       // float: weight of the row's own image
    W_BOX = 29,       // 4 ints x0 y0 x1 y1 in the output
    W_COLORS = 33,    // int: colour ops that follow
    W_ERASES = 34,    // int: erasures that follow
    W_VIEW = 35,      // 2 floats: the last view's width and height (before a final crop), for people
    W_HEADER = 40,    // colour ops start here: COLOR_WORDS each, then erasures: ERASE_WORDS each
};
enum : int { COLOR_WORDS = 4, ERASE_WORDS = 12 };

enum RowFlag : int32_t {
    ROW_INTERP = 3,
    ROW_PERSPECTIVE = 4,
    ROW_ANTIALIAS = 8,   // weights outside the rect are dropped, the others renormalised
    ROW_FILL = 16,
    ROW_BORDER_SHIFT = 5,
};

// Everything about a recipe that a kernel needs beside the slots.
struct RecipeInfo {
    int32_t slots;
    int32_t max_colors, max_erases, max_contrasts;
    int32_t out_h, out_w;  // 0: as the source
    int32_t mixes;         // does any slot mix
    int32_t row_words;
};

}  // namespace anamorph
