// What a CPU does with packs of points, compiled once for each SIMD level (kernels_*.cpp).
#pragma once
#include "assign_rows.h"
#include "deform_rows.h"
#include "neighbour_rows.h"
#include "render_rows.h"
