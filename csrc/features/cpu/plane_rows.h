// planes.h, a plane or some rows of a channels-last sample at a time.
#pragma once
#include <vector>
#include "packs.h"

namespace anamorph { namespace AM_LEVEL {

template <class T> void moments_of_plane(const PlaneArgs<T>& a, int64_t plane) {
    using S = typename StatOf<T>::type;
    const T* x = a.x + plane * a.area;
    Seen<double> seen{0.0, 0.0, 0.0};
    for (int64_t first = 0; first < a.area; first += PLANE_CHUNK) {
        const int64_t n = a.area - first < PLANE_CHUNK ? a.area - first : PLANE_CHUNK;
        const T* p = x + first;
        const S mean = total<T>(n, [&](int64_t i, auto kind) { return take(p + i, kind); }) / S(n);
        const S squares = total<T>(n, [&](int64_t i, auto kind) {
            const auto far = take(p + i, kind) - decltype(kind)(mean);
            return far * far;
        });
        seen.merge(double(n), double(mean), double(squares));
    }
    a.first[plane] = S(seen.mean);
    a.second[plane] = S(seen.squares / (seen.count - 1.0));
}

// `lines`: two lines of numbers for each channel. Channels in packs, rows in chunks that are looked at twice.
template <class T> void moments_of_sample(const PlaneArgs<T>& a, int64_t sample) {
    using S = typename StatOf<T>::type;
    const int64_t c = a.channels;
    const T* x = a.x + sample * a.area * c;
    std::vector<S> room(size_t(4 * c), S(0));
    S *mean = room.data(), *squares = mean + c, *its_mean = squares + c, *its_squares = its_mean + c;
    for (int64_t first = 0; first < a.area; first += LAST_ROWS) {
        const int64_t rows = a.area - first < LAST_ROWS ? a.area - first : LAST_ROWS;
        const T* p = x + first * c;
        for (int64_t k = 0; k < 2 * c; ++k) its_mean[k] = S(0);
        for (int64_t r = 0; r < rows; ++r)
            over<T>(c, [&](int64_t i, auto kind) { put(take(its_mean + i, kind) + take(p + r * c + i, kind), its_mean + i); });
        for (int64_t k = 0; k < c; ++k) its_mean[k] = its_mean[k] / S(rows);
        for (int64_t r = 0; r < rows; ++r)
            over<T>(c, [&](int64_t i, auto kind) {
                const auto far = take(p + r * c + i, kind) - take(its_mean + i, kind);
                put(take(its_squares + i, kind) + far * far, its_squares + i);
            });
        for (int64_t k = 0; k < c; ++k) {
            Seen<S> seen{S(first), mean[k], squares[k]};
            seen.merge(S(rows), its_mean[k], its_squares[k]);
            mean[k] = seen.mean;
            squares[k] = seen.squares;
        }
    }
    for (int64_t k = 0; k < c; ++k) {
        a.first[sample * c + k] = mean[k];
        a.second[sample * c + k] = squares[k] / S(a.area - 1);
    }
}

template <class T> void sums_of_plane(const PlaneArgs<T>& a, int64_t plane) {
    using S = typename StatOf<T>::type;
    const T *x = a.x + plane * a.area, *g = a.g + plane * a.area;
    const S mean = a.mean[plane];
    double first = 0.0, second = 0.0;
    for (int64_t at = 0; at < a.area; at += PLANE_CHUNK) {
        const int64_t n = a.area - at < PLANE_CHUNK ? a.area - at : PLANE_CHUNK;
        first += double(total<T>(n, [&](int64_t i, auto kind) { return take(g + at + i, kind); }));
        second += double(total<T>(
            n, [&](int64_t i, auto kind) { return take(g + at + i, kind) * (take(x + at + i, kind) - decltype(kind)(mean)); }));
    }
    a.first[plane] = S(first);
    a.second[plane] = S(second);
}

template <class T> void sums_of_sample(const PlaneArgs<T>& a, int64_t sample) {
    using S = typename StatOf<T>::type;
    const int64_t c = a.channels;
    const T *x = a.x + sample * a.area * c, *g = a.g + sample * a.area * c;
    const S* mean = a.mean + sample * c;
    std::vector<S> room(size_t(2 * c));
    std::vector<double> sums(size_t(2 * c), 0.0);
    S *first = room.data(), *second = first + c;
    for (int64_t at = 0; at < a.area; at += LAST_ROWS) {
        const int64_t end = a.area - at < LAST_ROWS ? a.area : at + LAST_ROWS;
        for (int64_t k = 0; k < 2 * c; ++k) first[k] = S(0);
        for (int64_t r = at; r < end; ++r)
            over<T>(c, [&](int64_t i, auto kind) {
                const auto v = take(g + r * c + i, kind);
                put(take(first + i, kind) + v, first + i);
                put(take(second + i, kind) + v * (take(x + r * c + i, kind) - take(mean + i, kind)), second + i);
            });
        for (int64_t k = 0; k < 2 * c; ++k) sums[k] += double(first[k]);
    }
    for (int64_t k = 0; k < c; ++k) {
        a.first[sample * c + k] = S(sums[k]);
        a.second[sample * c + k] = S(sums[c + k]);
    }
}

template <class T> void affine_of_plane(const PlaneArgs<T>& a, int64_t plane) {
    const T* x = a.x + plane * a.area;
    T* out = a.out + plane * a.area;
    const auto mean = a.mean[plane], scale = a.scale[plane], shift = a.shift[plane];
    over<T>(a.area, [&](int64_t i, auto kind) {
        using F = decltype(kind);
        put((take(x + i, kind) - F(mean)) * F(scale) + F(shift), out + i);
    });
}

// Rows first .. last - 1 of all samples' rows, one after the other.
template <class T> void affine_of_rows(const PlaneArgs<T>& a, int64_t first, int64_t last) {
    const int64_t c = a.channels;
    for (int64_t r = first; r < last; ++r) {
        const int64_t b = r / a.area * c;
        over<T>(c, [&](int64_t i, auto kind) {
            const auto far = take(a.x + r * c + i, kind) - take(a.mean + b + i, kind);
            put(far * take(a.scale + b + i, kind) + take(a.shift + b + i, kind), a.out + r * c + i);
        });
    }
}

template <class T> void combine_of_plane(const PlaneArgs<T>& a, int64_t plane) {
    const T *x = a.x + plane * a.area, *g = a.g + plane * a.area;
    T* out = a.out + plane * a.area;
    const auto mean = a.mean[plane], scale = a.scale[plane], slope = a.slope[plane], shift = a.shift[plane];
    over<T>(a.area, [&](int64_t i, auto kind) {
        using F = decltype(kind);
        put(take(g + i, kind) * F(scale) + ((take(x + i, kind) - F(mean)) * F(slope) + F(shift)), out + i);
    });
}

template <class T> void combine_of_rows(const PlaneArgs<T>& a, int64_t first, int64_t last) {
    const int64_t c = a.channels;
    for (int64_t r = first; r < last; ++r) {
        const int64_t b = r / a.area * c;
        over<T>(c, [&](int64_t i, auto kind) {
            const auto far = take(a.x + r * c + i, kind) - take(a.mean + b + i, kind);
            put(take(a.g + r * c + i, kind) * take(a.scale + b + i, kind) +
                    (far * take(a.slope + b + i, kind) + take(a.shift + b + i, kind)),
                a.out + r * c + i);
        });
    }
}

#define AM_PLANES(T)                                                     \
    template void moments_of_plane(const PlaneArgs<T>&, int64_t);        \
    template void moments_of_sample(const PlaneArgs<T>&, int64_t);       \
    template void sums_of_plane(const PlaneArgs<T>&, int64_t);           \
    template void sums_of_sample(const PlaneArgs<T>&, int64_t);          \
    template void affine_of_plane(const PlaneArgs<T>&, int64_t);         \
    template void affine_of_rows(const PlaneArgs<T>&, int64_t, int64_t); \
    template void combine_of_plane(const PlaneArgs<T>&, int64_t);        \
    template void combine_of_rows(const PlaneArgs<T>&, int64_t, int64_t);
AM_PLANES(float)
AM_PLANES(double)
AM_PLANES(Half)
AM_PLANES(BFloat)
#undef AM_PLANES

}}  // namespace anamorph::AM_LEVEL
