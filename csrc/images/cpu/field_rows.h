// A field along the rows of a view on a CPU. Its coefficients are made once. Where a row of the output is a row of the field's view
// (nearly always: a field is mostly the last that moves pixels) each line of them is then drawn out to a line of pixels, so that a row
// of the output is the weighed sum of four such lines.
#pragma once
#include "../field.h"
#include "scratch.h"

namespace anamorph { namespace AM_LEVEL {

class FieldRows {
public:
    FieldRows() = default;
    explicit FieldRows(const Field& field) : f(field) {}
    bool moves() const { return f.moves; }

    // Before its first row, in a room that is the view's own.
    void open(Scratch& room, int row_pitch) {
        if (!f.used && !f.moves) return;  // one of no function, as a row from a file may say, has a map all the same
        pitch = row_pitch;
        square = !f.aslant && f.after[1] == 0.0f && f.after[3] == 0.0f;
        line = packs_above(f.count[0]);
        int functions = 0;
        for (int k = 0; k < FIELD_FUNCTIONS; ++k) slots[k] = f.has(k) ? functions++ : 0;
        const size_t coefficients = size_t(functions) * f.count[1] * line;
        const size_t drawn = square ? size_t(functions) * f.count[1] * pitch : 0;
        float* at = room.need(coefficients + drawn + 2 * size_t(pitch) + LANES);
        table = at;
        lines = table + coefficients;
        moved_x = lines + drawn;
        moved_y = moved_x + pitch;
        for (int k = 0; k < FIELD_FUNCTIONS; ++k)
            if (f.has(k)) make(k);
        if (square) draw_out(functions);
    }

    // The values of a function in columns x .. of row y.
    Floats value(int function, int y, int x) const {
        const float at_y = float(y) + 0.5f;
        if (square) {
            Down down(f, at_y);
            return drawn_value(function, down, x);
        }
        Floats qx, qy;
        in_field(f, Floats::iota() + Floats(float(x) + 0.5f), Floats(at_y), qx, qy);
        return Around(*this, qx, qy).value(function);
    }

    // Where the pixels of columns [xa, xb) of row y lie before the field has moved them.
    void move(int y, int xa, int xb) const {
        const Down down(f, float(y) + 0.5f);
        for (int x = xa; x < xb; x += LANES) {
            Floats px, py;
            in_field(f, Floats::iota() + Floats(float(x) + 0.5f), Floats(float(y) + 0.5f), px, py);
            if (square) {
                displace(f, [&](int function) { return drawn_value(function, down, x); }, px, py);
            } else {
                const Around around(*this, px, py);
                displace(f, [&](int function) { return around.value(function); }, px, py);
            }
            px.store(moved_x + x);
            py.store(moved_y + x);
        }
    }
    float *moved_x = nullptr, *moved_y = nullptr;  // of the row that was moved last

private:
    // The lines that a row of the output lies between, where it is one of the field's view.
    struct Down {
        int first = 0;
        float weights[4];
        Down(const Field& f, float y) { knots_at(f, 1, f.after[4] * y + f.after[5], first, weights); }
    };
    // The coefficients around positions.
    struct Around {
        const FieldRows& rows;
        Floats across[4], down[4];
        Ints x, y;
        Around(const FieldRows& r, Floats qx, Floats qy) : rows(r) {
            knots_at(r.f, 0, qx, x, across);
            knots_at(r.f, 1, qy, y, down);
        }
        Floats value(int function) const {
            const float* from = rows.table + size_t(rows.slots[function]) * rows.f.count[1] * rows.line;
            Floats sum(0.0f), at = to_float(y * Ints(rows.line) + x);
            for (int j = 0; j < 4; ++j, from += rows.line) {
                Floats part(0.0f);
                for (int i = 0; i < 4; ++i) part = part + across[i] * looked_up(from + i, at);
                sum = sum + down[j] * part;
            }
            return sum;
        }
    };

    Floats drawn_value(int function, const Down& down, int x) const {
        const float* from = lines + (size_t(slots[function]) * f.count[1] + down.first) * pitch + x;
        Floats sum = Floats(down.weights[0]) * Floats::load(from);
        for (int j = 1; j < 4; ++j) sum = sum + Floats(down.weights[j]) * Floats::load(from + size_t(j) * pitch);
        return sum;
    }
    void make(int function) const {
        const Philox4 keys = field_keys(f, function);
        float* to = table + size_t(slots[function]) * f.count[1] * line;
        for (int y = 0; y < f.count[1]; ++y, to += line)
            for (int x = 0; x < line; x += LANES)
                coefficient(keys, Words(to_int(Floats::iota() + Floats(float(x)))), Words(uint32_t(y))).store(to + x);
    }
    void draw_out(int functions) const {
        const int count = functions * f.count[1];
        for (int x = 0; x < pitch; x += LANES) {
            Ints first;
            Floats weights[4];
            knots_at(f, 0, Floats(f.after[0]) * (Floats::iota() + Floats(float(x) + 0.5f)) + Floats(f.after[2]), first, weights);
            const Floats at = to_float(first);
            for (int k = 0; k < count; ++k) {
                const float* from = table + size_t(k) * line;
                Floats sum = weights[0] * looked_up(from, at);
                for (int i = 1; i < 4; ++i) sum = sum + weights[i] * looked_up(from + i, at);
                sum.store(lines + size_t(k) * pitch + x);
            }
        }
    }

    Field f{};
    int pitch = 0, line = 0, slots[FIELD_FUNCTIONS] = {};
    bool square = false;
    float *table = nullptr, *lines = nullptr;
};

}}  // namespace anamorph::AM_LEVEL
