// run(object, tensor, f, g): where the tensors are, there it is done; on_cuda(object, tensor, f): where kernels are launched.
#pragma once
#include "../core/device.h"
#include "tensor.h"

namespace anamorph {

// f(stream), which launches kernels: on the tensors' device, and on the caller's stream there. Without the interpreter's lock, for a
// launch waits where the device's queue is full; the stream is fetched with it.
template <class F> void on_cuda([[maybe_unused]] py::handle object, const Tensor& t, [[maybe_unused]] const F& f) {
#if defined(AM_CUDA)
    void* stream = current_stream(object, t);
    py::gil_scoped_release free;
    OnDevice here(t.view.device.device_id);
    f(stream);
#else
    fail<DeviceError>("device: expected the CPU, because this build of anamorph has no CUDA code (ANAMORPH_CUDA=on builds it), ",
                      "given ", t.device_text());
#endif
}

// f(stream) on a GPU, g() on a CPU.
template <class F, class G> void run(py::handle object, const Tensor& t, const F& on_gpu, const G& on_cpu) {
    if (t.cuda()) return on_cuda(object, t, on_gpu);
    py::gil_scoped_release free;
    on_cpu();
}

}  // namespace anamorph
