// Errors a user can make. The bindings turn each into the Python exception of the same name.
#pragma once
#include <sstream>
#include <stdexcept>
#include <string>

namespace anamorph {

// clang-format off
struct Error : std::runtime_error { using std::runtime_error::runtime_error; };
struct ArgumentError : Error { using Error::Error; };
struct ShapeError : Error { using Error::Error; };
struct DtypeError : Error { using Error::Error; };
struct DeviceError : Error { using Error::Error; };
// clang-format on

namespace detail {
inline void put(std::ostringstream&) {}
template <class T, class... R> void put(std::ostringstream& s, const T& first, const R&... rest) {
    s << first;
    put(s, rest...);
}
}  // namespace detail

// Every message names the argument, what was given and what is expected.
template <class E, class... Parts> [[noreturn]] void fail(const Parts&... parts) {
    std::ostringstream s;
    detail::put(s, parts...);
    throw E(s.str());
}

}  // namespace anamorph
