// Graphs by rows: products with features, their gradients, samples of neighbours.
#include "../features/graph.h"
#include "features.h"
#include "looks.h"
#include "on_cuda.h"

namespace anamorph {
namespace {

Graph graph_of(Looks& looks, py::handle indptr, py::handle indices) {
    const Tensor &rows = looks.first(), edges(indices, "indices");
    rows.need_dims(1, "[N + 1]");
    edges.need_dims(1, "[E]");
    if (rows.size(0) < 2) fail<ShapeError>("indptr: expected [N + 1], N at least 1, given ", rows.shape_text());
    Graph g{};
    g.rows = g.columns = rows.size(0) - 1;
    g.edges = edges.size(0);
    g.indptr = looks.take<int64_t>(indptr, "indptr", {g.rows + 1});
    g.indices = looks.take<int64_t>(indices, "indices", {g.edges});
    return g;
}

void need_features(const Tensor& t) {
    t.need_dims(2, "[N, F]");
    if (!t.count()) fail<ShapeError>(t.name, ": expected [N, F] with nothing empty, given ", t.shape_text());
}

void aggregate(py::object indptr, py::object indices, py::object weights, py::object x, py::object out, int threads) {
    Looks looks(indptr, "indptr");
    const Tensor rows(x, "x");
    need_features(rows);
    of_floats(rows, [&](auto kind) {
        using T = decltype(kind);
        AggregateArgs<T> a{};
        a.graph = graph_of(looks, indptr, indices);
        a.graph.columns = rows.size(0);
        a.features = rows.size(1);
        a.weights = looks.take<typename StatOf<T>::type>(weights, "weights", {a.graph.edges});
        a.x = looks.take<T>(x, "x", {a.graph.columns, a.features});
        a.out = looks.take<T>(out, "out", {a.graph.rows, a.features});
        run(indptr, looks.first(), [&](void* stream) { aggregate_cuda(a, stream); }, [&] { aggregate_cpu(a, threads); });
    });
}

void edge_dots(py::object indptr, py::object indices, py::object left, py::object right, py::object out, int threads) {
    Looks looks(indptr, "indptr");
    const Tensor rows(right, "right");
    need_features(rows);
    of_floats(rows, [&](auto kind) {
        using T = decltype(kind);
        EdgeDotArgs<T> a{};
        a.graph = graph_of(looks, indptr, indices);
        a.graph.columns = rows.size(0);
        a.features = rows.size(1);
        a.left = looks.take<T>(left, "left", {a.graph.rows, a.features});
        a.right = looks.take<T>(right, "right", {a.graph.columns, a.features});
        a.out = looks.take<typename StatOf<T>::type>(out, "out", {a.graph.edges});
        run(indptr, looks.first(), [&](void* stream) { edge_dots_cuda(a, stream); }, [&] { edge_dots_cpu(a, threads); });
    });
}

void sample_neighbours(py::object indptr, py::object indices, py::object nodes, py::object step, uint32_t stream, int k,
                       py::object out, int threads) {
    Looks looks(indptr, "indptr");
    const Tensor asked(nodes, "nodes");
    SampleArgs a{};
    a.graph = graph_of(looks, indptr, indices);
    if (a.graph.edges > 0xFFFFFFFF) fail<ShapeError>("indices: expected fewer than 2^32 edges, given ", a.graph.edges);
    a.count = asked.count();
    if (k < 1 || a.count < 1) fail<ArgumentError>("nodes and k: expected at least 1, given ", a.count, " and ", k);
    a.nodes = looks.take<int64_t>(nodes, "nodes", {a.count});
    a.step = looks.take<int64_t>(step, "step", {2});
    a.stream = stream;
    a.k = k;
    a.out = looks.take<int64_t>(out, "out", {a.count, k});
    run(indptr, looks.first(), [&](void* s) { sample_neighbours_cuda(a, s); }, [&] { sample_neighbours_cpu(a, threads); });
}

}  // namespace

void bind_feature_graphs(py::module_& m) {
    using py::arg;
    m.def("aggregate", aggregate, py::kw_only(), arg("indptr"), arg("indices"), arg("weights"), arg("x"), arg("out"),
          arg("threads"));
    m.def("edge_dots", edge_dots, py::kw_only(), arg("indptr"), arg("indices"), arg("left"), arg("right"), arg("out"),
          arg("threads"));
    m.def("sample_neighbours", sample_neighbours, py::kw_only(), arg("indptr"), arg("indices"), arg("nodes"), arg("step"),
          arg("stream"), arg("k"), arg("out"), arg("threads"));
}

}  // namespace anamorph
