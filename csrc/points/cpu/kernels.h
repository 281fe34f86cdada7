// What a CPU does with packs of points and may not round otherwise than a GPU, compiled once for each SIMD level (kernels_*.cpp) without
// fused multiply-add. (A render may: render_*.cpp.)
#pragma once
#include "assign_rows.h"
#include "deform_rows.h"
#include "distance_rows.h"
#include "neighbour_rows.h"
