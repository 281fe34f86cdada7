// The module _emulated: the engine's own bindings, and what the tests say to the emulation.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "../../csrc/bindings/family.h"
#include "divisions.h"
#include "include/emulated/api.h"
#include "kernels.h"
#include "runtime/control.h"
#include "runtime/watch.h"

namespace py = pybind11;

PYBIND11_MODULE(_emulated, m) {
    m.doc() = "anamorph's compiled core with its CUDA kernels run on the CPU, on host tensors. For tests.";
    anamorph::bind_core(m);
    anamorph::bind_features(m);
    anamorph::bind_images(m);
    anamorph::bind_mosaic(m);
    anamorph::bind_paste(m);
    anamorph::bind_pictures(m);
    anamorph::bind_points(m);
    py::register_exception<emulated::Fault>(m, "Fault", PyExc_RuntimeError);
    m.def("set_seed", &emulated::set_seed, "Orders of blocks and threads, and the noise in memory, from here on.");
    m.def(
        "allow_memory",
        [](const std::vector<std::tuple<std::string, uintptr_t, size_t, bool>>& given) {
            emulated::allowed_memory.clear();
            for (auto& [name, begin, bytes, writable] : given)
                emulated::allowed_memory.push_back({name, begin, begin + bytes, writable});
        },
        "All that kernels may touch from here on, as (name, address, bytes, writable); nothing: no limit.");
    m.def("watch", [](bool on) { emulated::watching = on; }, "Whether accesses are looked at.");
#if defined(AM_WATCHED)
    m.attr("WATCHED") = true;
#else
    m.attr("WATCHED") = false;  // a sanitizer has the place of the hooks
#endif
    m.def("use_devices", &emulated::use_devices, py::arg("count"), py::arg("stands_on") = 0,
          "So many devices, the tensors on the first; this thread has no context yet.");
    m.def("set_device", [](int device) { return int(cudaSetDevice(device)); }, "cudaSetDevice: its error's number.");
    m.def("current_device", &emulated::current_device);
    m.def("open_contexts", &emulated::open_contexts, "The devices that have one.");
    m.def("launched_on", &emulated::launched_on, "The device of the last launch.");
    m.def("break_device", &emulated::break_device, "From the next launch on every call says that an earlier kernel failed.");
    m.def("fill_queue", &emulated::fill_queue, "The next launch waits for empty_queue(), at most so many seconds.");
    m.def("empty_queue", &emulated::empty_queue);
    m.def("queue_waits", &emulated::queue_waits, "Does a launch wait?");
    m.def(
        "run_kernel",
        [](const std::string& name, std::vector<unsigned> grid, std::vector<unsigned> block, size_t shared, uintptr_t in,
           uintptr_t out, int a, int b) {
            run_kernel(name, std::move(grid), std::move(block), shared, reinterpret_cast<const void*>(in),
                       reinterpret_cast<void*>(out), a, b);
        },
        "One of kernels.cu's; `in` and `out` are addresses.");
    m.def(
        "counted_plan",
        [](const std::vector<std::tuple<int, int, int, int, std::array<double, 12>>>& slots, const std::vector<int64_t>& index,
           std::pair<int64_t, int64_t> size, std::pair<int, int> output, int max_colors, int row_words) {
            CountedPlan plan =
                counted_plan(slots, index, size.first, size.second, output.first, output.second, max_colors, row_words);
            return std::make_pair(plan.rows, plan.divisions_roots);
        },
        "The rows of a plan (seed, epoch and view 0), and the divisions and square roots of each.");
}
