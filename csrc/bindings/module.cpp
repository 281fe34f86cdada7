// The compiled module, anamorph._native: what the machine offers, and every family's ops.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "../core/device.h"
#include "../core/errors.h"
#include "../core/exact_math.h"
#include "../core/parallel.h"
#include "../core/philox.h"
#include "../core/simd_level.h"
#include "family.h"

namespace py = pybind11;

namespace anamorph {

// The exceptions are Python classes of anamorph/core/errors.py, so that they have Python's bases and docstrings.
static void raise_named(const char* name, const std::exception& e) {
    py::object type = py::module_::import("anamorph.core.errors").attr(name);
    PyErr_SetString(type.ptr(), e.what());
}

void bind_core(py::module_& m) {
    py::register_exception_translator([](std::exception_ptr p) {
        if (!p) return;
        try {
            std::rethrow_exception(p);
        } catch (const ArgumentError& e) { raise_named("ArgumentError", e); } catch (const ShapeError& e) {
            raise_named("ShapeError", e);
        } catch (const DtypeError& e) { raise_named("DtypeError", e); } catch (const DeviceError& e) {
            raise_named("DeviceError", e);
        } catch (const Error& e) { raise_named("AnamorphError", e); }
    });
    m.def("launch_count", [] { return launches.load(); });
    m.def("simd", [] { return std::string(simd_name()); });
    m.def("use_simd", [](const std::string& name) { return use_simd(name.c_str()); });  // for the tests of every level
#if defined(AM_CUDA)
    m.attr("CUDA_BUILT") = true;
    m.def("cuda_usable", [] { return cuda_usable(); });
#else
    m.attr("CUDA_BUILT") = false;
    m.def("cuda_usable", [] { return false; });
#endif
    m.attr("VERSION") = AM_VERSION;
    m.def(
        "philox",
        [](std::array<uint32_t, 4> c, std::array<uint32_t, 2> k) {
            Philox4 p = philox4x32_10(c[0], c[1], c[2], c[3], k[0], k[1]);
            return std::array<uint32_t, 4>{p.v[0], p.v[1], p.v[2], p.v[3]};
        },
        py::arg("counter"), py::arg("key"));
    // The sampler's own arithmetic, for the tests that recompute a plan.
    m.def("exact_exp", [](double x) { return exact::exp(x); });
    m.def("exact_log", [](double x) { return exact::log(x); });
    m.def("exact_sqrt", [](double x) { return exact::sqrt(x); });
    m.def("exact_sincos_deg", [](double x) {
        exact::SinCos both = exact::sincos_deg(x);
        return py::make_tuple(both.sin, both.cos);
    });
}

}  // namespace anamorph

PYBIND11_MODULE(_native, m) {
    m.doc() = "The compiled core of anamorph. Its public face is the anamorph package.";
    anamorph::bind_core(m);
    anamorph::bind_features(m);
    anamorph::bind_images(m);
    anamorph::bind_mosaic(m);
    anamorph::bind_paste(m);
    anamorph::bind_pictures(m);
    anamorph::bind_points(m);
}
