// Copy-paste: what is drawn for a sample, and what is made of a cut-out once. On the host: how many objects a view then has decides
// the sizes of tensors.
#pragma once
#include "paste.h"
#include "plan.h"

namespace anamorph { namespace paste {

// Which of a recipe's slots the numbers lie behind: a recipe has fewer, so its own draws of the same sample are others.
enum : uint32_t { SLOT = 1000 };

struct Batch {
    const int64_t* index;  // [B] sample ids
    int32_t batch;
    uint64_t seed;
    uint32_t epoch;
};

// n draws of n objects each, with replacement (Ghiasi et al. 2021 paste a random subset; this is torchvision's): the drawn are 1.
// With probability 1 - p none is. counts: [B]; chosen: one after the other.
void choose(const Batch& of, const int32_t* counts, double p, uint8_t* chosen);

// X-Paste's rules (Zhao et al. 2023).
struct Rules {
    int32_t least, most;    // pastes of a view
    int32_t height, width;  // of a view
    const int32_t* first;   // [categories + 1]: cut-outs stand in the order of their categories
    const double* sizes;    // [categories, 2]: mean and deviation of sqrt(area / area of the view)
    int32_t categories;
    const Cutout* cutouts;
    double smallest, largest;  // sqrt(area): at least so many pixels of the view's height, at most this share
    double aspect;             // the sides' ratio times U(1 - aspect, 1 + aspect)
    double flip;               // probability
    int32_t least_side;        // a shorter one is not pasted, nor one as long as the view's
};

// placements: [B, most], of which numbers [B] are used.
void place(const Batch& of, const Rules& rules, int32_t* numbers, Placement* placements);

// Keeps the largest connected part of the texels whose alpha is above `threshold`, and the fainter ones that hang on to it; the
// others' alpha becomes 0. `box`: left, top, right, bottom around that part; false where there is none.
bool largest_part(Texel* texels, int height, int width, int threshold, int32_t (&box)[4]);

}}  // namespace anamorph::paste
