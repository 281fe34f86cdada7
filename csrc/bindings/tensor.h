// A tensor of the caller's, seen through DLPack and borrowed for the length of a call: no copy, no link to libtorch.
#pragma once
#include <pybind11/pybind11.h>
#include "../core/dlpack.h"
#include "../core/errors.h"

namespace anamorph {
namespace py = pybind11;

// Where the CUDA kernels find their tensors. The emulation of tests/emulation runs them on the host's memory.
#if defined(AM_EMULATED)
constexpr DLDeviceType DEVICE = kDLCPU;
#else
constexpr DLDeviceType DEVICE = kDLCUDA;
#endif

struct Tensor {
    DLTensor view;
    const char* name;  // of the argument, for messages
    py::object keep;   // the DLPack capsule, where the library has no exchange table

    Tensor(py::handle object, const char* argument);

    bool cuda() const { return view.device.device_type == DEVICE || view.device.device_type == kDLCUDAManaged; }
    int64_t size(int axis) const { return view.shape[axis]; }
    int64_t stride(int axis) const;
    int64_t count() const;
    bool contiguous() const;
    bool is(uint8_t code, int bits) const { return view.dtype.code == code && view.dtype.bits == bits && view.dtype.lanes == 1; }
    template <class T> T* data() const { return reinterpret_cast<T*>(static_cast<char*>(view.data) + view.byte_offset); }
    std::string shape_text() const;   // "[4, 8, 8, 3]"
    std::string dtype_text() const;   // "uint8"
    std::string device_text() const;  // "cuda:0"

    // Named errors.
    void need_dims(int dims, const char* expected) const;
    void need_dtype(uint8_t code, int bits) const;
    void need_device(const Tensor& other) const;
    void need_contiguous() const;
    void need_aligned(int bytes) const;  // what a GPU reads whole lies at a multiple of its size, or the kernel fails
};

// A tensor through its library's exchange table, borrowed while the object lives; false where that cannot be.
bool look_at(py::handle object, DLTensor& view);

// A new tensor [B, C, H, W] of the library of `like`, on the host, in memory that is kept when it is freed (host_memory.h).
// None where that library has no exchange table.
py::object new_host_tensor(py::handle like, const int64_t (&shape)[4], DLType dtype, bool channels_last);

// The stream on which work for a CUDA tensor is to be queued: the caller's current one.
void* current_stream(py::handle object, const Tensor& tensor);

}  // namespace anamorph
