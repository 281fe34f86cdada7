// The tensors of a call, borrowed for its length: all where the first one is, of the dtype and the shape that the kernels expect. The
// package has checked what a user gives; what is checked here is that kernels stay inside the tensors.
#pragma once
#include <algorithm>
#include <initializer_list>
#include <list>
#include <string>
#include "../core/halves.h"
#include "tensor.h"

namespace anamorph {

template <class T> struct DtypeOf {
    static constexpr uint8_t code = kDLInt;
};
// clang-format off
template <> struct DtypeOf<float> { static constexpr uint8_t code = kDLFloat; };
template <> struct DtypeOf<double> { static constexpr uint8_t code = kDLFloat; };
template <> struct DtypeOf<Half> { static constexpr uint8_t code = kDLFloat; };
template <> struct DtypeOf<BFloat> { static constexpr uint8_t code = kDLBfloat; };
template <> struct DtypeOf<uint8_t> { static constexpr uint8_t code = kDLUInt; };
// clang-format on

class Looks {
public:
    Looks(py::handle first, const char* name) { kept_.emplace_back(first, name); }
    const Tensor& first() const { return kept_.front(); }
    const Tensor& last() const { return kept_.back(); }

    // None gives none.
    template <class T> T* take(py::handle object, const char* name, std::initializer_list<int64_t> shape) {
        if (object.is_none()) return nullptr;
        const Tensor& t = look<T>(object, name, shape);
        t.need_contiguous();
        return t.data<T>();
    }
    // Rows side by side, `stride` apart.
    template <class T> T* rows(py::handle object, const char* name, std::initializer_list<int64_t> shape, int64_t& stride) {
        if (object.is_none()) return nullptr;
        const Tensor& t = look<T>(object, name, shape);
        if (t.view.ndim != 2 || (t.size(1) > 1 && t.stride(1) != 1) || t.stride(0) < 0)
            fail<ArgumentError>(name, ": expected rows whose values lie side by side, given other strides");
        stride = t.stride(0);
        return t.data<T>();
    }

private:
    template <class T> const Tensor& look(py::handle object, const char* name, std::initializer_list<int64_t> shape) {
        const Tensor& t = kept_.emplace_back(object, name);
        t.need_device(first());
        t.need_dtype(DtypeOf<T>::code, 8 * int(sizeof(T)));
        if (t.view.ndim != int(shape.size()) || !std::equal(shape.begin(), shape.end(), t.view.shape)) {
            std::string expected;
            for (int64_t side : shape) expected += (expected.empty() ? "[" : ", ") + std::to_string(side);
            fail<ShapeError>(name, ": expected ", expected, "], given ", t.shape_text());
        }
        return t;
    }
    std::list<Tensor> kept_;
};

// f(T()), of the dtype of a tensor of floats.
template <class F> void of_floats(const Tensor& t, const F& f) {
    if (t.is(kDLFloat, 32)) f(float());
    else if (t.is(kDLFloat, 64)) f(double());
    else if (t.is(kDLFloat, 16)) f(Half());
    else if (t.is(kDLBfloat, 16)) f(BFloat());
    else fail<DtypeError>(t.name, ": expected float16, bfloat16, float32 or float64, given ", t.dtype_text());
}

}  // namespace anamorph
