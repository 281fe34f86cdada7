#include "carry.h"

#include <pybind11/stl.h>

#include <list>

#include "../images/carry.h"
#include "../images/render.h"
#include "on_cuda.h"

namespace anamorph {
namespace {

using Pair = std::pair<int, int>;

// The plan's rows, and what goes with them.
template <class Args> Tensor open_rows(const RecipeInfo& info, py::handle rows, Pair output, Args& a) {
    Tensor words(rows, "plan");
    words.need_dims(2, "[B, words]");
    words.need_dtype(kDLInt, 32);
    words.need_contiguous();
    if (words.size(1) != info.row_words)
        fail<ShapeError>("plan: expected rows of ", info.row_words, " words, given ", words.shape_text());
    a.rows = words.data<int32_t>();
    a.info = info;
    a.batch = int(words.size(0));
    a.out_h = output.first;
    a.out_w = output.second;
    return words;
}

// Tensors that are looked at while a launch is prepared.
class Looks {
public:
    explicit Looks(const Tensor& words) : words_(words) {}
    // Of None nothing. [B, planes, h, w], or without the planes; or a table.
    Planes planes(py::handle object, const char* name, bool one_plane, int bytes) {
        if (object.is_none()) return {};
        const Tensor& t = look(object, name);
        if (t.is(kDLInt, 64) && t.view.ndim == 2) {
            if (t.size(0) != words_.size(0) || t.size(1) != 4)
                fail<ShapeError>(name, ": expected a table of 4 numbers for each sample, given ", t.shape_text());
            return {nullptr, 0, t.data<int64_t>(), 0, 0, 0};
        }
        t.need_dims(one_plane ? 3 : 4, one_plane ? "[B, H, W]" : "[B, N, H, W]");
        if (t.size(0) != words_.size(0)) fail<ShapeError>(name, ": expected ", words_.size(0), " samples, given ", t.size(0));
        if (t.view.dtype.bits != 8 * bytes)
            fail<DtypeError>(name, ": expected values of ", bytes, " bytes, given ", t.dtype_text());
        const int axis = one_plane ? 1 : 2;
        const int64_t plane = t.size(axis) * t.size(axis + 1);
        return {t.data<uint8_t>(), plane * (one_plane ? 1 : t.size(1)) * bytes,
                nullptr,           int(one_plane ? 1 : t.size(1)),
                int(t.size(axis)), int(t.size(axis + 1))};
    }
    template <class T> T* values(py::handle object, const char* name, uint8_t code) {
        if (object.is_none()) return nullptr;
        const Tensor& t = look(object, name);
        t.need_dtype(code, 8 * int(sizeof(T)));
        return t.data<T>();
    }

private:
    const Tensor& look(py::handle object, const char* name) {
        kept_.emplace_back(object, name);
        kept_.back().need_device(words_);
        kept_.back().need_contiguous();
        return kept_.back();
    }
    const Tensor& words_;
    std::list<Tensor> kept_;
};

}  // namespace

void carry_planes(const RecipeInfo& info, const py::args& args) {
    CarryArgs a{};
    const Tensor words = open_rows(info, args[0], py::cast<Pair>(args[12]), a);
    Looks looks(words);
    a.next_rows = looks.values<int32_t>(args[1], "plan of the next frame", kDLInt);
    a.bytes = py::cast<int>(args[6]);
    a.source = looks.planes(args[2], "values", false, a.bytes);
    a.view = looks.planes(args[3], "values of the view", false, a.bytes);
    a.known = looks.planes(args[4], "valid", true, 1);
    a.valid = looks.planes(args[5], "valid", true, 1);
    a.fill = py::cast<uint64_t>(args[7]);
    a.undo = py::cast<bool>(args[8]);
    a.bilinear = py::cast<bool>(args[9]);
    a.scatter = py::cast<bool>(args[10]);
    a.part = py::cast<int>(args[11]);
    const int threads = py::cast<int>(args[13]);
    run(args[0], words, [&](void* stream) { carry_cuda(a, stream); }, [&] { carry_cpu(a, threads); });
}

void carry_boxes(const RecipeInfo& info, const py::args& args) {
    BoxArgs a{};
    const Tensor words = open_rows(info, args[0], py::cast<Pair>(args[8]), a);
    Looks looks(words);
    a.in = looks.values<float>(args[1], "boxes", kDLFloat);
    a.count = int(Tensor(args[1], "boxes").size(1));
    a.counts = looks.values<int64_t>(args[2], "counts", kDLInt);
    a.out = looks.values<float>(args[3], "boxes", kDLFloat);
    a.keep = looks.values<uint8_t>(args[4], "keep", kDLUInt);
    a.undo = py::cast<bool>(args[5]);
    a.tight = py::cast<bool>(args[6]);
    std::tie(a.min_size, a.min_area, a.min_visible, a.middles) = py::cast<std::tuple<float, float, float, bool>>(args[7]);
    const int threads = py::cast<int>(args[9]);
    run(args[0], words, [&](void* stream) { boxes_cuda(a, stream); }, [&] { boxes_cpu(a, threads); });
}

void carry_points(const RecipeInfo& info, const py::args& args) {
    PointArgs a{};
    const Tensor words = open_rows(info, args[0], py::cast<Pair>(args[7]), a);
    Looks looks(words);
    a.in = looks.values<float>(args[1], "points", kDLFloat);
    a.count = int(Tensor(args[1], "points").size(1));
    a.counts = looks.values<int64_t>(args[2], "counts", kDLInt);
    a.out = looks.values<float>(args[3], "points", kDLFloat);
    a.seen = looks.values<uint8_t>(args[4], "seen", kDLUInt);
    a.undo = py::cast<bool>(args[5]);
    a.shift = py::cast<float>(args[6]);
    const int threads = py::cast<int>(args[8]);
    run(args[0], words, [&](void* stream) { points_cuda(a, stream); }, [&] { points_cpu(a, threads); });
}

}  // namespace anamorph
