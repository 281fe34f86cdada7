// Recipe: the program of slots with its checks, and the two calls of every batch. All that does not change from
// batch to batch is found once, in the constructor.
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <optional>

#include "../core/parallel.h"
#include "../images/plan.h"
#include "../images/ready.h"
#include "../images/render.h"
#include "carry.h"
#include "family.h"
#include "on_cuda.h"

namespace anamorph {
namespace {

using SlotTuple = std::tuple<int, int, int, int, std::array<double, 12>>;
using Floats4 = std::array<float, 4>;

enum : int64_t { MAX_SLOTS = 256 };

constexpr int32_t Needs::* COUNTS[] = {&Needs::colors, &Needs::wholes, &Needs::erases,
                                       &Needs::mixes,  &Needs::fields, &Needs::layers};

// What both write, one after the other.
Needs both(Needs a, const Needs& b) {
    for (auto count : COUNTS) a.*count += b.*count;
    return a;
}

// What `count` of the branches write together, at most.
Needs some_of(const std::vector<Needs>& branches, int count, bool replace) {
    Needs sum;
    for (auto field : COUNTS) {
        std::vector<int32_t> each;
        for (const Needs& b : branches) each.push_back(b.*field);
        std::sort(each.rbegin(), each.rend());
        for (int i = 0; i < count; ++i) sum.*field += each[replace ? 0 : i];
    }
    return sum;
}

// What the slots [from, to) may write at most, and a check of their nesting.
Needs analyse(const std::vector<Slot>& slots, int from, int to, int depth) {
    if (depth > MAX_DEPTH)
        fail<ArgumentError>("transforms: expected at most ", int(MAX_DEPTH), " lists inside each other, given more");
    Needs sum;
    for (int at = from; at < to;) {
        const Slot& s = slots[at];
        int after = at + 1 + s.n;
        if (s.n < 0 || after > to) fail<ArgumentError>("slots: slot ", at, " reaches beyond its list");
        if (s.op == OP_APPLY) {  // its slots follow in line
            ++at;
            continue;
        }
        auto line = std::find_if(std::begin(OPS), std::end(OPS), [&](const OpLine& o) { return o.code == s.op; });
        if (line == std::end(OPS)) fail<ArgumentError>("slots: slot ", at, " has an op code of no op: ", s.op);
        Needs one = line->needs;
        if (s.op == OP_ERASE) one.erases = int(s.p[9]);
        if (s.op == OP_DROPOUT) one.erases = int(s.p[1]);
        if (s.op == OP_CHOICE || s.op == OP_ORDER || s.op == OP_CHAINS) {
            const bool chains = s.op == OP_CHAINS;
            const int most_k = chains ? int(MAX_LAYERS) : int(MAX_BRANCHES);
            if (s.k < 1 || s.k > most_k)
                fail<ArgumentError>("transforms: expected 1 to ", most_k, chains ? " chains" : " alternatives", ", given ", s.k);
            const bool replace = s.flags & SLOT_REPLACE;
            const int most = s.op == OP_ORDER ? int(s.p[1]) : 1;
            if (!chains && (s.p[0] < 0.0 || most < int(s.p[0]) || most > (replace ? int(MAX_BRANCHES) : s.k)))
                fail<ArgumentError>("transforms: expected at most ", replace ? int(MAX_BRANCHES) : s.k, " runs, given ", most);
            std::vector<Needs> branches;
            int b = at + 1;
            for (int i = 0; i < (chains ? 1 : s.k); ++i) {
                if (b >= after || slots[b].op != OP_BRANCH) fail<ArgumentError>("slots: slot ", b, " should head a branch");
                int end = b + 1 + slots[b].n;
                if (end > after) fail<ArgumentError>("slots: slot ", b, " reaches beyond its list");
                branches.push_back(analyse(slots, b + 1, end, depth + 1));
                b = end;
            }
            if (chains) {  // each has room for what comes before it, in a layer of its own
                one = both(line->needs, branches[0]);
                one.layers = s.k;
                if (branches[0].erases || branches[0].mixes || branches[0].layers || branches[0].fields)
                    fail<ArgumentError>("transforms: expected chains of geometry and colour, given others");
            } else {
                one = some_of(branches, most, replace);
            }
        }
        sum = both(sum, one);
        at = after;
    }
    return sum;
}

int dtype_of(const Tensor& t) {
    if (t.is(kDLUInt, 8)) return U8;
    if (t.is(kDLFloat, 32)) return F32;
    if (t.is(kDLFloat, 16)) return F16;
    if (t.is(kDLBfloat, 16)) return BF16;
    fail<DtypeError>(t.name, ": expected uint8, float32, float16 or bfloat16, given ", t.dtype_text());
}

void check_side(const char* name, int64_t h, int64_t w) {
    if (h < 1 || w < 1 || h > MAX_SIDE || w > MAX_SIDE)
        fail<ShapeError>(name, ": expected sides of 1 to ", int(MAX_SIDE), " pixels, given ", h, " x ", w);
}

void check_frames(int frames, int rows) {
    if (frames < 1 || rows % frames)
        fail<ShapeError>("frames: expected clips that make ", rows, " rows together, given ", frames, " frames each");
}

Slot slot_of(const SlotTuple& given) {
    auto& [op, n, k, flags, p] = given;
    Slot s{op, n, k, flags, {}};
    std::copy(p.begin(), p.end(), s.p);
    return s;
}

// A ramp moves what is a share, a strength or a place, and nothing that says how much memory a row has.
void check_ramp(const Slot& ramp, const std::vector<Slot>& program, size_t dials) {
    if (ramp.op < 0 || size_t(ramp.op) >= dials || ramp.n < 0 || size_t(ramp.n) >= program.size())
        fail<ArgumentError>("ramps: expected one of the dials and of the slots, given ", ramp.op, " and ", ramp.n);
    const Slot& s = program[ramp.n];
    for (int number = 0; number < int(std::size(ramp.p)); ++number) {
        const bool counts = s.op == OP_ORDER || (s.op == OP_ERASE && number == 9) || (s.op == OP_DROPOUT && number == 1) ||
                            (s.op == OP_CHOICE && (s.flags & SLOT_BY_VIEW) && number == 1);
        if (ramp.p[number] != 0.0 && counts)
            fail<ArgumentError>("ramps: expected none for a number that counts, given number ", number, " of slot ", ramp.n);
    }
}

class Recipe {
public:
    Recipe(const std::vector<SlotTuple>& given, Floats4 mean, Floats4 std, int dtype, int channels, int classes, float smoothing,
           float off, bool pairs, const std::vector<SlotTuple>& ramps, const std::vector<std::pair<double, double>>& dials)
        : dials_(dials), ramps_(int(ramps.size())), mean_(mean), std_(std), dtype_(dtype), channels_(channels), classes_(classes),
          smoothing_(smoothing), off_(off), pairs_(pairs) {
        if (int64_t(given.size() + ramps.size()) > MAX_SLOTS)
            fail<ArgumentError>("transforms: expected at most ", int64_t(MAX_SLOTS), " slots",
                                ramps.empty() ? "" : " and slots that schedules move", ", given ", given.size() + ramps.size());
        if (dials.size() > MAX_DIALS)
            fail<ArgumentError>("transforms: expected at most ", int(MAX_DIALS), " schedules, given ", dials.size());
        for (auto& each : given) slots_.push_back(slot_of(each));
        Needs needs = analyse(slots_, 0, int(slots_.size()), 0);
        if (needs.mixes > 1)
            fail<ArgumentError>("transforms: expected at most one mixing transform for a sample, given ", needs.mixes,
                                "; list them in OneOf([...])");
        if (needs.layers > MAX_LAYERS)
            fail<ArgumentError>("transforms: expected at most ", int(MAX_LAYERS), " chains for a sample, given ", needs.layers);
        if (needs.fields > 1)
            fail<ArgumentError>("transforms: expected at most one random field for a sample, given ", needs.fields,
                                "; list them in OneOf([...])");
        if (needs.colors > MAX_STEPS || needs.erases > MAX_STEPS)
            fail<ArgumentError>("transforms: expected at most ", int(MAX_STEPS), " colour and ", int(MAX_STEPS),
                                " erasing steps for a sample, given ", needs.colors, " and ", needs.erases);
        info_ = {};
        info_.slots = int(slots_.size());
        info_.most = needs;
        info_.layer_words = W_HEADER + COLOR_WORDS * needs.colors + ERASE_WORDS * needs.erases + FIELD_WORDS * needs.fields;
        info_.row_words = info_.layer_words * (1 + needs.layers);
        info_.extra = needs.fields > 0;
        info_.ready_planes = needs.wholes > 0;
        for (const Slot& s : slots_) {
            info_.extra = info_.extra || s.op == OP_GAUSSIAN_NOISE;
            info_.shrinks = info_.shrinks || s.op == OP_RESIZEMIX;
            if (s.op == OP_SHARPNESS || s.op == OP_GAUSSIAN_BLUR) info_.ready_planes = std::max(info_.ready_planes, 2);
            if (s.op == OP_CHAINS) info_.ready_planes = 3;
        }
        for (auto& each : ramps) check_ramp(slot_of(each), slots_, dials.size());
        slots_.push_back(Slot{});  // plan_row looks one slot ahead
        for (auto& each : ramps) slots_.push_back(slot_of(each));
        for (int c = 0; c < 4; ++c) {
            scale_[c] = 1.0f / std_[c];
            bias_[c] = -mean_[c] / std_[c];
        }
    }

