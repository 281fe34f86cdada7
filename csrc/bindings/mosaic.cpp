// Mosaics: draws on the host, the pixels' launch, the masks' launch. The package has checked what a user gives; what is checked here
// is that kernels stay inside the tensors.
#include <pybind11/stl.h>

#include <array>
#include <optional>

#include "../images/mosaic_draw.h"
#include "family.h"
#include "levels.h"

namespace anamorph { namespace mosaic { namespace {

constexpr int64_t WORDS = sizeof(Sample) / 8;

void bind_draw(py::handle index, uint64_t seed, uint32_t epoch, py::handle sizes, int size, std::array<double, 10> rules,
               bool resize, py::handle samples) {
    const Tensor ids(index, "index");
    const int64_t batch = ids.size(0);
    Rules r{};
    r.size = size;
    r.p = rules[0];
    std::copy_n(&rules[1], 2, r.center);
    std::copy_n(&rules[3], 2, r.scale);
    std::copy_n(&rules[5], 2, r.degrees);
    std::copy_n(&rules[7], 2, r.shear);
    r.translate = rules[9];
    r.resize = resize;
    draw(plain(index, "index", kDLInt, 64, batch).data<int64_t>(), int(batch), seed, epoch,
         plain(sizes, "sizes", kDLInt, 64, 2 * batch).data<int64_t>(), r,
         plain(samples, "samples", kDLInt, 64, batch * WORDS).data<Sample>());
}

// images: [B, H, W, C] or [B, C, H, W] (channels_first); or, with `table` (int64 [3, B]: byte offsets, then the sizes [B, 2]), a
// buffer or None (the offsets are then addresses) of packed [h, w, channels] pictures of the dtype.
void bind_pixels(py::handle images, bool channels_first, py::handle table, int channels, int dtype, py::handle samples,
                 py::handle out, std::array<float, 4> fill, int threads) {
    const Tensor result(out, "out");
    result.need_dims(4, "[B, C, size, size]");
    MosaicArgs a{};
    a.out = pixels(result);
    a.size = int32_t(result.size(2));
    std::copy(fill.begin(), fill.end(), a.fill);
    Images& in = a.in;
    in.batch = int32_t(result.size(0));
    const Tensor drawn = plain(samples, "samples", kDLInt, 64, in.batch * WORDS);
    drawn.need_device(result);
    a.samples = drawn.data<Sample>();
    std::optional<Tensor> source, sizes;
    if (!images.is_none()) {
        source.emplace(images, "images").need_device(result);
        in.data = source->data<uint8_t>();
    }
    if (!table.is_none()) {
        sizes.emplace(plain(table, "sizes", kDLInt, 64, 3 * int64_t(in.batch))).need_device(result);
        in.offsets = sizes->data<int64_t>();
        in.sizes = in.offsets + in.batch;
        in.channels = channels;
        in.dtype = dtype;
    } else {
        source->need_dims(4, "[B, H, W, C] or [B, C, H, W]");
        const int ch = channels_first ? 1 : 3, y = channels_first ? 2 : 1;
        in.dtype = dtype_of(*source);
        in.channels = int32_t(source->size(ch));
        in.h = int32_t(source->size(y));
        in.w = int32_t(source->size(y + 1));
        in.stride_n = source->stride(0);
        in.stride_c = in.channels == 1 ? 1 : source->stride(ch);  // of a single one it may be anything
        in.stride_h = source->stride(y);
        in.stride_w = source->stride(y + 1);
    }
    if (in.channels < 1 || in.channels > 4 || result.size(1) != in.channels || result.size(3) != a.size)
        fail<ShapeError>("out: expected [B, ", in.channels, ", size, size] of 1 to 4 channels, given ", result.shape_text());
    if (dtype_of(result) != in.dtype) fail<DtypeError>("out: expected the pictures' dtype, given ", result.dtype_text());
    run(out, result, [&](void* stream) { mosaic_cuda(a, stream); }, [&] { mosaic_cpu(a, threads); });
}

void bind_masks(py::handle masks, py::handle rows, py::handle samples, py::handle out, int threads) {
    const Tensor given(masks, "masks"), result(out, "out"), drawn(samples, "samples");
    result.need_dims(3, "[N, size, size]");
    MaskArgs a{};
    a.count = int32_t(result.size(0));
    a.size = int32_t(result.size(1));
    if (!a.count) return;
    a.out = plain(out, "out", kDLUInt, 8, int64_t(a.count) * a.size * a.size).data<uint8_t>();
    a.masks = plain(masks, "masks", kDLUInt, 8, given.count()).data<uint8_t>();
    a.samples = plain(samples, "samples", kDLInt, 64, drawn.count()).data<Sample>();
    const Tensor table = plain(rows, "rows", kDLInt, 64, a.count * int64_t(sizeof(MaskRow) / 8));
    a.rows = table.data<MaskRow>();
    for (const Tensor* t : {&given, &drawn, &table}) t->need_device(result);
    run(out, result, [&](void* stream) { masks_cuda(a, stream); }, [&] { masks_cpu(a, threads); });
}

}}}  // namespace anamorph::mosaic

namespace anamorph {

void bind_mosaic(py::module_& m) {
    m.def("mosaic_draw", &mosaic::bind_draw);
    m.def("mosaic_pixels", &mosaic::bind_pixels);
    m.def("mosaic_masks", &mosaic::bind_masks);
}

}  // namespace anamorph
