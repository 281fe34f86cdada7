// Point clouds: mixing.
#include "../points/mix.h"
#include "levels.h"
#include "points.h"

namespace anamorph {
namespace {

void mix(py::handle points, py::handle partner, py::handle rule, py::handle numbers, py::handle words, py::handle match,
         py::handle out, py::handle origin, py::handle share, py::handle room, int threads) {
    const Tensor in(points, "points");
    in.need_dims(3, "[B, N, 3]");
    const int64_t batch = in.size(0), all = batch * in.size(1);
    auto given = [&](py::handle object, const char* name, uint8_t code, int bits, int64_t count) {
        const Tensor t = plain(object, name, code, bits, count);
        t.need_device(in);
        return t;
    };
    points::MixArgs a{};
    a.batch = int(batch);
    a.points = int(in.size(1));
    a.in = given(points, "points", kDLFloat, 32, 3 * all).data<float>();
    a.partner = given(partner, "partner", kDLInt, 64, batch).data<int64_t>();
    a.rule = given(rule, "rule", kDLInt, 32, batch).data<int32_t>();
    a.numbers = given(numbers, "numbers", kDLFloat, 32, 2 * batch).data<float>();
    a.words = given(words, "words", kDLInt, 64, 4 * batch).data<int64_t>();
    if (!match.is_none()) a.match = given(match, "match", kDLInt, 64, all).data<int64_t>();
    a.out = given(out, "out", kDLFloat, 32, 3 * all).data<float>();
    a.origin = given(origin, "origin", kDLInt, 64, all).data<int64_t>();
    a.share = given(share, "share", kDLFloat, 32, batch).data<float>();
    if (!room.is_none()) a.room = given(room, "room", kDLInt, 32, all).data<int32_t>();
    run(points, in, [&](void* stream) { points::mix_cuda(a, stream); }, [&] { points::mix_cpu(a, threads); });
}

}  // namespace

void bind_mix(py::module_& m) {
    m.def("mix", &mix, py::kw_only(), py::arg("points"), py::arg("partner"), py::arg("rule"), py::arg("numbers"),
          py::arg("words"), py::arg("match"), py::arg("out"), py::arg("origin"), py::arg("share"), py::arg("room"),
          py::arg("threads"));
}

}  // namespace anamorph