    py::dict info() const {
        py::dict d;
        d["max_colors"] = info_.most.colors;
        d["max_erases"] = info_.most.erases;
        d["max_wholes"] = info_.most.wholes;
        d["max_fields"] = info_.most.fields;
        d["max_layers"] = info_.most.layers;
        d["mixes"] = bool(info_.most.mixes);
        d["layer_words"] = info_.layer_words;
        d["row_words"] = info_.row_words;
        return d;
    }
    const RecipeInfo& row_info() const { return info_; }
    int row_words() const { return info_.row_words; }
    // Of the int64 memory that planning a row needs beside it.
    int64_t moved_words() const { return ramps_ ? int64_t(info_.slots + 1) * int64_t(sizeof(Slot) / 8) : 0; }
    // Of the memory that rendering on a GPU needs beside the output.
    int64_t ready_floats(int64_t batch, int channels, int h, int w) const {
        return info_.most.wholes ? anamorph::ready_floats(info_.ready_planes, batch, channels, h, w) : 0;
    }

    void plan(py::handle index, uint64_t seed, py::handle epoch, int view, int64_t h, int64_t w, py::handle sizes, int out_h,
              int out_w, py::handle rows, int threads, py::handle boxes, py::handle box_counts, int frames, int change,
              double drift, int views, const std::vector<py::object>& dials, py::handle moved) const {
        Tensor ids(index, "index"), words(rows, "rows");
        ids.need_dims(1, "[B]");
        ids.need_dtype(kDLInt, 64);
        ids.need_device(words);
        ids.need_contiguous();
        PlanArgs a{};
        a.slots = slots_.data();
        a.info = info_;
        a.info.out_h = out_h;
        a.info.out_w = out_w;
        a.index = ids.data<int64_t>();
        a.batch = int(ids.size(0));
        a.seed = seed;
        a.view = uint32_t(view);
        a.frames = frames;
        a.change = Change(change);
        a.drift = drift;
        a.views = views;
        check_frames(frames, a.batch);
        words.need_contiguous();
        if (words.size(0) != int64_t(views) * a.batch)
            fail<ShapeError>("rows: expected ", views, " views of ", a.batch, " samples, given ", words.shape_text());
        a.rows = words.data<int32_t>();
        std::vector<Tensor> schedules;  // kept for the call
        turn(a, dials, moved, words, schedules);
        std::optional<Tensor> cell, each;
        if (PyLong_Check(epoch.ptr())) {
            a.epoch = py::cast<uint32_t>(epoch);
        } else {
            cell.emplace(epoch, "epoch");
            cell->need_dtype(kDLInt, 64);
            cell->need_device(words);
            if (cell->count() != 1) fail<ShapeError>("epoch: expected one number, given shape ", cell->shape_text());
            a.epoch_cell = cell->data<int64_t>();
        }
        if (sizes.is_none()) {
            check_side("size", h, w);
            a.source_h = h;
            a.source_w = w;
        } else {
            each.emplace(sizes, "size");
            each->need_dims(2, "[B, 2]");
            each->need_dtype(kDLInt, 64);
            each->need_device(words);
            each->need_contiguous();
            if (each->size(0) != a.batch || each->size(1) != 2)
                fail<ShapeError>("size: expected [", a.batch, ", 2] for ", a.batch, " samples, given ", each->shape_text());
            a.sizes = each->data<int64_t>();
        }
        std::optional<Tensor> objects, counts;
        if (!boxes.is_none()) {
            objects.emplace(boxes, "boxes");
            objects->need_dims(3, "[B, N, 4]");
            objects->need_dtype(kDLFloat, 32);
            objects->need_device(words);
            objects->need_contiguous();
            if (objects->size(0) != a.batch || objects->size(2) != 4)
                fail<ShapeError>("boxes: expected [", a.batch, ", N, 4], given ", objects->shape_text());
            a.boxes = objects->data<float>();
            a.box_count = int(objects->size(1));
            if (!box_counts.is_none()) {
                counts.emplace(box_counts, "counts");
                counts->need_dtype(kDLInt, 64);
                counts->need_device(words);
                counts->need_contiguous();
                if (counts->count() != a.batch)
                    fail<ShapeError>("counts: expected [", a.batch, "], given ", counts->shape_text());
                a.box_counts = counts->data<int64_t>();
            }
        }
        if (a.sizes && !words.cuda())
            for (int i = 0; i < a.batch; ++i) check_side("size", a.sizes[2 * i], a.sizes[2 * i + 1]);
        run(rows, words, [&](void* stream) { plan_cuda(a, stream); }, [&] { plan_cpu(a, threads); });
    }

