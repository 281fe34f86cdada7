// Atomics. One thread runs at a time, so they are plain; what matters is that the watch knows them for atomics. A CAS or
// an exchange that changes nothing may be a thread that waits for another, which is then let run.
#pragma once
#include <cstring>
#include <type_traits>

#include "threads.h"

namespace emulated {

void watch_atomic(const void* address, size_t bytes);

// Not instrumented: its two accesses are one.
template <class T, class Change> __attribute__((no_sanitize("thread"))) T change(T* address, Change to) {
    watch_atomic(address, sizeof(T));
    T old = *address;
    *address = to(old);
    return old;
}

template <class T, class... Ts> using If = std::enable_if_t<(std::is_same<T, Ts>::value || ...), T>;
template <class T> using Same = std::common_type_t<T>;  // the argument follows the address's type
template <class T> using Integer = If<T, int, unsigned, unsigned long long>;
template <class T> using Ordered = If<T, int, unsigned, long long, unsigned long long>;
template <class T> using Number = If<T, int, unsigned, unsigned long long, float, double>;
template <class T> using Bits = If<T, unsigned short, int, unsigned, unsigned long long>;
template <class T> T wrapped_sum(T a, T b) {
    if constexpr (std::is_integral<T>::value) return T(std::make_unsigned_t<T>(a) + std::make_unsigned_t<T>(b));
    else return a + b;
}

}  // namespace emulated

template <class T> emulated::Number<T> atomicAdd(T* p, emulated::Same<T> v) {
    return emulated::change(p, [=](T old) { return emulated::wrapped_sum(old, v); });
}
template <class T> emulated::If<T, int, unsigned> atomicSub(T* p, emulated::Same<T> v) {
    return emulated::change(p, [=](T old) { return T(unsigned(old) - unsigned(v)); });
}
template <class T> emulated::Ordered<T> atomicMin(T* p, emulated::Same<T> v) {
    return emulated::change(p, [=](T old) { return v < old ? v : old; });
}
template <class T> emulated::Ordered<T> atomicMax(T* p, emulated::Same<T> v) {
    return emulated::change(p, [=](T old) { return old < v ? v : old; });
}
template <class T> emulated::Integer<T> atomicAnd(T* p, emulated::Same<T> v) {
    return emulated::change(p, [=](T old) { return old & v; });
}
template <class T> emulated::Integer<T> atomicOr(T* p, emulated::Same<T> v) {
    return emulated::change(p, [=](T old) { return old | v; });
}
template <class T> emulated::Integer<T> atomicXor(T* p, emulated::Same<T> v) {
    return emulated::change(p, [=](T old) { return old ^ v; });
}
inline unsigned atomicInc(unsigned* p, unsigned most) {
    return emulated::change(p, [=](unsigned old) { return old >= most ? 0 : old + 1; });
}
inline unsigned atomicDec(unsigned* p, unsigned most) {
    return emulated::change(p, [=](unsigned old) { return old == 0 || old > most ? most : old - 1; });
}
template <class T> emulated::If<T, int, unsigned, unsigned long long, float> atomicExch(T* p, emulated::Same<T> v) {
    T old = emulated::change(p, [=](T) { return v; });
    if (old == v) emulated::pause();
    return old;
}
template <class T> emulated::Bits<T> atomicCAS(T* p, emulated::Same<T> expected, emulated::Same<T> v) {
    T old = emulated::change(p, [=](T found) { return found == expected ? v : found; });
    if (old != expected) emulated::pause();
    return old;
}
// The scopes say who may look; here one runs at a time.
#define EMULATED_SCOPES(name)                                                                \
    template <class T, class... A> auto name##_block(T* p, A... a) { return name(p, a...); } \
    template <class T, class... A> auto name##_system(T* p, A... a) { return name(p, a...); }
// clang-format off
EMULATED_SCOPES(atomicAdd) EMULATED_SCOPES(atomicSub) EMULATED_SCOPES(atomicMin) EMULATED_SCOPES(atomicMax)
EMULATED_SCOPES(atomicAnd) EMULATED_SCOPES(atomicOr) EMULATED_SCOPES(atomicXor) EMULATED_SCOPES(atomicInc)
EMULATED_SCOPES(atomicDec) EMULATED_SCOPES(atomicExch) EMULATED_SCOPES(atomicCAS)
// clang-format on
#undef EMULATED_SCOPES
