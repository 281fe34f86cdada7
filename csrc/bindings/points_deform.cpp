// Point clouds: deformation and masks.
#include "points.h"

#include "../points/deform_args.h"
#include "looks.h"
#include "on_cuda.h"

namespace anamorph {
namespace {

// The points of a call, float32 or float64, and what goes with them.
Looks given_with(py::handle points) {
    Looks looks(points, "points");
    const Tensor& t = looks.first();
    if (!t.is(kDLFloat, 32) && !t.is(kDLFloat, 64))
        fail<DtypeError>("points: expected float32 or float64, given ", t.dtype_text());
    t.need_contiguous();
    return looks;
}

template <class S> DeformArgs<S> open(Looks& given, py::handle at, py::handle matrix, py::handle shift, py::handle falloff,
                                      py::handle axes, py::handle counts) {
    const Tensor& points = given.first();
    points.need_dims(3, "[B, N, 3]");
    Tensor places(at, "anchors");
    places.need_dims(3, "[B, A, 3]");
    const int64_t b = points.size(0), many = places.size(1);
    if (points.size(2) != 3 || !b || !points.size(1) || b > 0x7FFFFFFF)
        fail<ShapeError>("points: expected [B, N, 3], given ", points.shape_text());
    if (many < 1 || many > MOST_ANCHORS)
        fail<ShapeError>("anchors: expected 1 to ", int(MOST_ANCHORS), " for each cloud, given ", places.shape_text());
    DeformArgs<S> a{};
    a.points = points.data<S>();
    a.batch = int(b);
    a.n = points.size(1);
    a.anchors = int(many);
    a.at = given.take<S>(at, "anchors", {b, many, 3});
    a.matrix = given.take<S>(matrix, "matrix", {b, many, 3, 3});
    a.shift = given.take<S>(shift, "shift", {b, many, 3});
    a.falloff = given.take<S>(falloff, "falloff", {b});
    a.axes = given.take<S>(axes, "axes", {b, 3});
    a.counts = given.take<int64_t>(counts, "counts", {b});
    return a;
}

// f(S()), of the kind of float.
template <class F> void of_kind(const Looks& given, const F& f) { given.first().is(kDLFloat, 64) ? f(double()) : f(float()); }

void deform_values(py::object points, py::object at, py::object matrix, py::object shift, py::object falloff, py::object axes,
                   py::object counts, py::object out, int threads) {
    Looks given = given_with(points);
    of_kind(given, [&](auto kind) {
        using S = decltype(kind);
        auto a = open<S>(given, at, matrix, shift, falloff, axes, counts);
        a.out = given.take<S>(out, "out", {a.batch, a.n, 3});
        run(points, given.first(), [&](void* stream) { deform_cuda(a, stream); }, [&] { deform_cpu(a, threads); });
    });
}

void deform_grad(py::object points, py::object at, py::object matrix, py::object shift, py::object falloff, py::object axes,
                 py::object counts, py::object grad, py::object sums, py::object grad_points, py::object grad_at,
                 py::object grad_matrix, py::object grad_shift, py::object grad_falloff, int threads) {
    Looks given = given_with(points);
    of_kind(given, [&](auto kind) {
        using S = decltype(kind);
        auto a = open<S>(given, at, matrix, shift, falloff, axes, counts);
        const int64_t b = a.batch, many = a.anchors;
        a.grad = given.take<S>(grad, "grad", {b, a.n, 3});
        a.sums = given.take<S>(sums, "sums", {b, base::chunks_of(a), many, DEFORM_SUMS});
        a.grad_points = given.take<S>(grad_points, "grad_points", {b, a.n, 3});
        a.grad_at = given.take<S>(grad_at, "grad_at", {b, many, 3});
        a.grad_matrix = given.take<S>(grad_matrix, "grad_matrix", {b, many, 3, 3});
        a.grad_shift = given.take<S>(grad_shift, "grad_shift", {b, many, 3});
        a.grad_falloff = given.take<S>(grad_falloff, "grad_falloff", {b});
        run(points, given.first(), [&](void* stream) { deform_grad_cuda(a, stream); }, [&] { deform_grad_cpu(a, threads); });
    });
}

template <class S> MaskArgs<S> open_mask(Looks& given, py::handle keep) {
    const Tensor& points = given.first();
    points.need_dims(3, "[B, N, 3]");
    if (points.size(2) != 3 || !points.count()) fail<ShapeError>("points: expected [B, N, 3], given ", points.shape_text());
    MaskArgs<S> a{};
    a.points = points.data<S>();
    a.n = points.size(0) * points.size(1);
    a.keep = given.take<S>(keep, "keep", {points.size(0), points.size(1)});
    return a;
}

void mask_values(py::object points, py::object keep, py::object out, int threads) {
    Looks given = given_with(points);
    of_kind(given, [&](auto kind) {
        using S = decltype(kind);
        auto a = open_mask<S>(given, keep);
        a.out = given.take<S>(out, "out", {given.first().size(0), given.first().size(1), 3});
        run(points, given.first(), [&](void* stream) { mask_cuda(a, stream); }, [&] { mask_cpu(a, threads); });
    });
}

void mask_grad(py::object points, py::object keep, py::object grad, py::object grad_points, py::object grad_keep, int threads) {
    Looks given = given_with(points);
    of_kind(given, [&](auto kind) {
        using S = decltype(kind);
        auto a = open_mask<S>(given, keep);
        const int64_t b = given.first().size(0), n = given.first().size(1);
        a.grad = given.take<S>(grad, "grad", {b, n, 3});
        a.grad_points = given.take<S>(grad_points, "grad_points", {b, n, 3});
        a.grad_keep = given.take<S>(grad_keep, "grad_keep", {b, n});
        run(points, given.first(), [&](void* stream) { mask_cuda(a, stream); }, [&] { mask_cpu(a, threads); });
    });
}

}  // namespace

void bind_deform(py::module_& m) {
    using py::arg;
    m.def("deform", deform_values, py::kw_only(), arg("points"), arg("at"), arg("matrix"), arg("shift"), arg("falloff"),
          arg("axes"), arg("counts"), arg("out"), arg("threads"));
    m.def("deform_grad", deform_grad, py::kw_only(), arg("points"), arg("at"), arg("matrix"), arg("shift"), arg("falloff"),
          arg("axes"), arg("counts"), arg("grad"), arg("sums"), arg("grad_points"), arg("grad_at"), arg("grad_matrix"),
          arg("grad_shift"), arg("grad_falloff"), arg("threads"));
    m.def("mask_points", mask_values, py::kw_only(), arg("points"), arg("keep"), arg("out"), arg("threads"));
    m.def("mask_grad", mask_grad, py::kw_only(), arg("points"), arg("keep"), arg("grad"), arg("grad_points"), arg("grad_keep"),
          arg("threads"));
}

}  // namespace anamorph
