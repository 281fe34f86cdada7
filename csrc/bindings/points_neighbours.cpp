// Point clouds: neighbourhoods. The package has checked what a user gives; what is checked here is that kernels stay inside the tensors.
#include <climits>

#include "../points/neighbours.h"
#include "looks.h"
#include "on_cuda.h"
#include "points.h"

namespace anamorph {
namespace {

Clouds clouds(Looks& looks, py::handle points, py::handle counts, const char* name, const char* counts_name) {
    const Tensor t(points, name);
    t.need_dims(3, "[B, N, 3]");
    if (t.size(2) != 3 || t.size(0) < 1 || t.size(1) < 1 || t.size(0) > INT32_MAX || t.size(1) > INT32_MAX / 4)
        fail<ShapeError>(name, ": expected [B, N, 3], B and N from 1 to ", INT32_MAX / 4, ", given ", t.shape_text());
    return {looks.take<float>(points, name, {t.size(0), t.size(1), 3}), looks.take<int64_t>(counts, counts_name, {t.size(0)}),
            int32_t(t.size(0)), int32_t(t.size(1))};
}

void bind_farthest(py::handle points, py::handle counts, py::handle start, int m, py::handle out, py::handle exact,
                   py::handle rough, py::handle order, py::handle placed, int threads) {
    Looks looks(points, "points");
    FarthestArgs a{};
    a.points = clouds(looks, points, counts, "points", "counts");
    const int64_t batch = a.points.batch, size = a.points.size;
    a.m = m;
    a.start = looks.take<int64_t>(start, "start", {batch});
    a.index = looks.take<int64_t>(out, "out", {batch, m});
    a.exact = looks.take<double>(exact, "exact", {batch, a.rooms()});
    a.rough = looks.take<float>(rough, "rough", {batch, a.rooms()});
    a.order = looks.take<int64_t>(order, "order", {batch, size});
    a.placed = looks.take<float>(placed, "placed", {batch, size, 4});
    if (a.placed && looks.last().cuda()) looks.last().need_aligned(16);  // read and written as wholes
    if (!a.placed != !a.order)
        fail<ArgumentError>("order and placed: expected both or none, given ", a.order ? "order" : "placed", " alone");
    run(points, looks.first(), [&](void* stream) { farthest_cuda(a, stream); }, [&] { farthest_cpu(a, threads); });
}

void same_batch(const Clouds& query, const Clouds& points) {
    if (query.batch != points.batch)
        fail<ShapeError>("query: expected a batch of ", points.batch, " like points, given ", query.batch);
}

void bind_nearest(py::handle query, py::handle points, py::handle query_counts, py::handle counts, int k, py::handle distance,
                  py::handle index, int threads) {
    Looks looks(query, "query");
    NearestArgs a{};
    a.query = clouds(looks, query, query_counts, "query", "query_counts");
    a.points = clouds(looks, points, counts, "points", "counts");
    same_batch(a.query, a.points);
    a.k = k;
    a.distance = looks.take<float>(distance, "distance", {a.query.batch, a.query.size, k});
    a.index = looks.take<int64_t>(index, "index", {a.query.batch, a.query.size, k});
    run(query, looks.first(), [&](void* stream) { nearest_cuda(a, stream); }, [&] { nearest_cpu(a, threads); });
}

void bind_ball(py::handle query, py::handle points, py::handle query_counts, py::handle counts, double radius, int k, int pad,
               py::handle index, int threads) {
    Looks looks(query, "query");
    BallArgs a{};
    a.query = clouds(looks, query, query_counts, "query", "query_counts");
    a.points = clouds(looks, points, counts, "points", "counts");
    same_batch(a.query, a.points);
    a.radius = radius;
    a.k = k;
    a.pad = pad;
    a.index = looks.take<int64_t>(index, "index", {a.query.batch, a.query.size, k});
    run(query, looks.first(), [&](void* stream) { ball_cuda(a, stream); }, [&] { ball_cpu(a, threads); });
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
