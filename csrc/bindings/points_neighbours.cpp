// Point clouds: neighbourhoods. The package has checked what a user gives; what is checked here is that kernels stay inside the tensors.
#include <climits>
#include <vector>

#include "../points/neighbours.h"
#include "on_cuda.h"
#include "points.h"

namespace anamorph {
namespace {

// The tensors of a call, borrowed for its length: contiguous, and where the first one is.
struct Looks {
    std::vector<Tensor> kept;
    Looks() { kept.reserve(8); }

    template <class T> T* take(py::handle object, const char* name, uint8_t code, int64_t count) {
        if (object.is_none()) return nullptr;
        kept.emplace_back(object, name);
        const Tensor& t = kept.back();
        t.need_dtype(code, int(sizeof(T)) * 8);
        t.need_contiguous();
        t.need_device(kept.front());
        if (t.count() != count) fail<ShapeError>(name, ": expected ", count, " values, given ", t.shape_text());
        return t.data<T>();
    }
    Clouds clouds(py::handle points, py::handle counts, const char* name, const char* counts_name) {
        kept.emplace_back(points, name);
        const Tensor& t = kept.back();
        t.need_dims(3, "[B, N, 3]");
        t.need_dtype(kDLFloat, 32);
        t.need_contiguous();
        t.need_device(kept.front());
        if (t.size(2) != 3 || t.size(0) < 1 || t.size(1) < 1 || t.size(0) > INT32_MAX || t.size(1) > INT32_MAX / 4)
            fail<ShapeError>(name, ": expected [B, N, 3], B and N from 1 to ", INT32_MAX / 4, ", given ", t.shape_text());
        return {t.data<float>(), take<int64_t>(counts, counts_name, kDLInt, t.size(0)), int32_t(t.size(0)), int32_t(t.size(1))};
    }
};

void bind_farthest(py::handle points, py::handle counts, py::handle start, int m, py::handle out, py::handle exact,
                   py::handle rough, py::handle order, py::handle placed, int threads) {
    Looks looks;
    FarthestArgs a{};
    a.points = looks.clouds(points, counts, "points", "counts");
    const int64_t batch = a.points.batch, all = batch * a.rooms();
    a.m = m;
    a.start = looks.take<int64_t>(start, "start", kDLInt, batch);
    a.index = looks.take<int64_t>(out, "out", kDLInt, batch * m);
    a.exact = looks.take<double>(exact, "exact", kDLFloat, all);
    a.rough = looks.take<float>(rough, "rough", kDLFloat, all);
    a.order = looks.take<int64_t>(order, "order", kDLInt, batch * a.points.size);
    a.placed = looks.take<float>(placed, "placed", kDLFloat, batch * a.points.size * 4);
    if (a.placed && looks.kept.back().cuda()) looks.kept.back().need_aligned(16);  // read and written as wholes
    if (!a.placed != !a.order)
        fail<ArgumentError>("order and placed: expected both or none, given ", a.order ? "order" : "placed", " alone");
    run(points, looks.kept.front(), [&](void* stream) { farthest_cuda(a, stream); }, [&] { farthest_cpu(a, threads); });
}

void same_batch(const Clouds& query, const Clouds& points) {
    if (query.batch != points.batch)
        fail<ShapeError>("query: expected a batch of ", points.batch, " like points, given ", query.batch);
}

void bind_nearest(py::handle query, py::handle points, py::handle query_counts, py::handle counts, int k, py::handle distance,
                  py::handle index, int threads) {
    Looks looks;
    NearestArgs a{};
    a.query = looks.clouds(query, query_counts, "query", "query_counts");
    a.points = looks.clouds(points, counts, "points", "counts");
    same_batch(a.query, a.points);
    const int64_t all = int64_t(a.query.batch) * a.query.size * k;
    a.k = k;
    a.distance = looks.take<float>(distance, "distance", kDLFloat, all);
    a.index = looks.take<int64_t>(index, "index", kDLInt, all);
    run(query, looks.kept.front(), [&](void* stream) { nearest_cuda(a, stream); }, [&] { nearest_cpu(a, threads); });
}

void bind_ball(py::handle query, py::handle points, py::handle query_counts, py::handle counts, double radius, int k, int pad,
               py::handle index, int threads) {
    Looks looks;
    BallArgs a{};
    a.query = looks.clouds(query, query_counts, "query", "query_counts");
    a.points = looks.clouds(points, counts, "points", "counts");
    same_batch(a.query, a.points);
    a.radius = radius;
    a.k = k;
    a.pad = pad;
    a.index = looks.take<int64_t>(index, "index", kDLInt, int64_t(a.query.batch) * a.query.size * k);
    run(query, looks.kept.front(), [&](void* stream) { ball_cuda(a, stream); }, [&] { ball_cpu(a, threads); });
}

}  // namespace

void bind_neighbours(py::module_& m) {
    using py::arg;
    m.def("farthest", bind_farthest, py::kw_only(), arg("points"), arg("counts"), arg("start"), arg("m"), arg("out"),
          arg("exact"), arg("rough"), arg("order"), arg("placed"), arg("threads"));
    m.def("nearest", bind_nearest, py::kw_only(), arg("query"), arg("points"), arg("query_counts"), arg("counts"), arg("k"),
          arg("distance"), arg("index"), arg("threads"));
    m.def("ball", bind_ball, py::kw_only(), arg("query"), arg("points"), arg("query_counts"), arg("counts"), arg("radius"),
          arg("k"), arg("pad"), arg("index"), arg("threads"));
    m.attr("FARTHEST_LEAF") = int(FARTHEST_LEAF);
    m.attr("FARTHEST_HELD") = int(FARTHEST_HELD);
    m.attr("MAX_NEAREST_CUDA") = int(MAX_NEAREST_CUDA);
}

}  // namespace anamorph
