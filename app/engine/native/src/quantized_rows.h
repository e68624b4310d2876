// QuantizedRows: a tile's rows of inputs as 8-bit integers, in groups that each have a scale.
//
// The zero point of the weights costs nothing in the products: what it adds is the sum of some inputs times that point, and
// sums of products begin with its negative. They begin anew with each part of a group. Of each row `Together` quads lie side
// by side, then the same of the next row, and likewise scales and starts: a tile reads one stream of memory. A group that is
// not finite gets a scale that is not a number, so that no made-up number comes out of it.

#pragma once

#include <cmath>

#include "panel.h"

template <long Group, long Part, long ZeroPoint, long Together = 1>
class QuantizedRows {
 public:
  static constexpr long kGroup = Group, kPart = Part;

  static long groups(long inputs) { return (padded(inputs) + Group - 1) / Group; }
  static long parts(long inputs) { return (padded(inputs) + Part - 1) / Part; }
  static long starts_of_row(long inputs) { return ZeroPoint == 0 ? 0 : parts(inputs); }
  // Bytes of one row.
  static long bytes(long inputs) {
    return (quad_bytes(inputs) + (groups(inputs) + starts_of_row(inputs)) * 4 + 63) / 64 * 64;
  }

  // `size` rows of `inputs` numbers each.
  QuantizedRows(uint8_t* tile, long size, long inputs)
      : size_(size),
        inputs_(inputs),
        quads_(reinterpret_cast<Quad*>(tile)),
        scales_(reinterpret_cast<float*>(tile + size * quad_bytes(inputs))),
        starts_(reinterpret_cast<int32_t*>(scales_ + size * groups(inputs))) {}

  // Of the tile's first row; the others' follow.
  const Quad* quads(long number) const { return quads_ + number * size_; }
  const float* scales(long group) const { return scales_ + group * size_; }
  const int32_t* starts(long part) const { return starts_ + part * size_; }

  static constexpr float kLeast = 1e-30f;  // what is smaller counts as zero: its inverse would be infinite

  // Take the row that is to be the tile's row `number`, padded with zeros.
  void set(long number, const float* from) {
    for (long first = 0, group = 0; first < padded(inputs_); first += Group, group++) {
      const long last = std::min(first + Group, padded(inputs_));
      Floats most = zeros(), finite = zeros();
      for (long i = first; i < last; i += kLanes) {
        most = maximum(most, absolute(load(from + i)));
        finite = multiply_add(load(from + i), zeros(), finite);  // stays 0 unless one is infinite or NaN
      }
      const float top = largest(most), check = sum(finite);
      const Floats inverse = broadcast(top > kLeast && check == 0 ? 127.0f / top : 0.0f);
      scales_[group * size_ + number] = top / 127.0f + check;
      for (long part = first; part < last; part += Part) {
        int32_t total = 0;
        for (long i = part; i < std::min(part + Part, last); i += kLanes) {
          const Floats integers = check == 0 ? round_to_integer(load(from + i) * inverse) : zeros();
          if constexpr (Together % (kLanes / 4) == 0) {
            total += put_quads(&quads_[place(i / 4, number)], integers);
          } else {
            Quad quads[kLanes / 4];
            total += put_quads(quads, integers);
            for (long j = 0; j < kLanes / 4; j++) quads_[place(i / 4 + j, number)] = quads[j];
          }
        }
        if constexpr (ZeroPoint != 0) starts_[part / Part * size_ + number] = -int32_t(ZeroPoint) * total;
      }
    }
    for (long quad = padded(inputs_) / 4; quad < padded_quads(inputs_); quad++) quads_[place(quad, number)] = Quad();
  }

 private:
  // As many as both steps of `Together` quads and groups that are multiplied as a whole need.
  static long padded_quads(long inputs) { return Together == 1 ? padded(inputs) / 4 : groups(inputs) * Group / 4; }
  static long quad_bytes(long inputs) { return padded_quads(inputs) * long(sizeof(Quad)); }

  long place(long quad, long row) const { return (quad / Together * size_ + row) * Together + quad % Together; }

  const long size_, inputs_;
  Quad* quads_;
  float* scales_;
  int32_t* starts_;
};