    // The dials: numbers, or float32 tensors of one, or of one for each sample (of clips each clip).
    void turn(PlanArgs& a, const std::vector<py::object>& dials, py::handle moved, const Tensor& words,
              std::vector<Tensor>& kept) const {
        if (dials.size() != dials_.size())
            fail<ArgumentError>("dials: expected ", dials_.size(), " numbers or tensors, given ", dials.size());
        a.ramps = ramps_;
        if (!ramps_) return;
        const int64_t samples = a.batch / a.frames;
        for (size_t d = 0; d < dials.size(); ++d) {
            Dial& dial = a.dials[d] = Dial{nullptr, 0, 0.0, dials_[d].first, dials_[d].second};
            if (PyFloat_Check(dials[d].ptr())) {
                dial.value = py::cast<double>(dials[d]);
                continue;
            }
            const Tensor& t = kept.emplace_back(dials[d], "schedule");
            t.need_dtype(kDLFloat, 32);
            t.need_device(words);
            t.need_contiguous();
            if (t.count() != 1 && t.count() != samples)
                fail<ShapeError>("schedule: expected one number, or one for each of ", samples, " samples, given ",
                                 t.shape_text());
            dial.at = t.data<float>();
            dial.stride = t.count() != 1;
        }
        const Tensor& own = kept.emplace_back(moved, "moved");
        own.need_dtype(kDLInt, 64);
        own.need_device(words);
        own.need_contiguous();
        if (own.count() != words.size(0) * moved_words())
            fail<ShapeError>("moved: expected ", words.size(0) * moved_words(), " words, given ", own.shape_text());
        a.moved = reinterpret_cast<Slot*>(own.data<int64_t>());
    }

