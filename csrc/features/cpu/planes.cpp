// planes.h on CPU threads, at the best SIMD level of this machine.
#include "../planes.h"
#include "../../core/best_level.h"
#include "../../core/parallel.h"

namespace anamorph {

AM_AT_LEVELS(template <class T> void moments_of_plane(const PlaneArgs<T>&, int64_t);
             template <class T> void moments_of_sample(const PlaneArgs<T>&, int64_t);
             template <class T> void sums_of_plane(const PlaneArgs<T>&, int64_t);
             template <class T> void sums_of_sample(const PlaneArgs<T>&, int64_t);
             template <class T> void affine_of_plane(const PlaneArgs<T>&, int64_t);
             template <class T> void affine_of_rows(const PlaneArgs<T>&, int64_t, int64_t);
             template <class T> void combine_of_plane(const PlaneArgs<T>&, int64_t);
             template <class T> void combine_of_rows(const PlaneArgs<T>&, int64_t, int64_t);)

namespace {

enum : int64_t { SOME = 8192 };  // values of a task, where planes or rows are shorter

// The planes, some at a time.
template <class T, class Task> void each_plane(const PlaneArgs<T>& a, int threads, Task task) {
    const int64_t planes = a.batch * a.channels, some = a.area < SOME ? SOME / a.area + 1 : 1;
    parallel_for((planes + some - 1) / some, threads_for(planes * a.area, threads), [&](int64_t t) {
        for (int64_t p = t * some; p < planes && p < (t + 1) * some; ++p) task(a, p);
    });
}
template <class T, class Task> void each_sample(const PlaneArgs<T>& a, int threads, Task task) {
    parallel_for(a.batch, threads_for(a.batch * a.channels * a.area, threads), [&](int64_t b) { task(a, b); });
}
template <class T, class Task> void each_row(const PlaneArgs<T>& a, int threads, Task task) {
    const int64_t rows = a.batch * a.area, some = a.channels < SOME ? SOME / a.channels + 1 : 1;
    parallel_for((rows + some - 1) / some, threads_for(rows * a.channels, threads),
                 [&](int64_t t) { task(a, t * some, (t + 1) * some < rows ? (t + 1) * some : rows); });
}

}  // namespace

template <class T> void moments_cpu(const PlaneArgs<T>& a, int threads) {
    if (a.last) each_sample(a, threads, AM_BEST(moments_of_sample<T>));
    else each_plane(a, threads, AM_BEST(moments_of_plane<T>));
}
template <class T> void sums_cpu(const PlaneArgs<T>& a, int threads) {
    if (a.last) each_sample(a, threads, AM_BEST(sums_of_sample<T>));
    else each_plane(a, threads, AM_BEST(sums_of_plane<T>));
}
template <class T> void affine_cpu(const PlaneArgs<T>& a, int threads) {
    if (a.last) each_row(a, threads, AM_BEST(affine_of_rows<T>));
    else each_plane(a, threads, AM_BEST(affine_of_plane<T>));
}
template <class T> void combine_cpu(const PlaneArgs<T>& a, int threads) {
    if (a.last) each_row(a, threads, AM_BEST(combine_of_rows<T>));
    else each_plane(a, threads, AM_BEST(combine_of_plane<T>));
}

#define AM_PLANES(T)                                     \
    template void moments_cpu(const PlaneArgs<T>&, int); \
    template void sums_cpu(const PlaneArgs<T>&, int);    \
    template void affine_cpu(const PlaneArgs<T>&, int);  \
    template void combine_cpu(const PlaneArgs<T>&, int);
AM_PLANES(float)
AM_PLANES(double)
AM_PLANES(Half)
AM_PLANES(BFloat)

}  // namespace anamorph
