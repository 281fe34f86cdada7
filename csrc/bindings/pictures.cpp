// A list of pictures of different sizes: what is wrong with it and the table by which render finds them, in one pass; and
// the pictures of such a table laid into one buffer.
#include <cstring>

#include "../images/program.h"
#include "family.h"
#include "tensor.h"

namespace anamorph {
namespace {

enum Layout { EITHER, HWC, CHW };

bool same(DLType a, DLType b) { return a.code == b.code && a.bits == b.bits && a.lanes == b.lanes; }
bool same(DLDevice a, DLDevice b) { return a.device_type == b.device_type && a.device_id == b.device_id; }
bool is_channels(int64_t n) { return n >= 1 && n <= 4; }

// Whether a new reference, which is taken, is to `value`; an error is to nothing.
bool is(PyObject* taken, PyObject* value) {
    if (!taken) PyErr_Clear();
    Py_XDECREF(taken);
    return taken == value;
}

// Whether pixels may be read where `view` says, and nothing has to be asked or done before.
bool plain(py::handle image, DLTensor& view) {
    static PyObject* const gradient = PyUnicode_InternFromString("requires_grad");
    static PyObject* const negated = PyUnicode_InternFromString("is_neg");  // noted on the tensor, not done in its memory
    constexpr DLType PIXELS[] = {{kDLUInt, 8, 1}, {kDLFloat, 32, 1}, {kDLFloat, 16, 1}, {kDLBfloat, 16, 1}};
    if (!look_at(image, view)) return false;
    const DLDeviceType where = view.device.device_type;
    bool pixels = false;
    for (DLType type : PIXELS) pixels = pixels || same(view.dtype, type);
    if (!pixels || !view.data || (where != kDLCPU && where != DEVICE)) return false;
    const auto address = reinterpret_cast<uintptr_t>(view.data) + view.byte_offset;
    const bool aligned = where != DEVICE || address % (view.dtype.bits / 8u) == 0;
    return aligned && is(PyObject_GetAttr(image.ptr(), gradient), Py_False) &&
           is(PyObject_CallMethodNoArgs(image.ptr(), negated), Py_False);
}

[[noreturn]] void wrong_shape(int64_t i, const Tensor& t, Layout layout) {
    const char* expected = layout == EITHER ? "[H, W, C] or [C, H, W]" : layout == HWC ? "[H, W, C]" : "[C, H, W]";
    bool other = layout != EITHER && t.view.ndim == 3 && is_channels(t.size(layout == HWC ? 0 : 2));
    fail<ShapeError>("images[", i, "]: expected ", expected, " with 1 to 4 channels, given ", t.shape_text(),
                     other ? "; without layout= both are told apart" : "");
}

// Fills `table` (int64 [3, B]) with the pictures' addresses, then their (height, width), and gives their tensors, [H, W, C]
// without gaps in the list's memory or in a copy, and their channels. `read(i)` makes a plain tensor of what is none.
py::tuple pictures(const py::sequence& images, const py::function& read, int given, py::handle table) {
    const auto layout = Layout(given);
    const int64_t count = int64_t(images.size());
    Tensor words(table, "table");
    if (words.count() != 3 * count) fail<ShapeError>("table: expected ", 3 * count, " words, given ", words.shape_text());
    int64_t* address = words.data<int64_t>();
    int64_t* size = address + count;
    py::list tensors(count);
    DLTensor first{};
    int64_t channels = 0;
    for (int64_t i = 0; i < count; ++i) {
        py::object image = images[size_t(i)];
        py::object capsule;  // of what has no exchange table
        DLTensor view;
        if (!plain(image, view)) {
            image = read(i);
            const std::string name = "images[" + std::to_string(i) + "]";
            Tensor t(image, name.c_str());
            view = t.view;
            capsule = t.keep;
        }
        const bool turned =
            layout == CHW || (layout == EITHER && view.ndim == 3 && !is_channels(view.shape[2]) && is_channels(view.shape[0]));
        const int y = turned ? 1 : 0, x = y + 1, c = turned ? 0 : 2;
        if (view.ndim != 3 || !is_channels(view.shape[c]) || !view.shape[y] || !view.shape[x])
            wrong_shape(i, Tensor(image, "images"), layout);
        const int64_t h = view.shape[y], w = view.shape[x], n = view.shape[c];
        if (h > MAX_SIDE || w > MAX_SIDE)
            fail<ShapeError>("images[", i, "]: expected sides of 1 to ", int(MAX_SIDE), " pixels, given ", h, " x ", w);
        if (!i) {
            first = view;
            channels = n;
        }
        if (!same(view.dtype, first.dtype))
            fail<DtypeError>("images[", i, "]: expected ", Tensor(tensors[0], "images").dtype_text(),
                             " as the first picture, given ", Tensor(image, "images").dtype_text());
        if (n != channels) fail<ShapeError>("images[", i, "]: expected ", channels, " channels as the first picture, given ", n);
        if (!same(view.device, first.device))
            fail<DeviceError>("images[", i, "]: expected on ", Tensor(tensors[0], "images").device_text(),
                              " as the first picture, given on ", Tensor(image, "images").device_text());

        const int64_t* s = view.strides;
        const bool packed = s ? (n == 1 || s[c] == 1) && (w == 1 || s[x] == n) && (h == 1 || s[y] == w * n) : !turned;
        if (turned) image = image.attr("permute")(1, 2, 0);
        if (!packed) {
            image = image.attr("contiguous")();
            view = Tensor(image, "images").view;
        }
        address[i] = int64_t(reinterpret_cast<intptr_t>(view.data)) + int64_t(view.byte_offset);
        size[2 * i] = h;
        size[2 * i + 1] = w;
        tensors[size_t(i)] = image;
    }
    return py::make_tuple(tensors, channels);
}

// Whether the tensors still lie where the table says.
void check(const py::sequence& tensors, py::handle table) {
    Tensor words(table, "table");
    const int64_t count = words.count() / 3;
    const int64_t *address = words.data<int64_t>(), *size = address + count;
    for (int64_t i = 0; i < count; ++i) {
        const Tensor t(tensors[size_t(i)], "images");
        if (int64_t(reinterpret_cast<intptr_t>(t.data<char>())) != address[i] || t.view.ndim != 3 || t.size(0) != size[2 * i] ||
            t.size(1) != size[2 * i + 1])
            fail<ArgumentError>("images[", i,
                                "]: expected the memory that it had when the list was read, given a tensor that has ",
                                "been moved since");
    }
}

// Copies the pictures of a table of addresses on the host, of `pixel` bytes a pixel, one after the other to `buffer`; the table
// then says where in it they begin.
void pack(py::handle table, int64_t pixel, py::handle buffer) {
    Tensor words(table, "table"), to(buffer, "buffer");
    const int64_t count = words.count() / 3;
    int64_t* address = words.data<int64_t>();
    const int64_t* size = address + count;
    char* out = to.data<char>();
    int64_t bytes = 0;
    for (int64_t i = 0; i < count; ++i) bytes += size[2 * i] * size[2 * i + 1] * pixel;
    if (bytes != to.count()) fail<ShapeError>("buffer: expected ", bytes, " bytes, given ", to.count());
    py::gil_scoped_release free;
    for (int64_t i = 0, at = 0; i < count; ++i) {
        bytes = size[2 * i] * size[2 * i + 1] * pixel;
        std::memcpy(out + at, reinterpret_cast<const char*>(intptr_t(address[i])), size_t(bytes));
        address[i] = at;
        at += bytes;
    }
}

}  // namespace

void bind_pictures(py::module_& m) {
    m.def("pictures", &pictures);
    m.def("check_pictures", &check);
    m.def("pack", &pack);
}

}  // namespace anamorph
