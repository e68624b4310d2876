// Int4: weights of 4 bits with one scale for each 32 inputs of an output; inputs of 8 bits with one scale for each 128.

#pragma once

#include "quantized_rows.h"

struct Int4 {
  static constexpr long kWide = kNever;

  using Rows = QuantizedRows<128, 32, 8>;

  static long row_bytes(long inputs) { return Rows::bytes(inputs); }
  static long panel_bytes(long inputs) { return padded(inputs) / kGroup * kBlock; }
  static void prepare(const float* from, long inputs, uint8_t* tile, long size, long row) {
    Rows(tile, size, inputs).set(row, from);
  }

  // A block is a group of a panel: for each vector four loads of 64 bytes, whose lower nibbles are the group's first four
  // quads and whose upper ones the others; then the scales in bf16.
  static void pack(const float* weights, long count, long inputs, uint8_t* panel, long vector) {
    for (long first = 0; first < inputs; first += kGroup) {
      uint8_t* block = panel + first / kGroup * kBlock;
      for (long lane = 0; lane < kLanes; lane++) {
        float group[kGroup] = {};
        if (lane < count) std::copy_n(weights + lane * inputs + first, std::min(kGroup, inputs - first), group);
        const uint16_t scale = best_scale(group);
        scales(block)[vector * kLanes + lane] = scale;
        float levels[kGroup];
        for (long i = 0; i < kGroup; i += kLanes) store(levels + i, nearest(load(group + i), from_bf16(scale)));
        for (long i = 0; i < kGroup / 2; i++) {
          const int low = int(levels[i]) + 8, high = int(levels[i + kGroup / 2]) + 8;
          block[place(vector * kLanes + lane, i)] = uint8_t(low | high << 4);
        }
      }
    }
  }

  static void unpack(const uint8_t* panel, long output, long inputs, float* to) {
    for (long i = 0; i < inputs; i++) {
      const uint8_t* block = panel + i / kGroup * kBlock;
      const uint8_t byte = block[place(output, i % kGroup)];
      const long level = i % kGroup < kGroup / 2 ? byte & 0x0f : byte >> 4;
      to[i] = from_bf16(scales(const_cast<uint8_t*>(block))[output]) * float(level - 8);
    }
  }

  // Sums of a tile, of whole numbers and of floats: they and the weights must fit the registers. Two vectors at a time,
  // because to spread an input over a vector takes as long as two products with it.
#if defined(__AVX512F__)
  static constexpr long kRows = 6, kSums = 24;
#else
  static constexpr long kRows = 3, kSums = 6;
#endif

  template <long Size, bool Ahead>
  static void multiply(const uint8_t* panel, long inputs, uint8_t* tile, Floats (*sums)[kVectors]) {
    constexpr long kAtOnce = Size * kVectors * 2 <= kSums ? kVectors : 1;
    for (long vector = 0; vector < kVectors; vector += kAtOnce) {
      some<Size, kAtOnce, Ahead>(panel, inputs, Rows(tile, Size, inputs), vector, sums);
    }
  }

 private:
  static constexpr long kGroup = 32, kBlock = 2 * 256 + 64;

  template <long Size, long Vectors, bool Ahead>
  static void some(const uint8_t* block, long inputs, const Rows& rows, long vector, Floats (*results)[kVectors]) {
    for (long r = 0; r < Size; r++) {
      for (long v = 0; v < Vectors; v++) results[r][vector + v] = zeros();
    }
    const long parts = Rows::parts(inputs);
    for (long group = 0, part = 0; part < parts; group++) {
      Floats sums[Size][Vectors];
      for (auto& of_row : sums) {
        for (Floats& s : of_row) s = zeros();
      }
      for (const long last = std::min(part + Rows::kGroup / kGroup, parts); part < last; part++, block += kBlock) {
        for (long byte = 0; byte < kBlock; byte += 64) prefetch<Ahead>(block + byte);
        Ints totals[Size][Vectors];
        for (long r = 0; r < Size; r++) {
          for (Ints& total : totals[r]) total = repeat(rows.starts(part)[r]);
        }
        // Unrolled, the compiler would load all inputs of the group first, and spill them.
#pragma GCC unroll 1
        for (long i = 0; i < 4; i++) {
          Bytes low[Vectors], high[Vectors];
          for (long v = 0; v < Vectors; v++) {
            const Bytes both = load_bytes(block + ((vector + v) * 4 + i) * 64);
            low[v] = low_nibbles(both);
            high[v] = high_nibbles(both);
          }
          const Quad *lower = rows.quads(part * 8 + i), *upper = rows.quads(part * 8 + i + 4);
          for (long r = 0; r < Size; r++) {
            for (long v = 0; v < Vectors; v++) totals[r][v] = add_quads(totals[r][v], low[v], lower + r);
            for (long v = 0; v < Vectors; v++) totals[r][v] = add_quads(totals[r][v], high[v], upper + r);
          }
        }
        for (long v = 0; v < Vectors; v++) {
          const Floats scale = load_bf16(reinterpret_cast<const uint16_t*>(block + 512) + (vector + v) * kLanes);
          for (long r = 0; r < Size; r++) sums[r][v] = multiply_add(to_floats(totals[r][v]), scale, sums[r][v]);
        }
      }
      for (long r = 0; r < Size; r++) {
        const Floats scale = broadcast(rows.scales(group)[r]);
        for (long v = 0; v < Vectors; v++) results[r][vector + v] = multiply_add(sums[r][v], scale, results[r][vector + v]);
      }
    }
  }

  static uint16_t* scales(uint8_t* block) { return reinterpret_cast<uint16_t*>(block + 512); }

  // The byte of an output's input in its block; which nibble is a matter of the input's half.
  static long place(long output, long input) {
    return (output / kLanes * 4 + input % 16 / 4) * 64 + output % kLanes * 4 + input % 4;
  }

  // The levels, from -8 to 7, that are nearest to the weights.
  static Floats nearest(Floats weights, float scale) {
    const Floats levels = round_to_integer(weights * broadcast(std::fabs(scale) > 0 ? 1.0f / scale : 0.0f));
    return zeros() - maximum(broadcast(-7.0f), zeros() - maximum(broadcast(-8.0f), levels));
  }

  // The scale, in bf16, with the least squared error among those that map the largest weight to -8, or a little less.
  // Its sign is that of the largest weight, turned, because there are eight levels below zero and seven above.
  static uint16_t best_scale(const float* group) {
    float top = 0, check = 0;  // the latter stays 0 unless a weight is infinite or NaN; then so is the scale
    for (long i = 0; i < kGroup; i++) {
      if (std::fabs(group[i]) > std::fabs(top)) top = group[i];
      check += group[i] * 0.0f;
    }
    if (check != 0 || std::fabs(top) < Rows::kLeast) return to_bf16(check);
    uint16_t best = 0;
    float least = -1;
    for (long trial = 0; trial < 10; trial++) {
      const uint16_t candidate = to_bf16(top / (-8.0f + 0.15f * float(trial - 2)));
      const float scale = from_bf16(candidate);
      Floats squares = zeros();
      for (long i = 0; i < kGroup; i += kLanes) {
        const Floats weights = load(group + i), off = nearest(weights, scale) * broadcast(scale) - weights;
        squares = multiply_add(off, off, squares);
      }
      const float error = sum(squares);
      if (least < 0 || error < least) {
        least = error;
        best = candidate;
      }
    }
    return best;
  }
};
