// QuantizedRow: a row of inputs as 8-bit integers, in groups that each have a scale.
//
// The zero point of the weights costs nothing in the products: what it adds is the group's sum of inputs times that point,
// and the sums begin with its negative. A group that is not finite gets a scale that is not a number, so that no
// made-up number comes out of it.

#pragma once

#include <cmath>

#include "panel.h"

template <long Group, long ZeroPoint>
class QuantizedRow {
 public:
  static constexpr long kGroup = Group;

  static long groups(long inputs) { return (padded(inputs) + Group - 1) / Group; }
  static long bytes(long inputs) { return (quad_bytes(inputs) + groups(inputs) * 8 + 63) / 64 * 64; }

  QuantizedRow(const uint8_t* row, long inputs)
      : quads_(reinterpret_cast<const Quad*>(row)),
        scales_(reinterpret_cast<const float*>(row + quad_bytes(inputs))),
        starts_(reinterpret_cast<const int32_t*>(scales_ + groups(inputs))) {}

  const Quad* quad(long number) const { return quads_ + number; }
  Floats scale(long group) const { return broadcast(scales_[group]); }
  Ints start(long group) const { return repeat(starts_[group]); }

  static constexpr float kLeast = 1e-30f;  // what is smaller counts as zero: its inverse would be infinite

  static void prepare(const float* from, long inputs, uint8_t* to) {
    Quad* quads = reinterpret_cast<Quad*>(to);
    float* scales = reinterpret_cast<float*>(to + quad_bytes(inputs));
    int32_t* starts = reinterpret_cast<int32_t*>(scales + groups(inputs));
    for (long first = 0, group = 0; first < padded(inputs); first += Group, group++) {
      const long last = std::min(first + Group, padded(inputs));
      Floats most = zeros(), finite = zeros();
      for (long i = first; i < last; i += kLanes) {
        most = maximum(most, absolute(load(from + i)));
        finite = multiply_add(load(from + i), zeros(), finite);  // stays 0 unless one is infinite or NaN
      }
      const float top = largest(most), check = sum(finite);
      const Floats inverse = broadcast(top > kLeast && check == 0 ? 127.0f / top : 0.0f);
      int32_t total = 0;
      for (long i = first; i < last; i += kLanes) {
        total += put_quads(quads + i / 4, check == 0 ? round_to_integer(load(from + i) * inverse) : zeros());
      }
      scales[group] = top / 127.0f + check;
      starts[group] = -int32_t(ZeroPoint) * total;
    }
  }

 private:
  static long quad_bytes(long inputs) { return padded(inputs) / 4 * long(sizeof(Quad)); }

  const Quad* quads_;
  const float* scales_;
  const int32_t* starts_;
};
