// Mosaics: what is drawn for a sample. On the host, where the boxes that go with it are counted.
#pragma once
#include "mosaic.h"
#include "plan.h"

namespace anamorph { namespace mosaic {

// Which of a recipe's slots the numbers lie behind: none of its own, nor copy-paste's.
enum : uint32_t { SLOT = 1001 };

// yolov5's rules (Jocher et al. 2020, after Bochkovskiy et al. 2020).
struct Rules {
    int32_t size;      // of the view; the canvas has two each way
    double p;          // else the own picture stands alone, in the middle
    double center[2];  // the range, in sizes, of the point that the four touch
    double scale[2], degrees[2], shear[2];
    double translate;  // by up to so many sizes
    bool resize;       // long sides to the size
};

// sizes: [B, 2], the pictures' heights and widths; samples: [B].
void draw(const int64_t* index, int batch, uint64_t seed, uint32_t epoch, const int64_t* sizes, const Rules& rules,
          Sample* samples);

}}  // namespace anamorph::mosaic