    // images: [B, H, W, C] or [B, C, H, W] (channels_first), of clips [B, T, ..]; or, with `table` (int64 [3, B]: byte offsets,
    // then the sizes [B, 2]), a buffer or None (the offsets are then addresses) of packed [h, w, channels] pictures of
    // `ragged_dtype`.
    void render(py::handle rows, py::handle images, bool channels_first, py::handle table, int ragged_channels, int ragged_dtype,
                py::handle out, py::handle labels, py::handle target, py::handle target_b, py::handle lam, py::handle mask,
                py::handle mask_lam, py::handle ready, int threads, int frames, int views) const {
        Tensor words(rows, "plan"), result(out, "out");
        RenderArgs a{};
        a.info = info_;
        words.need_dims(2, "[B, words]");
        words.need_dtype(kDLInt, 32);
        words.need_contiguous();
        if (words.cuda()) words.need_aligned(16);  // as long as four words: kernels may read several at once
        if (words.size(1) != info_.row_words)
            fail<ShapeError>("plan: expected rows of ", info_.row_words, " words, given ", words.shape_text());
        a.rows = words.data<int32_t>();
        a.batch = int(words.size(0));
        if (views < 1 || a.batch % views)
            fail<ShapeError>("plan: expected ", views, " views of each sample, given ", words.shape_text());
        const int batch = a.batch / views;
        std::optional<Tensor> source, sizes;
        Images& in = a.in;
        in.batch = batch;
        in.frames = frames;
        check_frames(frames, batch);
        if (!images.is_none()) {
            source.emplace(images, "images");
            source->need_device(words);
            in.data = source->data<uint8_t>();
        }
        if (!table.is_none()) {
            sizes.emplace(table, "sizes");
            sizes->need_device(words);
            in.offsets = sizes->data<int64_t>();
            in.sizes = in.offsets + batch;
            in.channels = ragged_channels;
            in.dtype = ragged_dtype;
        } else {
            const Tensor& t = *source;
            const bool clips = t.view.ndim == 5;
            const int first = clips ? 2 : 1, ch = first + (channels_first ? 0 : 2), y = first + (channels_first ? 1 : 0);
            if (t.size(0) != batch / frames || (clips ? t.size(1) : 1) != frames)
                fail<ShapeError>("images: expected ", batch, " pictures as in the plan, given ", t.shape_text());
            check_side("images", t.size(y), t.size(y + 1));
            in.dtype = dtype_of(t);
            in.channels = int(t.size(ch));
            in.h = int(t.size(y));
            in.w = int(t.size(y + 1));
            in.stride_n = t.stride(0);
            in.stride_t = clips ? t.stride(1) : 0;
            in.stride_c = in.channels == 1 ? 1 : t.stride(ch);  // of a single one it may be anything
            in.stride_h = t.stride(y);
            in.stride_w = t.stride(y + 1);
        }
        if (in.channels < 1 || in.channels > 4) fail<ShapeError>("images: expected 1 to 4 channels, given ", in.channels);
        if (channels_ && in.channels != channels_)
            fail<ShapeError>("images: expected ", channels_, " channels, as many as the recipe's mean, std, fill or value ",
                             "have, given ", in.channels);

        result.need_device(words);
        result.need_dims(4, "[B, C, H, W]");
        if (dtype_of(result) != dtype_) fail<DtypeError>("out: expected the recipe's dtype, given ", result.dtype_text());
        if (result.size(0) != a.batch || result.size(1) != in.channels)
            fail<ShapeError>("out: expected [", a.batch, ", ", in.channels, ", H, W], given ", result.shape_text());
        a.out = result.data<uint8_t>();
        a.out_dtype = dtype_;
        a.out_h = a.info.out_h = int(result.size(2));
        a.out_w = a.info.out_w = int(result.size(3));
        a.out_n = result.stride(0);
        a.out_c = result.stride(1);
        a.out_y = result.stride(2);
        a.out_x = result.stride(3);
        for (int c = 0; c < 4; ++c) {
            a.scale[c] = scale_[c];
            a.bias[c] = bias_[c];
            a.mean[c] = mean_[c];
            a.std[c] = std_[c];
        }

        std::optional<Tensor> truth, t1, t2, t3, m1, m2, m3;
        if (!labels.is_none()) {
            truth.emplace(labels, "targets");
            targets(a, *truth, words, t1.emplace(target, "targets"));
            if (pairs_) {
                a.targets.pair_a = t1->data<int64_t>();
                a.targets.pair_b = t2.emplace(target_b, "targets").data<int64_t>();
                a.targets.pair_lam = t3.emplace(lam, "targets").data<float>();
                a.targets.out = nullptr;
            }
        }
        if (!mask.is_none()) {
            const Tensor& m = m1.emplace(mask, "mask");
            m.need_dims(4, "[B, 1, H, W]");
            m.need_dtype(kDLFloat, 32);
            m.need_device(words);
            if (views > 1) fail<ArgumentError>("mask: expected one view of each sample, given ", views);
            if (m.size(0) != batch || m.size(1) != 1 || m.size(2) != a.out_h || m.size(3) != a.out_w)
                fail<ShapeError>("mask: expected [", batch, ", 1, ", a.out_h, ", ", a.out_w, "], given ", m.shape_text());
            a.mask = m.data<float>();
            a.mask_n = m.stride(0);
            a.mask_y = m.stride(2);
            a.mask_x = m.stride(3);
            a.mask_lam = m2.emplace(mask_lam, "mask").data<float>();
        }
        if (!ready.is_none()) a.ready = m3.emplace(ready, "ready").data<float>();
        run(rows, words, [&](void* stream) { render_cuda(a, stream); }, [&] { render_cpu(a, threads); });
    }

private:
    void targets(RenderArgs& a, const Tensor& labels, const Tensor& words, const Tensor& target) const {
        Targets& t = a.targets;
        const int batch = a.in.batch / a.in.frames;
        labels.need_device(words);
        if (labels.view.ndim < 1 || labels.size(0) != batch)
            fail<ShapeError>("targets: expected ", batch, " rows, one for each ", a.in.frames > 1 ? "clip" : "picture",
                             ", given ", labels.shape_text());
        t.classes = classes_;
        t.smoothing = smoothing_;
        t.off = off_;
        if (labels.view.ndim == 1) {
            labels.need_dtype(kDLInt, 64);
            labels.need_contiguous();
            t.labels = labels.data<int64_t>();
            // On a device the values are not looked at: that would be a host copy. An id out of range is in no class.
            if (!labels.cuda() && !pairs_)
                for (int i = 0; i < batch; ++i)
                    if (t.labels[i] < 0 || t.labels[i] >= classes_)
                        fail<ArgumentError>("targets: expected class ids 0 to ", classes_ - 1, ", given ", t.labels[i], " at ",
                                            i);
        } else {
            labels.need_dims(2, pairs_ ? "[B] for pairs" : "[B] or [B, num_classes]");
            if (pairs_) fail<ShapeError>("targets: expected class ids [B] for labels=\"pairs\", given ", labels.shape_text());
            labels.need_dtype(kDLFloat, 32);
            if (labels.size(1) != classes_ || labels.stride(1) != 1)
                fail<ShapeError>("targets: expected [", batch, ", ", classes_, "], rows packed, given ", labels.shape_text());
            t.soft = labels.data<float>();
            t.soft_stride = labels.stride(0);
        }
        if (!pairs_) t.out = target.data<float>();
    }

