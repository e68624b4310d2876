// Bf16: weights as they are in the checkpoint.
//
// For each pair of inputs lie 16 outputs' pairs together: one load of 64 bytes feeds sixteen sums with two products each.

#pragma once

#include "panel.h"

struct Bf16 {
  static constexpr long kWide = kNever;

  static long row_bytes(long inputs) { return padded(inputs) * long(sizeof(Input)); }
  static long panel_bytes(long inputs) { return padded(inputs) * kPanel * 2; }

  // Pairs of the same two inputs lie side by side, row after row.
  static void prepare(const float* from, long inputs, uint8_t* tile, long size, long row) {
    Input* to = reinterpret_cast<Input*>(tile) + 2 * row;
    for (long i = 0; i < padded(inputs); i += kLanes) {
      Input numbers[kLanes];
      put(numbers, load(from + i));
      for (long j = 0; j < kLanes; j += 2) std::copy_n(numbers + j, 2, to + (i + j) * size);
    }
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

  template <long Size, bool Ahead>
  static void multiply(const uint8_t* panel, long inputs, const uint8_t* tile, Floats (*sums)[kVectors]) {
    constexpr long kAtOnce = Size * kVectors <= kSums ? kVectors : 1;
    for (long vector = 0; vector < kVectors; vector += kAtOnce) {
      some<Size, kAtOnce, Ahead>(reinterpret_cast<const uint16_t*>(panel), padded(inputs) / 2,
                                 reinterpret_cast<const Input*>(tile), vector, sums);
    }
  }

 private:
  // Vectors that one tile always takes together lie side by side.
  static constexpr long kSideBySide = kRows * kVectors <= kSums ? kVectors : 1;

  static long place(long vector, long pair, long pairs) {
    return (vector / kSideBySide * pairs * kSideBySide + pair * kSideBySide + vector % kSideBySide) * kLanes * 2;
  }

  template <long Size, long Vectors, bool Ahead>
  static void some(const uint16_t* weights, long pairs, const Input* inputs, long vector, Floats (*results)[kVectors]) {
    Floats sums[Size][Vectors];
    for (auto& of_row : sums) {
      for (Floats& s : of_row) s = zeros();
    }
    for (long pair = 0; pair < pairs; pair++, inputs += 2 * Size) {
      for (long v = 0; v < Vectors; v++) prefetch<Size, Ahead>(weights + place(vector + v, pair, pairs));
      for (long r = 0; r < Size; r++) {
        for (long v = 0; v < Vectors; v++) {
          sums[r][v] = add_pairs(sums[r][v], weights + place(vector + v, pair, pairs), inputs + 2 * r);
        }
      }
    }
    for (long r = 0; r < Size; r++) {
      for (long v = 0; v < Vectors; v++) results[r][vector + v] = sums[r][v];
    }
  }
};
