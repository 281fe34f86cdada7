// Values of any dtype in packs of floats, doubles one by one: over(n, f) calls f(i, kind) for packs, then for what is left.
#pragma once
#include "../../core/simd.h"
#include "../planes.h"
#include "../values.h"

namespace anamorph { namespace AM_LEVEL {

template <class T> AM_HD float take(const T* p, float) { return value(p); }
AM_HD double take(const double* p, double) { return *p; }
template <class T> AM_HD Floats take(const T* p, Floats) { return load_pack(p); }

template <class T> AM_HD void put(float v, T* p) { store(v, p); }
AM_HD void put(double v, double* p) { *p = v; }
template <class T> AM_HD void put(Floats v, T* p) { store_pack(v, p); }

template <class F> struct LanesOf {
    enum : int { value = 1 };
};
template <> struct LanesOf<Floats> {
    enum : int { value = LANES };
};
// The packs of a dtype.
template <class T> struct ValuePack {
    using type = Floats;
};
template <> struct ValuePack<double> {
    using type = double;
};

template <class T, class Body> AM_HD void over(int64_t n, const Body& body) {
    using F = typename ValuePack<T>::type;
    int64_t i = 0;
    for (; i + LanesOf<F>::value <= n; i += LanesOf<F>::value) body(i, F());
    for (; i < n; ++i) body(i, typename StatOf<T>::type());
}

AM_HD float sum_of(Floats v) {
    float lanes[LANES], all = 0.0f;
    v.store(lanes);
    for (int k = 0; k < LANES; ++k) all += lanes[k];
    return all;
}
AM_HD double sum_of(double v) { return v; }

// f(i, kind) for each pack, added up: four sums, so that an addition does not wait for the one before.
template <class T, class Term> AM_HD typename StatOf<T>::type total(int64_t n, const Term& term) {
    using F = typename ValuePack<T>::type;
    using S = typename StatOf<T>::type;
    enum : int { L = LanesOf<F>::value };
    F sums[4] = {F(S(0)), F(S(0)), F(S(0)), F(S(0))};
    int64_t i = 0;
    for (; i + 4 * L <= n; i += 4 * L)
        for (int k = 0; k < 4; ++k) sums[k] = sums[k] + term(i + k * L, F());
    for (; i + L <= n; i += L) sums[0] = sums[0] + term(i, F());
    S all = sum_of((sums[0] + sums[1]) + (sums[2] + sums[3]));
    for (; i < n; ++i) all += term(i, S());
    return all;
}

}}  // namespace anamorph::AM_LEVEL
