// Feature maps: the statistics of planes, and rows of a batch with their partners.
#include "../features/mix.h"
#include "../features/planes.h"
#include "features.h"
#include "looks.h"
#include "on_cuda.h"

namespace anamorph {
namespace {

// The tensors of one call over planes: [batch, channels, area], or with the channels last [batch, area, channels].
template <class T> struct Planes {
    using S = typename StatOf<T>::type;
    Looks& looks;
    PlaneArgs<T> a{};

    Planes(Looks& all, bool last) : looks(all) {
        const Tensor& x = looks.first();
        x.need_dims(3, last ? "[B, N, C]" : "[B, C, N]");
        x.need_contiguous();
        if (!x.count()) fail<ShapeError>(x.name, ": expected nothing empty, given ", x.shape_text());
        a.x = x.data<T>();
        a.batch = x.size(0);
        a.channels = x.size(last ? 2 : 1);
        a.area = x.size(last ? 1 : 2);
        a.last = last;
    }
    S* each(py::handle object, const char* name) {
        return looks.take<S>(object, name, {a.batch, a.channels});
    }  // a number of each
    T* values(py::handle object, const char* name) {
        const Tensor& x = looks.first();
        return looks.take<T>(object, name, {x.size(0), x.size(1), x.size(2)});
    }
};

// f(planes) of x's dtype fills in planes.a, which is then run on a GPU or on a CPU.
template <class F, class G, class H>
void over_planes(py::handle x, bool last, const F& f, const G& on_gpu, const H& on_cpu) {
    Looks looks(x, "x");
    of_floats(looks.first(), [&](auto kind) {
        Planes<decltype(kind)> planes(looks, last);
        f(planes);
        run(x, looks.first(), [&](void* stream) { on_gpu(planes.a, stream); }, [&] { on_cpu(planes.a); });
    });
}

void moments(py::object x, bool last, py::object mean, py::object variance, int threads) {
    over_planes(
        x, last,
        [&](auto& planes) {
            planes.a.first = planes.each(mean, "mean");
            planes.a.second = planes.each(variance, "variance");
        },
        [](const auto& a, void* stream) { moments_cuda(a, stream); }, [&](const auto& a) { moments_cpu(a, threads); });
}

void affine(py::object x, bool last, py::object mean, py::object scale, py::object shift, py::object out, int threads) {
    over_planes(
        x, last,
        [&](auto& planes) {
            planes.a.mean = planes.each(mean, "mean");
            planes.a.scale = planes.each(scale, "scale");
            planes.a.shift = planes.each(shift, "shift");
            planes.a.out = planes.values(out, "out");
        },
        [](const auto& a, void* stream) { affine_cuda(a, stream); }, [&](const auto& a) { affine_cpu(a, threads); });
}

void sums(py::object x, bool last, py::object grad, py::object mean, py::object first, py::object second, int threads) {
    over_planes(
        x, last,
        [&](auto& planes) {
            planes.a.g = planes.values(grad, "grad");
            planes.a.mean = planes.each(mean, "mean");
            planes.a.first = planes.each(first, "first");
            planes.a.second = planes.each(second, "second");
        },
        [](const auto& a, void* stream) { sums_cuda(a, stream); }, [&](const auto& a) { sums_cpu(a, threads); });
}

void combine(py::object x, bool last, py::object grad, py::object mean, py::object scale, py::object slope, py::object shift,
             py::object out, int threads) {
    over_planes(
        x, last,
        [&](auto& planes) {
            planes.a.g = planes.values(grad, "grad");
            planes.a.mean = planes.each(mean, "mean");
            planes.a.scale = planes.each(scale, "scale");
            planes.a.slope = planes.each(slope, "slope");
            planes.a.shift = planes.each(shift, "shift");
            planes.a.out = planes.values(out, "out");
        },
        [](const auto& a, void* stream) { combine_cuda(a, stream); }, [&](const auto& a) { combine_cpu(a, threads); });
}

void mix_rows(py::object x, py::object partner, py::object own, py::object other, py::object holes, py::object out, int threads) {
    Looks looks(x, "x");
    of_floats(looks.first(), [&](auto kind) {
        using T = decltype(kind);
        using S = typename StatOf<T>::type;
        const Tensor& rows = looks.first();
        rows.need_dims(2, "[B, N]");
        rows.need_contiguous();
        if (!rows.count()) fail<ShapeError>("x: expected nothing empty, given ", rows.shape_text());
        RowMixArgs<T> a{};
        a.batch = rows.size(0);
        a.size = rows.size(1);
        a.x = rows.data<T>();
        a.partner = looks.take<int64_t>(partner, "partner", {a.batch});
        a.own = looks.take<S>(own, "own", {a.batch});
        a.other = looks.take<S>(other, "other", {a.batch});
        a.holes = looks.take<uint8_t>(holes, "holes", {a.size});
        a.out = looks.take<T>(out, "out", {a.batch, a.size});
        run(x, rows, [&](void* stream) { mix_rows_cuda(a, stream); }, [&] { mix_rows_cpu(a, threads); });
    });
}

}  // namespace

void bind_feature_maps(py::module_& m) {
    using py::arg;
    m.def("moments", moments, py::kw_only(), arg("x"), arg("last"), arg("mean"), arg("variance"), arg("threads"));
    m.def("affine", affine, py::kw_only(), arg("x"), arg("last"), arg("mean"), arg("scale"), arg("shift"), arg("out"),
          arg("threads"));
    m.def("sums", sums, py::kw_only(), arg("x"), arg("last"), arg("grad"), arg("mean"), arg("first"), arg("second"),
          arg("threads"));
    m.def("combine", combine, py::kw_only(), arg("x"), arg("last"), arg("grad"), arg("mean"), arg("scale"), arg("slope"),
          arg("shift"), arg("out"), arg("threads"));
    m.def("mix_rows", mix_rows, py::kw_only(), arg("x"), arg("partner"), arg("own"), arg("other"), arg("holes").none(true),
          arg("out"), arg("threads"));
}

}  // namespace anamorph
