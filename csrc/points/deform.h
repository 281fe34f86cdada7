#pragma once
#include "../core/simd.h"
namespace anamorph { namespace AM_LEVEL {
struct Anchor { float at[3], matrix[9], shift[3]; };
template <class F> AM_HD void deform(const Anchor*, int, const float (&)[3], float, F&, F&, F&) {}
template <class F> AM_HD void deform_normal(const Anchor*, int, const float (&)[3], float, F&, F&, F&, F&, F&, F&) {}
}}
