// Bf16: weights as they are in the checkpoint.
//
// For each pair of inputs lie 16 outputs' pairs together: one load of 64 bytes feeds sixteen sums with two products each.

#pragma once

#include "panel.h"

struct Bf16 {
  static long row_bytes(long inputs) { return padded(inputs) * long(sizeof(Input)); }
  static long panel_bytes(long inputs) { return padded(inputs) * kPanel * 2; }

  static void prepare(const float* from, long inputs, uint8_t* to) {
    Input* row = reinterpret_cast<Input*>(to);
    for (long i = 0; i < padded(inputs); i += kLanes) put(row + i, load(from + i));
  }

  static void pack(const float* weights, long count, long inputs, uint8_t* panel, long vector) {
    uint16_t* to = reinterpret_cast<uint16_t*>(panel);
    for (long pair = 0; pair < (inputs + 1) / 2; pair++) {
      uint16_t* pairs = to + place(vector, pair, padded(inputs) / 2);
      for (long lane = 0; lane < count; lane++) {
        const float* from = weights + lane * inputs + pair * 2;
        pairs[lane * 2] = to_bf16(from[0]);
        if (pair * 2 + 1 < inputs) pairs[lane * 2 + 1] = to_bf16(from[1]);
      }
    }
  }

  static void unpack(const uint8_t* panel, long output, long inputs, float* to) {
    const uint16_t* from = reinterpret_cast<const uint16_t*>(panel) + output % kLanes * 2;
    for (long i = 0; i < inputs; i++) {
      to[i] = from_bf16(from[place(output / kLanes, i / 2, padded(inputs) / 2) + i % 2]);
    }
  }

  // Sums of a tile: they, the weights and one input must fit the registers.
#if defined(__AVX512F__)
  static constexpr long kRows = 12, kSums = 24;
#else
  static constexpr long kRows = 6, kSums = 6;
#endif

  template <long Rows>
  static void tile(const uint8_t* panel, long inputs, const uint8_t* rows, long stride, Floats (*sums)[kVectors]) {
    constexpr long kAtOnce = Rows * kVectors <= kSums ? kVectors : 1;
    for (long vector = 0; vector < kVectors; vector += kAtOnce) {
      some<Rows, kAtOnce>(reinterpret_cast<const uint16_t*>(panel), padded(inputs) / 2, rows, stride, vector, sums);
    }
  }

 private:
  // Vectors that one tile always takes together lie side by side.
  static constexpr long kSideBySide = kRows * kVectors <= kSums ? kVectors : 1;

  static long place(long vector, long pair, long pairs) {
    return (vector / kSideBySide * pairs * kSideBySide + pair * kSideBySide + vector % kSideBySide) * kLanes * 2;
  }

  template <long Rows, long Vectors>
  static void some(const uint16_t* weights, long pairs, const uint8_t* rows, long stride, long vector,
                   Floats (*results)[kVectors]) {
    Floats sums[Rows][Vectors];
    for (auto& of_row : sums) {
      for (Floats& s : of_row) s = zeros();
    }
    for (long pair = 0; pair < pairs; pair++) {
      for (long r = 0; r < Rows; r++) {
        const Input* input = reinterpret_cast<const Input*>(rows + r * stride) + pair * 2;
        for (long v = 0; v < Vectors; v++) {
          sums[r][v] = add_pairs(sums[r][v], weights + place(vector + v, pair, pairs), input);
        }
      }
    }
    for (long r = 0; r < Rows; r++) {
      for (long v = 0; v < Vectors; v++) results[r][vector + v] = sums[r][v];
    }
  }
};
