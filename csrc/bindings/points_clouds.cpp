// Point clouds: recipes, plans and their render.
#include <pybind11/stl.h>

#include <cstring>

#include "../points/program.h"
#include "on_cuda.h"
#include "points.h"

namespace anamorph {
namespace {

Tensor rows_of(py::handle object, int row_words) {
    Tensor rows(object, "plan");
    rows.need_dims(2, "[B, words]");
    rows.need_dtype(kDLInt, 32);
    rows.need_contiguous();
    if (row_words && rows.size(1) != row_words)
        fail<ShapeError>("plan: expected rows of ", row_words, " words, given ", rows.shape_text());
    return rows;
}

template <class T> T* values(py::handle object, const char* name, uint8_t code, const Tensor& rows, int64_t count) {
    if (object.is_none()) return nullptr;
    const Tensor t(object, name);
    t.need_dtype(code, 8 * int(sizeof(T)));
    t.need_contiguous();
    t.need_device(rows);
    if (t.count() != count) fail<ShapeError>(name, ": expected ", count, " values, given ", t.shape_text());
    return t.data<T>();
}

// `slots`: the bytes of Slots, which a recipe has packed once.
void plan(const std::string& slots, py::handle rows, py::handle index, uint64_t seed, py::handle epoch, uint32_t view,
          int64_t count, py::handle counts, int threads) {
    const Tensor words = rows_of(rows, 0);
    std::vector<Slot> program(slots.size() / sizeof(Slot));
    if (!program.empty()) std::memcpy(program.data(), slots.data(), program.size() * sizeof(Slot));
    points::PlanArgs a{};
    a.slots = program.data();
    a.info = {int(program.size()), int(words.size(1))};
    a.batch = int(words.size(0));
    a.index = values<int64_t>(index, "index", kDLInt, words, a.batch);
    a.counts = values<int64_t>(counts, "count", kDLInt, words, a.batch);
    a.count = count;
    a.seed = seed;
    a.view = view;
    if (py::isinstance<py::int_>(epoch)) a.epoch = py::cast<uint32_t>(epoch);
    else a.epoch_cell = values<int64_t>(epoch, "epoch", kDLInt, words, 1);
    a.rows = words.data<int32_t>();
    run(rows, words, [&](void* stream) { points::plan_cuda(a, stream); }, [&] { points::plan_cpu(a, threads); });
}

void render(py::handle rows, py::handle points, py::handle normals, py::handle out, py::handle out_normals, py::handle origin,
            py::handle room, int most, int threads) {
    const Tensor words = rows_of(rows, 0), in(points, "points"), view(out, "out");
    in.need_dims(3, "[B, N, 3]");
    view.need_dims(3, "[B, M, 3]");
    points::RenderArgs a{};
    a.rows = words.data<int32_t>();
    a.row_words = int(words.size(1));
    a.batch = int(words.size(0));
    a.points = int(in.size(1));
    a.view_points = int(view.size(1));
    a.most = most;
    const int64_t from = 3 * int64_t(a.batch) * a.points, to = int64_t(a.batch) * a.view_points;
    a.in = values<float>(points, "points", kDLFloat, words, from);
    a.normals = values<float>(normals, "normals", kDLFloat, words, from);
    a.out = values<float>(out, "out", kDLFloat, words, 3 * to);
    a.out_normals = values<float>(out_normals, "normals", kDLFloat, words, 3 * to);
    a.origin = values<int64_t>(origin, "origin", kDLInt, words, to);
    if (words.cuda() && !room.is_none()) a.room = values<float>(room, "room", kDLFloat, words, int64_t(a.batch) * 16 * most);
    run(rows, words, [&](void* stream) { points::render_cuda(a, stream); }, [&] { points::render_cpu(a, threads); });
}

}  // namespace

void bind_clouds(py::module_& m) {
    static_assert(sizeof(Slot) == 112, "as Python packs it");
    py::dict ops;
    for (const points::OpLine& line : points::OPS) ops[line.name] = line.code;
    m.attr("OPS") = ops;
    m.attr("HEADER") = int(points::P_HEADER);
    m.attr("MAX_ANCHORS") = int(points::MAX_ANCHORS);
    m.attr("MAX_CLUSTERS") = int(points::MAX_CLUSTERS);
    m.attr("MAX_POINTS") = int(points::MAX_POINTS);
    m.attr("MAX_ADDED") = int(points::MAX_ADDED);
    m.def("plan", &plan, py::kw_only(), py::arg("slots"), py::arg("rows"), py::arg("index"), py::arg("seed"), py::arg("epoch"),
          py::arg("view"), py::arg("count"), py::arg("counts"), py::arg("threads"));
    m.def("render", &render, py::kw_only(), py::arg("rows"), py::arg("points"), py::arg("normals"), py::arg("out"),
          py::arg("out_normals"), py::arg("origin"), py::arg("room"), py::arg("most"), py::arg("threads"));
}

}  // namespace anamorph
