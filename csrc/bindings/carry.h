// What carry.h's launches are given, from Python's arguments.
#pragma once
#include "../images/program.h"
#include "tensor.h"

namespace anamorph {

// rows, next rows or None, source, view, known, valid (each a tensor [B, planes, h, w] (known, valid: [B, h, w]), a table
// int64 [B, 4] or None), bytes of a value, fill's bits, undo, bilinear, scatter, part, (out_h, out_w), threads
void carry_planes(const RecipeInfo& info, const py::args& args);
// rows, boxes, counts or None, out, keep, undo, tight, (least side, area, visible share), (out_h, out_w), threads
void carry_boxes(const RecipeInfo& info, const py::args& args);
// rows, points, counts or None, out, seen, undo, shift, (out_h, out_w), threads
void carry_points(const RecipeInfo& info, const py::args& args);

}  // namespace anamorph
