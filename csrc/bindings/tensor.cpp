#include "tensor.h"

#include <algorithm>

#include "../core/host_memory.h"

namespace anamorph {
namespace {

// The exchange table of a tensor's type (torch 2.10 and later): a few nanoseconds instead of a Python call. The last
// type seen is remembered; types live as long as the interpreter, or long enough for their address not to matter.
const DLExchangeApi* exchange_of(PyTypeObject* type) {
    static PyTypeObject* known = nullptr;  // guarded by the GIL
    static const DLExchangeApi* table = nullptr;
    if (type == known) return table;
    const DLExchangeApi* found = nullptr;
    PyObject* capsule = PyObject_GetAttrString(reinterpret_cast<PyObject*>(type), "__dlpack_c_exchange_api__");
    if (!capsule) PyErr_Clear();
    else if (PyCapsule_IsValid(capsule, "dlpack_exchange_api"))
        found = static_cast<const DLExchangeApi*>(PyCapsule_GetPointer(capsule, "dlpack_exchange_api"));
    Py_XDECREF(capsule);
    if (found && (found->header.version.major != 1 || !found->view_object)) found = nullptr;
    Py_INCREF(type);
    Py_XDECREF(known);
    known = type;
    return table = found;
}

// The text of the Python error that is set, which is cleared.
std::string python_error() {
    py::error_already_set error;
    return error.what();
}

const char* type_name(py::handle object) { return Py_TYPE(object.ptr())->tp_name; }

}  // namespace

bool look_at(py::handle object, DLTensor& view) {
    const DLExchangeApi* api = exchange_of(Py_TYPE(object.ptr()));
    if (!api) return false;
    if (api->view_object(object.ptr(), &view) == 0) return true;
    PyErr_Clear();
    return false;
}

Tensor::Tensor(py::handle object, const char* argument) : name(argument) {
    if (const DLExchangeApi* api = exchange_of(Py_TYPE(object.ptr()))) {
        if (api->view_object(object.ptr(), &view) != 0) {
            std::string why = PyErr_Occurred() ? python_error() : "its library gave no reason";
            fail<ArgumentError>(name, ": this ", type_name(object), " cannot be read as a plain strided tensor (", why, ")");
        }
    } else {
        PyObject* capsule = PyObject_CallMethod(object.ptr(), "__dlpack__", nullptr);
        if (!capsule) fail<ArgumentError>(name, ": expected a tensor, given ", type_name(object), " (", python_error(), ")");
        keep = py::reinterpret_steal<py::object>(capsule);
        if (!PyCapsule_IsValid(capsule, "dltensor"))
            fail<ArgumentError>(name, ": expected a tensor, given ", type_name(object), " with an unknown DLPack version");
        view = static_cast<DLManagedTensor*>(PyCapsule_GetPointer(capsule, "dltensor"))->dl_tensor;
    }
    if (!view.data && count() > 0)
        fail<ArgumentError>(name, ": this ", type_name(object), " has no memory (a fake or meta tensor?)");
    DLDeviceType where = view.device.device_type;
    if (where != kDLCPU && where != kDLCUDAHost && !cuda())
        fail<DeviceError>(name, ": expected a tensor on a CPU or a CUDA device, given DLPack device type ", int(where));
    if (cuda()) need_aligned(view.dtype.bits / 8);
}

int64_t Tensor::stride(int axis) const {
    if (view.strides) return view.strides[axis];
    int64_t s = 1;
    for (int i = view.ndim - 1; i > axis; --i) s *= view.shape[i];
    return s;
}
int64_t Tensor::count() const {
    int64_t n = 1;
    for (int i = 0; i < view.ndim; ++i) n *= view.shape[i];
    return n;
}
bool Tensor::contiguous() const {
    if (!view.strides || count() == 0) return true;
    int64_t expected = 1;
    for (int i = view.ndim - 1; i >= 0; --i) {
        if (view.shape[i] != 1 && view.strides[i] != expected) return false;
        expected *= view.shape[i];
    }
    return true;
}

std::string Tensor::shape_text() const {
    std::ostringstream s;
    s << "[";
    for (int i = 0; i < view.ndim; ++i) s << (i ? ", " : "") << view.shape[i];
    s << "]";
    return s.str();
}
static std::string dtype_name(uint8_t code, int bits) {
    const char* kind = code == kDLInt       ? "int"
                       : code == kDLUInt    ? "uint"
                       : code == kDLFloat   ? "float"
                       : code == kDLBfloat  ? "bfloat"
                       : code == kDLComplex ? "complex"
                       : code == kDLBool    ? "bool"
                                            : "type";
    return code == kDLBool ? kind : kind + std::to_string(bits);
}
std::string Tensor::dtype_text() const { return dtype_name(view.dtype.code, view.dtype.bits); }
std::string Tensor::device_text() const { return cuda() ? "cuda:" + std::to_string(view.device.device_id) : "cpu"; }

void Tensor::need_dims(int dims, const char* expected) const {
    if (view.ndim != dims) fail<ShapeError>(name, ": expected shape ", expected, ", given ", shape_text());
}
void Tensor::need_dtype(uint8_t code, int bits) const {
    if (!is(code, bits)) fail<DtypeError>(name, ": expected ", dtype_name(code, bits), ", given ", dtype_text());
}
void Tensor::need_device(const Tensor& other) const {
    if (cuda() != other.cuda() || (cuda() && view.device.device_id != other.view.device.device_id))
        fail<DeviceError>(name, ": expected on ", other.device_text(), " like ", other.name, ", given on ", device_text());
}
void Tensor::need_contiguous() const {
    if (!contiguous()) fail<ArgumentError>(name, ": expected a contiguous tensor, given strides of a view");
}
void Tensor::need_aligned(int bytes) const {
    const auto past = bytes > 1 ? reinterpret_cast<uintptr_t>(data<char>()) % unsigned(bytes) : 0;
    if (past)
        fail<ArgumentError>(name, ": expected memory at a multiple of ", bytes, " bytes on a GPU, given an address ", past,
                            " past one; .clone() has memory of its own");
}

py::object new_host_tensor(py::handle like, const int64_t (&shape)[4], DLType dtype, bool channels_last) {
    const DLExchangeApi* api = exchange_of(Py_TYPE(like.ptr()));
    if (!api || !api->to_object) return py::none();
    struct Owned {
        DLManagedTensorVersioned tensor;
        int64_t shape[4], strides[4];
    };
    int64_t c = shape[1], h = shape[2], w = shape[3];
    auto* owned = new Owned{};
    const int64_t strides[] = {c * h * w, channels_last ? 1 : h * w, channels_last ? w * c : w, channels_last ? c : 1};
    std::copy(shape, shape + 4, owned->shape);
    std::copy(strides, strides + 4, owned->strides);
    owned->tensor.version = {1, 0};
    owned->tensor.deleter = [](DLManagedTensorVersioned* t) {
        give_memory(t->dl_tensor.data);
        delete reinterpret_cast<Owned*>(t);
    };
    try {
        owned->tensor.dl_tensor = {
            take_memory(size_t(shape[0] * c * h * w) * dtype.bits / 8), {kDLCPU, 0}, 4, dtype, owned->shape, owned->strides, 0};
    } catch (...) {
        delete owned;
        throw;
    }
    void* object = nullptr;
    if (api->to_object(&owned->tensor, &object) != 0) throw py::error_already_set();  // which has taken the tensor
    return py::reinterpret_steal<py::object>(static_cast<PyObject*>(object));
}

void* current_stream(py::handle object, const Tensor& tensor) {
    const DLExchangeApi* api = exchange_of(Py_TYPE(object.ptr()));
    if (api && api->current_stream) {
        void* stream = nullptr;
        if (api->current_stream(DEVICE, tensor.view.device.device_id, &stream) != 0) throw py::error_already_set();
        return stream;
    }
    py::object stream = py::module_::import("torch").attr("cuda").attr("current_stream")(tensor.view.device.device_id);
    return reinterpret_cast<void*>(stream.attr("cuda_stream").cast<uintptr_t>());
}

}  // namespace anamorph