    std::vector<Slot> slots_;
    std::vector<std::pair<double, double>> dials_;  // low, high
    int ramps_;
    RecipeInfo info_;
    Floats4 mean_, std_, scale_, bias_;
    int dtype_, channels_, classes_;
    float smoothing_, off_;
    bool pairs_;
};

}  // namespace

void bind_images(py::module_& m) {
    py::class_<Recipe>(m, "Recipe")
        .def(py::init<const std::vector<SlotTuple>&, Floats4, Floats4, int, int, int, float, float, bool,
                      const std::vector<SlotTuple>&, const std::vector<std::pair<double, double>>&>(),
             py::arg("slots"), py::arg("mean"), py::arg("std"), py::arg("dtype"), py::arg("channels"), py::arg("classes"),
             py::arg("smoothing"), py::arg("off"), py::arg("pairs"), py::arg("ramps") = std::vector<SlotTuple>{},
             py::arg("dials") = std::vector<std::pair<double, double>>{})
        .def("info", &Recipe::info)
        .def_property_readonly("row_words", &Recipe::row_words)
        .def_property_readonly("moved_words", &Recipe::moved_words)
        .def("ready_floats", &Recipe::ready_floats)
        .def("plan", &Recipe::plan, py::arg("index"), py::arg("seed"), py::arg("epoch"), py::arg("view"), py::arg("h"),
             py::arg("w"), py::arg("sizes"), py::arg("out_h"), py::arg("out_w"), py::arg("rows"), py::arg("threads"),
             py::arg("boxes") = py::none(), py::arg("counts") = py::none(), py::arg("frames") = 1, py::arg("change") = 0,
             py::arg("drift") = 0.0, py::arg("views") = 1, py::arg("dials") = std::vector<py::object>{},
             py::arg("moved") = py::none())
        .def("render", &Recipe::render)
        .def("carry", [](const Recipe& r, py::args args) { carry_planes(r.row_info(), args); })
        .def("boxes", [](const Recipe& r, py::args args) { carry_boxes(r.row_info(), args); })
        .def("points", [](const Recipe& r, py::args args) { carry_points(r.row_info(), args); });
    m.def("new_images", [](py::handle like, int64_t b, int64_t c, int64_t h, int64_t w, int dtype, bool channels_last) {
        const DLType types[] = {{kDLUInt, 8, 1}, {kDLFloat, 32, 1}, {kDLFloat, 16, 1}, {kDLBfloat, 16, 1}};  // by Dtype
        return new_host_tensor(like, {b, c, h, w}, types[dtype], channels_last);
    });
    py::dict words;
    // clang-format off
#define AM_WORD(name) words[#name] = int(W_##name)
    AM_WORD(MATRIX); AM_WORD(RECT); AM_WORD(REACH); AM_WORD(FRAME); AM_WORD(SLOPE); AM_WORD(FOLD); AM_WORD(FILTER); AM_WORD(FLAGS); AM_WORD(SOURCE); AM_WORD(FILL); AM_WORD(FILL_STEP);
    AM_WORD(MIX); AM_WORD(PARTNER); AM_WORD(PARTNER_ID); AM_WORD(LAM); AM_WORD(BOX); AM_WORD(COLORS); AM_WORD(ERASES);
    AM_WORD(VIEW); AM_WORD(HEADER);
#undef AM_WORD
    // clang-format on
    m.attr("WORDS") = words;
    m.attr("COLOR_WORDS") = int(COLOR_WORDS);
    m.attr("ERASE_WORDS") = int(ERASE_WORDS);
    m.attr("FIELD_WORDS") = int(FIELD_WORDS);
    py::dict field;
    // clang-format off
#define AM_WORD(name) field[#name] = int(F_##name)
    AM_WORD(KEY); AM_WORD(FLAGS); AM_WORD(KNOTS); AM_WORD(OFFSET); AM_WORD(SIZE); AM_WORD(SIGMA); AM_WORD(AFTER);
#undef AM_WORD
    // clang-format on
    m.attr("FIELD") = field;
    m.attr("MAX_KNOTS") = int(MAX_KNOTS);
    m.attr("MAX_LAYERS") = int(MAX_LAYERS);
    m.attr("MAX_DIALS") = int(MAX_DIALS);
    m.attr("MAX_BLUR") = int(MAX_BLUR);
    py::dict ops;
    py::set colors, geometry;
    for (const OpLine& o : OPS) {
        ops[o.name] = int(o.code);
        if (o.kind == Kind::COLOR) colors.add(int(o.code));
        if (o.kind == Kind::GEOMETRY) geometry.add(int(o.code));
    }
    m.attr("COLOR_OPS") = py::frozenset(colors);
    m.attr("GEOMETRY_OPS") = py::frozenset(geometry);
    m.attr("MAX_SIDE") = int(MAX_SIDE);
    m.attr("MAX_WORD") = MAX_WORD;
    m.attr("OPS") = ops;
}

}  // namespace anamorph
