// Values of any dtype, one by one.
#pragma once
#include "../core/halves.h"
#include "../core/macros.h"

namespace anamorph { namespace AM_LEVEL {

AM_HD float value(const float* p) { return *p; }
AM_HD double value(const double* p) { return *p; }
AM_HD float value(const Half* p) { return to_float(*p); }
AM_HD float value(const BFloat* p) { return to_float(*p); }
AM_HD void store(float v, float* p) { *p = v; }
AM_HD void store(double v, double* p) { *p = v; }
AM_HD void store(float v, Half* p) { *p = to_half(v); }
AM_HD void store(float v, BFloat* p) { *p = to_bfloat(v); }

}}  // namespace anamorph::AM_LEVEL
