// Feature space: graphs. The package has checked what a user gives; what is checked here is that kernels stay inside the tensors.
#include <list>

#include "../features/graph.h"
#include "features.h"
#include "on_cuda.h"

namespace anamorph {
namespace {

// The tensors of a call, borrowed for its length: contiguous, and where the first one is.
struct Borrowed {
    std::list<Tensor> kept;

    const Tensor& take(py::handle object, const char* name, int dims, const char* form) {
        const Tensor& t = kept.emplace_back(object, name);
        t.need_dims(dims, form);
        t.need_contiguous();
        t.need_device(kept.front());
        return t;
    }
    template <class T> T* values(py::handle object, const char* name, uint8_t code, int64_t count) {
        if (object.is_none()) return nullptr;
        const Tensor& t = kept.emplace_back(object, name);
        t.need_dtype(code, int(sizeof(T)) * 8);
        t.need_contiguous();
        t.need_device(kept.front());
        if (t.count() != count) fail<ShapeError>(name, ": expected ", count, " values, given ", t.shape_text());
        return t.data<T>();
    }
    Graph graph(py::handle indptr, py::handle indices) {
        const Tensor &rows = take(indptr, "indptr", 1, "[N + 1]"), &edges = take(indices, "indices", 1, "[E]");
        rows.need_dtype(kDLInt, 64);
        edges.need_dtype(kDLInt, 64);
        if (rows.size(0) < 2) fail<ShapeError>("indptr: expected [N + 1], N at least 1, given ", rows.shape_text());
        return {rows.data<int64_t>(), edges.data<int64_t>(), rows.size(0) - 1, edges.size(0), rows.size(0) - 1};
    }
    // [nodes, features], of the dtype of an earlier one.
    template <class T> T* features(py::handle object, const char* name, const Tensor& like, int64_t nodes, int64_t count) {
        const Tensor& t = take(object, name, 2, "[N, F]");
        t.need_dtype(like.view.dtype.code, like.view.dtype.bits);
        if (t.size(0) != nodes || t.size(1) != count)
            fail<ShapeError>(name, ": expected [", nodes, ", ", count, "], given ", t.shape_text());
        return t.data<T>();
    }
};

// f(T()), of the dtype of features.
template <class F> void of_dtype(const Tensor& t, const F& f) {
    if (t.is(kDLFloat, 32)) return f(float());
    if (t.is(kDLFloat, 64)) return f(double());
    if (t.is(kDLFloat, 16)) return f(Half());
    if (t.is(kDLBfloat, 16)) return f(BFloat());
    fail<DtypeError>(t.name, ": expected float32, float64, float16 or bfloat16, given ", t.dtype_text());
}

void aggregate(py::handle indptr, py::handle indices, py::handle weights, py::handle x, py::handle out, int threads) {
    Borrowed kept;
    Graph graph = kept.graph(indptr, indices);
    const Tensor& values = kept.take(x, "x", 2, "[N, F]");
    graph.columns = values.size(0);
    of_dtype(values, [&](auto kind) {
        using T = decltype(kind);
        AggregateArgs<T> a{graph, nullptr, values.data<T>(), values.size(1), nullptr};
        a.weights = kept.values<typename StatOf<T>::type>(weights, "weights", kDLFloat, graph.edges);
        a.out = kept.features<T>(out, "out", values, graph.rows, a.features);
        run(indptr, kept.kept.front(), [&](void* stream) { aggregate_cuda(a, stream); }, [&] { aggregate_cpu(a, threads); });
    });
}

void edge_dots(py::handle indptr, py::handle indices, py::handle left, py::handle right, py::handle out, int threads) {
    Borrowed kept;
    Graph graph = kept.graph(indptr, indices);
    const Tensor& values = kept.take(right, "right", 2, "[N, F]");
    graph.columns = values.size(0);
    of_dtype(values, [&](auto kind) {
        using T = decltype(kind);
        EdgeDotArgs<T> a{graph, nullptr, values.data<T>(), values.size(1), nullptr};
        a.left = kept.features<T>(left, "left", values, graph.rows, a.features);
        a.out = kept.values<typename StatOf<T>::type>(out, "out", kDLFloat, graph.edges);
        run(indptr, kept.kept.front(), [&](void* stream) { edge_dots_cuda(a, stream); }, [&] { edge_dots_cpu(a, threads); });
    });
}

void sample_neighbours(py::handle indptr, py::handle indices, py::handle nodes, py::handle step, uint32_t stream, int32_t k,
                       py::handle out, int threads) {
    Borrowed kept;
    SampleArgs a{};
    a.graph = kept.graph(indptr, indices);
    if (a.graph.edges > 0xFFFFFFFF) fail<ShapeError>("indices: expected fewer than 2^32 edges, given ", a.graph.edges);
    if (k < 1) fail<ArgumentError>("k: expected at least 1, given ", k);
    a.count = kept.take(nodes, "nodes", 1, "[n]").count();
    a.nodes = kept.values<int64_t>(nodes, "nodes", kDLInt, a.count);
    a.step = kept.values<int64_t>(step, "step", kDLInt, 2);
    a.stream = stream;
    a.k = k;
    a.out = kept.values<int64_t>(out, "out", kDLInt, a.count * k);
    run(indptr, kept.kept.front(), [&](void* s) { sample_neighbours_cuda(a, s); }, [&] { sample_neighbours_cpu(a, threads); });
}

}  // namespace

void bind_graph(py::module_& m) {
    using py::arg;
    m.def("aggregate", aggregate, py::kw_only(), arg("indptr"), arg("indices"), arg("weights"), arg("x"), arg("out"),
          arg("threads"));
    m.def("edge_dots", edge_dots, py::kw_only(), arg("indptr"), arg("indices"), arg("left"), arg("right"), arg("out"),
          arg("threads"));
    m.def("sample_neighbours", sample_neighbours, py::kw_only(), arg("indptr"), arg("indices"), arg("nodes"), arg("step"),
          arg("stream"), arg("k"), arg("out"), arg("threads"));
}

}  // namespace anamorph
