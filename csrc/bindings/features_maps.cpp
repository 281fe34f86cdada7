// Feature maps: the statistics of planes, and rows of a batch with their partners.
#include "../features/mix.h"
#include "../features/planes.h"
#include "features.h"
#include "looks.h"
#include "on_cuda.h"

namespace anamorph {
namespace {

// [batch, channels, area], or with the channels last [batch, area, channels].
template <class T> PlaneArgs<T> planes_of(const Tensor& x, bool last) {
    x.need_dims(3, last ? "[B, N, C]" : "[B, C, N]");
    x.need_contiguous();
    if (!x.count()) fail<ShapeError>(x.name, ": expected nothing empty, given ", x.shape_text());
    PlaneArgs<T> a{};
    a.batch = x.size(0);
    a.channels = x.size(last ? 2 : 1);
    a.area = x.size(last ? 1 : 2);
    a.last = last;
    return a;
}

void moments(py::object x, bool last, py::object mean, py::object variance, int threads) {
    Looks looks(x, "x");
    of_floats(looks.first(), [&](auto kind) {
        using T = decltype(kind);
        using S = typename StatOf<T>::type;
        auto a = planes_of<T>(looks.first(), last);
        a.x = looks.first().data<T>();
        a.first = looks.take<S>(mean, "mean", {a.batch, a.channels});
        a.second = looks.take<S>(variance, "variance", {a.batch, a.channels});
        run(x, looks.first(), [&](void* stream) { moments_cuda(a, stream); }, [&] { moments_cpu(a, threads); });
    });
}

void affine(py::object x, bool last, py::object mean, py::object scale, py::object shift, py::object out, int threads) {
    Looks looks(x, "x");
    of_floats(looks.first(), [&](auto kind) {
        using T = decltype(kind);
        using S = typename StatOf<T>::type;
        auto a = planes_of<T>(looks.first(), last);
        a.x = looks.first().data<T>();
        a.mean = looks.take<S>(mean, "mean", {a.batch, a.channels});
        a.scale = looks.take<S>(scale, "scale", {a.batch, a.channels});
        a.shift = looks.take<S>(shift, "shift", {a.batch, a.channels});
        a.out = looks.take<T>(out, "out", {looks.first().size(0), looks.first().size(1), looks.first().size(2)});
        run(x, looks.first(), [&](void* stream) { affine_cuda(a, stream); }, [&] { affine_cpu(a, threads); });
    });
}

void sums(py::object x, bool last, py::object grad, py::object mean, py::object first, py::object second, int threads) {
    Looks looks(x, "x");
    of_floats(looks.first(), [&](auto kind) {
        using T = decltype(kind);
        using S = typename StatOf<T>::type;
        auto a = planes_of<T>(looks.first(), last);
        a.x = looks.first().data<T>();
        a.g = looks.take<T>(grad, "grad", {looks.first().size(0), looks.first().size(1), looks.first().size(2)});
        a.mean = looks.take<S>(mean, "mean", {a.batch, a.channels});
        a.first = looks.take<S>(first, "first", {a.batch, a.channels});
        a.second = looks.take<S>(second, "second", {a.batch, a.channels});
        run(x, looks.first(), [&](void* stream) { sums_cuda(a, stream); }, [&] { sums_cpu(a, threads); });
    });
}

void combine(py::object x, bool last, py::object grad, py::object mean, py::object scale, py::object slope, py::object shift,
             py::object out, int threads) {
    Looks looks(x, "x");
    of_floats(looks.first(), [&](auto kind) {
        using T = decltype(kind);
        using S = typename StatOf<T>::type;
        auto a = planes_of<T>(looks.first(), last);
        const int64_t d1 = looks.first().size(1), d2 = looks.first().size(2);
        a.x = looks.first().data<T>();
        a.g = looks.take<T>(grad, "grad", {a.batch, d1, d2});
        a.mean = looks.take<S>(mean, "mean", {a.batch, a.channels});
        a.scale = looks.take<S>(scale, "scale", {a.batch, a.channels});
        a.slope = looks.take<S>(slope, "slope", {a.batch, a.channels});
        a.shift = looks.take<S>(shift, "shift", {a.batch, a.channels});
        a.out = looks.take<T>(out, "out", {a.batch, d1, d2});
        run(x, looks.first(), [&](void* stream) { combine_cuda(a, stream); }, [&] { combine_cpu(a, threads); });
    });
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
