// Plans drawn with doubles that count: how many divisions and square roots a row takes, one after the other on a GPU.
#pragma once
#include <array>
#include <cstdint>
#include <tuple>
#include <utility>
#include <vector>

struct CountedPlan {
    std::vector<int32_t> rows;                         // [batch, row_words]
    std::vector<std::pair<int, int>> divisions_roots;  // of each row
};

CountedPlan counted_plan(const std::vector<std::tuple<int, int, int, int, std::array<double, 12>>>& slots,
                         const std::vector<int64_t>& index, int64_t h, int64_t w, int out_h, int out_w, int max_colors,
                         int row_words);
