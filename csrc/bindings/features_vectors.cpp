// Feature vectors: random numbers, moments of classes, mixed hard negatives.
#include <pybind11/stl.h>

#include <array>
#include <climits>

#include "../features/classes.h"
#include "../features/mochi.h"
#include "features.h"
#include "looks.h"
#include "on_cuda.h"

namespace anamorph {
namespace {

void draw(py::object step, uint32_t stream, int kind, double a, double b, py::object out, int threads) {
    Looks looks(step, "step");
    DrawArgs args{};
    args.step = looks.take<int64_t>(step, "step", {2});
    args.stream = stream;
    args.kind = kind;
    args.a = a;
    args.b = b;
    const Tensor values(out, "out");
    args.n = values.count();
    if (kind < 0 || kind >= DRAW_KINDS) fail<ArgumentError>("kind: expected 0 to ", DRAW_KINDS - 1, ", given ", kind);
    const bool whole = kind == DRAW_INTEGERS || kind == DRAW_PERMUTATION;
    if (kind == DRAW_INTEGERS && !(a >= 1.0 && a <= 4294967295.0))
        fail<ArgumentError>("below: expected 1 to 4294967295, given ", a);
    if (kind == DRAW_BETA && !(a > 0.0 && b > 0.0)) fail<ArgumentError>("a, b: expected numbers above 0, given ", a, " and ", b);
    if (args.n < 1 || (kind == DRAW_PERMUTATION && args.n > INT_MAX))
        fail<ShapeError>("out: expected 1 value or more, given ", values.shape_text());
    values.need_device(looks.first());
    values.need_contiguous();
    values.need_dtype(whole ? kDLInt : kDLFloat, whole ? 64 : 32);
    (whole ? static_cast<void>(args.integers = values.data<int64_t>()) : static_cast<void>(args.numbers = values.data<float>()));
    run(step, looks.first(), [&](void* s) { draw_cuda(args, s); }, [&] { draw_cpu(args, threads); });
}

template <class S> void class_moments_of(Looks& looks, py::object x, py::handle order, py::handle first, py::handle mean,
                                         py::handle squares, int threads) {
    const Tensor& rows = looks.first();
    const Tensor counted(first, "first");
    ClassArgs<S> a{};
    a.rows = rows.size(0);
    a.size = rows.size(1);
    a.classes = counted.count() - 1;
    if (!rows.count() || a.classes < 1) fail<ShapeError>("x and first: expected nothing empty, given ", rows.shape_text());
    a.x = looks.take<S>(x, "x", {a.rows, a.size});
    a.order = looks.take<int64_t>(order, "order", {a.rows});
    a.first = looks.take<int64_t>(first, "first", {a.classes + 1});
    a.mean = looks.take<S>(mean, "mean", {a.classes, a.size});
    a.squares = looks.take<S>(squares, "squares", {a.classes, a.size});
    run(x, rows, [&](void* stream) { class_moments_cuda(a, stream); }, [&] { class_moments_cpu(a, threads); });
}

void class_moments(py::object x, py::object order, py::object first, py::object mean, py::object squares, int threads) {
    Looks looks(x, "x");
    looks.first().need_dims(2, "[N, D]");
    if (looks.first().is(kDLFloat, 64)) class_moments_of<double>(looks, x, order, first, mean, squares, threads);
    else class_moments_of<float>(looks, x, order, first, mean, squares, threads);
}

int small(const Tensor& t, int axis) {
    if (t.size(axis) < 1 || t.size(axis) > INT_MAX)
        fail<ShapeError>(t.name, ": expected sides from 1 to ", INT_MAX, ", given ", t.shape_text());
    return int(t.size(axis));
}

void hardest(py::object scores, py::object index, double tau, int threads) {
    Looks looks(scores, "scores");
    const Tensor& all = looks.first();
    all.need_dims(2, "[B, K]");
    const Tensor chosen(index, "index");
    chosen.need_dims(2, "[B, N]");
    HardestArgs a{};
    a.batch = small(all, 0);
    a.size = small(all, 1);
    a.scores = looks.rows<float>(scores, "scores", {a.batch, a.size}, a.stride);
    if (chosen.size(1) > a.size)
        fail<ShapeError>("index: expected at most ", a.size, " of each row, given ", chosen.shape_text());
    a.count = int(chosen.size(1));
    a.index = looks.take<int32_t>(index, "index", {a.batch, a.count});
    a.tau = float(tau);
    run(scores, all, [&](void* stream) { hardest_cuda(a, stream); }, [&] { hardest_cpu(a, threads); });
}

MochiArgs open(Looks& looks, py::handle query, py::handle queue, py::handle index, py::handle step,
               const std::array<uint32_t, 3>& streams, int mixes, int query_mixes, double query_most, double tau) {
    const Tensor &q = looks.first(), rows(queue, "queue"), chosen(index, "index");
    q.need_dims(2, "[B, D]");
    rows.need_dims(2, "[K, D]");
    chosen.need_dims(2, "[B, N]");
    MochiArgs a{};
    a.batch = small(q, 0);
    a.dim = small(q, 1);
    a.size = small(rows, 0);
    a.count = small(chosen, 1);
    a.query = looks.take<float>(query, "query", {a.batch, a.dim});
    a.queue = looks.take<float>(queue, "queue", {a.size, a.dim});
    a.index = looks.take<int32_t>(index, "index", {a.batch, a.count});
    a.step = looks.take<int64_t>(step, "step", {2});
    std::copy(streams.begin(), streams.end(), a.streams);
    const int64_t count = int64_t(mixes) + query_mixes;
    if (mixes < 0 || query_mixes < 0 || count < 1 || count * a.batch > INT_MAX)
        fail<ArgumentError>("mixes: expected 1 to ", INT_MAX / a.batch, " for each query, given ", mixes, " and ", query_mixes);
    if (q.cuda() && a.dim > MOCHI_MOST_DIM)
        fail<ShapeError>("query: expected at most ", int(MOCHI_MOST_DIM), " dimensions on a GPU, given ", q.shape_text());
    a.mixes = mixes;
    a.query_mixes = query_mixes;
    a.query_most = float(query_most);
    a.tau = float(tau);
    return a;
}

void mochi(py::object query, py::object queue, py::object index, py::object step, std::array<uint32_t, 3> streams, int mixes,
           int query_mixes, double query_most, double tau, py::object scores, py::object made, int threads) {
    Looks looks(query, "query");
    auto a = open(looks, query, queue, index, step, streams, mixes, query_mixes, query_most, tau);
    const int64_t count = a.mixes + a.query_mixes;
    a.scores = looks.rows<float>(scores, "scores", {a.batch, count}, a.stride);
    a.made = looks.take<float>(made, "made", {a.batch, count, a.dim});
    run(query, looks.first(), [&](void* stream) { mochi_cuda(a, stream); }, [&] { mochi_cpu(a, threads); });
}

void mochi_grad(py::object query, py::object queue, py::object index, py::object step, std::array<uint32_t, 3> streams, int mixes,
                int query_mixes, double query_most, double tau, py::object grad, py::object grad_query, int threads) {
    Looks looks(query, "query");
    auto a = open(looks, query, queue, index, step, streams, mixes, query_mixes, query_most, tau);
    a.grad = looks.rows<float>(grad, "grad", {a.batch, int64_t(a.mixes) + a.query_mixes}, a.stride);
    a.grad_query = looks.take<float>(grad_query, "grad_query", {a.batch, a.dim});
    run(query, looks.first(), [&](void* stream) { mochi_grad_cuda(a, stream); }, [&] { mochi_grad_cpu(a, threads); });
}

}  // namespace

void bind_feature_vectors(py::module_& m) {
    using py::arg;
    m.def("draw", draw, py::kw_only(), arg("step"), arg("stream"), arg("kind"), arg("a"), arg("b"), arg("out"), arg("threads"));
    m.def("class_moments", class_moments, py::kw_only(), arg("x"), arg("order"), arg("first"), arg("mean"), arg("squares"),
          arg("threads"));
    m.def("hardest", hardest, py::kw_only(), arg("scores"), arg("index"), arg("tau"), arg("threads"));
    m.def("mochi", mochi, py::kw_only(), arg("query"), arg("queue"), arg("index"), arg("step"), arg("streams"), arg("mixes"),
          arg("query_mixes"), arg("query_most"), arg("tau"), arg("scores"), arg("made").none(true), arg("threads"));
    m.def("mochi_grad", mochi_grad, py::kw_only(), arg("query"), arg("queue"), arg("index"), arg("step"), arg("streams"),
          arg("mixes"), arg("query_mixes"), arg("query_most"), arg("tau"), arg("grad"), arg("grad_query"), arg("threads"));
    m.attr("MOCHI_MOST_DIM") = int(MOCHI_MOST_DIM);
}

}  // namespace anamorph
