// Matrix: the bf16 weights of a linear layer, laid out for the product that reads them.
//
// Outputs are taken 32 at a time (a panel). Within a panel, for each pair of inputs, lie 16 outputs' pairs, then the
// other 16's: one load of 64 bytes feeds sixteen sums with two products each, and a panel is read from its beginning to
// its end. Each output is one chain of additions over the inputs in order, whatever the number of rows and threads: a
// row's result never depends on what else is in the batch.

#pragma once

#include <algorithm>

#include "buffer.h"
#include "simd.h"
#include "tiles.h"

class Matrix {
 public:
  static constexpr long kVectors = 2;
  static constexpr long kPanel = kVectors * kLanes;

  Matrix() = default;

  // Outputs are padded to whole panels and inputs to pairs, with zeros.
  Matrix(long outputs, long inputs)
      : outputs_(outputs), pairs_((inputs + 1) / 2), weights_(size_t(panels()) * pairs_ * kPanel * 2) {}

  long outputs() const { return outputs_; }
  long panels() const { return (outputs_ + kPanel - 1) / kPanel; }
  size_t bytes() const { return weights_.bytes(); }

  // Take the weights of up to 16 outputs, which become the matrix's vector `vector`: `rows` (count, inputs).
  void set(long vector, const uint16_t* rows, long count, long inputs) {
    uint16_t* to = pair(vector * kLanes, 0);
    for (long i = 0; i < pairs_; i++, to += kSideBySide * kLanes * 2) {
      for (long lane = 0; lane < count; lane++) {
        const uint16_t* from = rows + lane * inputs + i * 2;
        to[lane * 2] = from[0];
        if (i * 2 + 1 < inputs) to[lane * 2 + 1] = from[1];
      }
    }
  }

  // The weights of one output, as float32: an embedding whose matrix is also the head's.
  void get(long output, float* weights, long inputs) const {
    const uint16_t* from = const_cast<Matrix*>(this)->pair(output, 0);
    for (long i = 0; i < inputs; i++) weights[i] = from_bf16(from[place(0, i / 2) + i % 2]);
  }

  // For each row of `x` (rows, stride) call `emit(row, sums)` with the panel's 32 outputs as `kVectors` vectors.
  template <class Emit>
  void multiply(long panel, const Input* x, long stride, long rows, const Emit& emit) const {
    const uint16_t* weights = weights_.data() + panel * pairs_ * kPanel * 2;
    in_tiles<kRows>(rows, [&](long first, auto size) {
      constexpr long kRowsHere = size, kAtOnce = kRowsHere * kVectors <= kSums ? kVectors : 1;
      Floats sums[kRowsHere][kVectors];
      for (long vector = 0; vector < kVectors; vector += kAtOnce) {
        tile<kRowsHere, kAtOnce>(weights, x + first * stride, stride, vector, sums);
      }
      for (long row = 0; row < kRowsHere; row++) emit(first + row, sums[row]);
    });
  }

 private:
  // Sums of a tile: they, the weights and one input must fit the registers. Vectors that one tile always takes together
  // lie side by side.
#if defined(__AVX512F__)
  static constexpr long kRows = 12, kSums = 24, kSideBySide = 2;
#else
  static constexpr long kRows = 6, kSums = 6, kSideBySide = 1;
#endif

  // Where a vector's pairs lie in its panel.
  long place(long vector, long pair) const {
    return (vector / kSideBySide * pairs_ * kSideBySide + pair * kSideBySide + vector % kSideBySide) * kLanes * 2;
  }

  uint16_t* pair(long output, long index) {
    const long panel = output / kPanel, vector = output % kPanel / kLanes;
    return weights_.data() + panel * pairs_ * kPanel * 2 + place(vector, index) + output % kLanes * 2;
  }

  template <long Rows, long Vectors>
  void tile(const uint16_t* weights, const Input* x, long stride, long vector, Floats (*results)[kVectors]) const {
    Floats sums[Rows][Vectors];
    for (auto& of_row : sums) {
      for (Floats& s : of_row) s = zeros();
    }
    for (long pair = 0; pair < pairs_; pair++) {
      for (long r = 0; r < Rows; r++) {
        for (long v = 0; v < Vectors; v++) {
          sums[r][v] = add_pairs(sums[r][v], weights + place(vector + v, pair), x + r * stride + pair * 2);
        }
      }
    }
    for (long r = 0; r < Rows; r++) {
      for (long v = 0; v < Vectors; v++) results[r][vector + v] = sums[r][v];
    }
  }

  long outputs_ = 0;
  long pairs_ = 0;
  Buffer<uint16_t> weights_;
};
