// What the bindings of copy-paste and of mosaics share: views in the numbers that they have.
#pragma once
#include "../images/levels.h"
#include "../images/taps.h"
#include "on_cuda.h"

namespace anamorph {

// A contiguous tensor of so many values.
inline Tensor plain(py::handle object, const char* name, uint8_t code, int bits, int64_t count) {
    Tensor t(object, name);
    t.need_dtype(code, bits);
    t.need_contiguous();
    if (t.count() != count) fail<ShapeError>(name, ": expected ", count, " values, given ", t.shape_text());
    return t;
}
inline int dtype_of(const Tensor& t) {
    if (t.is(kDLUInt, 8)) return U8;
    if (t.is(kDLFloat, 32)) return F32;
    if (t.is(kDLFloat, 16)) return F16;
    if (t.is(kDLBfloat, 16)) return BF16;
    fail<DtypeError>(t.name, ": expected uint8, float32, float16 or bfloat16, given ", t.dtype_text());
}
inline Pixels pixels(const Tensor& t) { return {t.data<uint8_t>(), t.stride(0), t.stride(1), t.stride(2), t.stride(3)}; }

}  // namespace anamorph
