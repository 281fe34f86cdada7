// The engine's own headers, read once more with a class in the place of double.
#include "divisions.h"

#include <cstring>
#include <type_traits>

namespace counting {

int divisions, roots;

using Plain = double;
template <class T> using Arithmetic = std::enable_if_t<std::is_arithmetic<T>::value>;

struct Number {
    Plain value;

    Number() = default;
    template <class T, class = Arithmetic<T>> constexpr Number(T v) : value(Plain(v)) {}
    template <class T, class = Arithmetic<T>> explicit operator T() const { return T(value); }

    friend Number operator+(Number a, Number b) { return a.value + b.value; }
    friend Number operator-(Number a, Number b) { return a.value - b.value; }
    friend Number operator*(Number a, Number b) { return a.value * b.value; }
    friend Number operator/(Number a, Number b) {
        ++divisions;
        return a.value / b.value;
    }
    friend constexpr Number operator-(Number a) { return -a.value; }
    friend bool operator<(Number a, Number b) { return a.value < b.value; }
    friend bool operator>(Number a, Number b) { return a.value > b.value; }
    friend bool operator<=(Number a, Number b) { return a.value <= b.value; }
    friend bool operator>=(Number a, Number b) { return a.value >= b.value; }
    friend bool operator==(Number a, Number b) { return a.value == b.value; }
    friend bool operator!=(Number a, Number b) { return a.value != b.value; }
    Number& operator+=(Number b) { return *this = *this + b; }
    Number& operator*=(Number b) { return *this = *this * b; }
};

Number root(Number x) {
    ++roots;
    return __builtin_sqrt(x.value);
}

}  // namespace counting

#define double counting::Number
#define __builtin_sqrt counting::root
#define anamorph anamorph_counted  // its functions are not the engine's
#include "../../csrc/images/plan.h"
#undef double
#undef __builtin_sqrt
#undef anamorph

namespace engine = anamorph_counted;

CountedPlan counted_plan(const std::vector<std::tuple<int, int, int, int, std::array<double, 12>>>& slots,
                         const std::vector<int64_t>& index, int64_t h, int64_t w, int out_h, int out_w, int max_colors,
                         int row_words) {
    std::vector<engine::Slot> program;
    for (auto& [op, n, k, flags, p] : slots) {
        program.push_back({op, n, k, flags, {}});
        for (int i = 0; i < 12; ++i) program.back().p[i] = p[i];
    }
    program.push_back({});  // plan_row looks one slot ahead
    CountedPlan plan;
    plan.rows.resize(index.size() * size_t(row_words));
    engine::PlanArgs args{};
    args.slots = program.data();
    args.info.slots = int(slots.size());
    args.info.most.colors = max_colors;
    args.info.out_h = out_h;
    args.info.out_w = out_w;
    args.info.row_words = row_words;
    args.index = index.data();
    args.source_h = h;
    args.source_w = w;
    args.batch = int(index.size());
    args.rows = plan.rows.data();
    for (int i = 0; i < args.batch; ++i) {
        counting::divisions = counting::roots = 0;
        engine::plan_row(args, args.slots, i);
        plan.divisions_roots.push_back({counting::divisions, counting::roots});
    }
    return plan;
}
