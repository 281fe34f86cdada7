// Copy-paste: draws on the host, the composite's launch, the masks' launch. The package has checked what a user gives; what is
// checked here is that kernels stay inside the tensors.
#include <pybind11/stl.h>

#include <array>
#include <optional>
#include <tuple>

#include "../core/exact_math.h"
#include "../images/paste.h"
#include "../images/paste_draw.h"
#include "family.h"
#include "levels.h"

namespace anamorph { namespace paste { namespace {

// A contiguous tensor as an array of structs of int32, any number of them.
template <class T> int64_t structs(const Tensor& t) {
    t.need_dtype(kDLInt, 32);
    t.need_contiguous();
    const int64_t words = sizeof(T) / 4;
    if (t.count() % words) fail<ShapeError>(t.name, ": expected rows of ", words, " numbers, given ", t.shape_text());
    return t.count() / words;
}

Batch batch_of(const Tensor& index, uint64_t seed, uint32_t epoch) {
    index.need_dims(1, "[B]");
    index.need_dtype(kDLInt, 64);
    index.need_contiguous();
    return {index.data<int64_t>(), int32_t(index.size(0)), seed, epoch};
}

CompositeArgs composite_of(const Tensor& images, const Tensor& out) {
    images.need_dims(4, "[B, C, H, W]");
    out.need_dims(4, "[B, C, H, W]");
    out.need_device(images);
    for (int axis = 0; axis < 4; ++axis)
        if (out.size(axis) != images.size(axis))
            fail<ShapeError>("out: expected ", images.shape_text(), ", given ", out.shape_text());
    if (dtype_of(out) != dtype_of(images)) fail<DtypeError>("out: expected ", images.dtype_text(), ", given ", out.dtype_text());
    return {pixels(images),          pixels(out),
            dtype_of(images),        int32_t(images.size(0)),
            int32_t(images.size(1)), int32_t(images.size(2)),
            int32_t(images.size(3))};
}

void bind_choose(py::handle index, uint64_t seed, uint32_t epoch, py::handle counts, double p, py::handle chosen) {
    const Tensor ids(index, "index");
    const Batch of = batch_of(ids, seed, epoch);
    const Tensor numbers = plain(counts, "counts", kDLInt, 32, of.batch);
    int64_t sum = 0;
    for (int i = 0; i < of.batch; ++i) sum += numbers.data<int32_t>()[i];
    choose(of, numbers.data<int32_t>(), p, plain(chosen, "chosen", kDLUInt, 8, sum).data<uint8_t>());
}

void bind_place(py::handle index, uint64_t seed, uint32_t epoch, std::pair<int, int> count, std::pair<int, int> size,
                py::handle first, py::handle sizes, py::handle cutouts, std::array<double, 4> rules, int least_side,
                py::handle numbers, py::handle placements) {
    const Tensor ids(index, "index"), table(cutouts, "cutouts"), ranges(first, "first");
    const Batch of = batch_of(ids, seed, epoch);
    structs<Cutout>(table);
    Rules r{};
    std::tie(r.least, r.most) = count;
    std::tie(r.height, r.width) = size;
    r.first = ranges.data<int32_t>();
    r.categories = int32_t(structs<int32_t>(ranges)) - 1;
    r.sizes = plain(sizes, "sizes", kDLFloat, 64, 2 * r.categories).data<double>();
    r.cutouts = table.data<Cutout>();
    r.smallest = rules[0];
    r.largest = rules[1];
    r.aspect = rules[2];
    r.flip = rules[3];
    r.least_side = least_side;
    const int64_t words = sizeof(Placement) / 4;
    place(of, r, plain(numbers, "numbers", kDLInt, 32, of.batch).data<int32_t>(),
          plain(placements, "placements", kDLInt, 32, of.batch * r.most * words).data<Placement>());
}

std::optional<std::array<int32_t, 4>> bind_part(py::handle texels, int threshold) {
    const Tensor t(texels, "cutout");
    t.need_dims(3, "[H, W, 4]");
    plain(texels, "cutout", kDLUInt, 8, t.size(0) * t.size(1) * 4);
    int32_t box[4];
    if (!largest_part(t.data<Texel>(), int(t.size(0)), int(t.size(1)), threshold, box)) return std::nullopt;
    return std::array<int32_t, 4>{box[0], box[1], box[2], box[3]};
}

void bind_cutouts(py::handle images, py::handle out, py::handle texels, py::handle cutouts, py::handle placements,
                  py::handle first, py::handle masks, std::array<float, 3> scale, std::array<float, 3> bias, int threads) {
    const Tensor in(images, "images"), result(out, "out"), pool(texels, "texels"), table(cutouts, "cutouts"),
        places(placements, "placements"), planes(masks, "masks");
    const CompositeArgs a = composite_of(in, result);
    if (a.channels != 3) fail<ShapeError>("images: expected 3 channels, given ", a.channels);
    CutoutArgs c{};
    c.texels = plain(texels, "texels", kDLUInt, 8, pool.count()).data<Texel>();
    structs<Cutout>(table);
    structs<Placement>(places);
    c.cutouts = table.data<Cutout>();
    c.placements = places.data<Placement>();
    const Tensor ranges = plain(first, "first", kDLInt, 32, a.batch + 1);
    c.first = ranges.data<int32_t>();
    c.masks = plain(masks, "masks", kDLUInt, 8, planes.count()).data<uint8_t>();
    for (const Tensor* t : {&pool, &table, &places, &planes, &ranges}) t->need_device(in);
    std::copy(scale.begin(), scale.end(), c.scale);
    std::copy(bias.begin(), bias.end(), c.bias);
    run(images, in, [&](void* stream) { composite_cuda(a, c, stream); }, [&] { composite_cpu(a, c, threads); });
}

void bind_partners(py::handle images, py::handle out, py::handle partner, py::handle front, int size, double sigma, int threads) {
    const Tensor in(images, "images"), result(out, "out");
    const CompositeArgs a = composite_of(in, result);
    const int64_t plane = int64_t(a.height) * a.width;
    const Tensor with = plain(partner, "partner", kDLInt, 32, a.batch),
                 where = plain(front, "front", kDLUInt, 8, a.batch * plane);
    with.need_device(in);
    where.need_device(in);
    PartnerArgs p{with.data<int32_t>(), where.data<uint8_t>(), {}, size / 2};
    if (p.reach > MAX_REACH) fail<ArgumentError>("blur: expected at most ", 2 * MAX_REACH + 1, " taps, given ", size);
    double taps[MAX_REACH + 1], sum = 0.0;
    for (int i = 0; i <= p.reach; ++i) {
        taps[i] = i ? exact::exp(-0.5 * i * i / (sigma * sigma)) : 1.0;
        sum += i ? 2.0 * taps[i] : 1.0;
    }
    for (int i = 0; i <= p.reach; ++i) p.taps[i] = float(taps[i] / sum);
    run(images, in, [&](void* stream) { composite_cuda(a, p, stream); }, [&] { composite_cpu(a, p, threads); });
}

void bind_objects(py::handle masks, py::handle objects, py::handle first, py::handle out, py::handle extents, py::handle front,
                  int threads) {
    const Tensor given(masks, "masks"), result(out, "masks"), list(objects, "objects"), ranges(first, "first");
    result.need_dims(3, "[N, H, W]");
    ObjectArgs a{};
    a.height = int32_t(result.size(1));
    a.width = int32_t(result.size(2));
    a.batch = int32_t(structs<int32_t>(ranges)) - 1;
    a.masks = plain(masks, "masks", kDLUInt, 8, given.count()).data<uint8_t>();
    a.out = plain(out, "masks", kDLUInt, 8, result.count()).data<uint8_t>();
    if (structs<Object>(list) != result.size(0))
        fail<ShapeError>("objects: expected ", result.size(0), ", given ", list.shape_text());
    a.objects = list.data<Object>();
    a.first = ranges.data<int32_t>();
    const Tensor found = plain(extents, "extents", kDLInt, 32, result.size(0) * 2 * int64_t(sizeof(Extent) / 4));
    a.extents = found.data<Extent>();
    std::optional<Tensor> where;
    if (!front.is_none()) {
        where.emplace(plain(front, "front", kDLUInt, 8, int64_t(a.batch) * a.height * a.width));
        a.front = where->data<uint8_t>();
        where->need_device(result);
    }
    for (const Tensor* t : {&given, &list, &ranges, &found}) t->need_device(result);
    run(out, result, [&](void* stream) { objects_cuda(a, stream); }, [&] { objects_cpu(a, threads); });
}

}}}  // namespace anamorph::paste

namespace anamorph {

void bind_paste(py::module_& m) {
    m.def("paste_choose", &paste::bind_choose);
    m.def("paste_place", &paste::bind_place);
    m.def("paste_part", &paste::bind_part);
    m.def("paste_cutouts", &paste::bind_cutouts);
    m.def("paste_partners", &paste::bind_partners);
    m.def("paste_objects", &paste::bind_objects);
    m.attr("MAX_BLENDED") = 2 * int(paste::MAX_REACH) + 1;
}

}  // namespace anamorph
