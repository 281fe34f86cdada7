// What a CPU does with features, compiled once for each SIMD level (kernels_*.cpp). What must be the same bits everywhere, draws, is
// compiled without fused multiply-add (draws_*.cpp).
#pragma once
#include "class_rows.h"
#include "graph_rows.h"
#include "mix_rows.h"
#include "mochi_rows.h"
#include "plane_rows.h"
