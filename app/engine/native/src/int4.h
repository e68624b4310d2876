// Int4: weights of 4 bits with a step of 8 bits for each 32 inputs of an output, in units of a scale for each 128; inputs of
// 8 bits with one scale for each 128. A level times its step is a whole number of 8 bits again.

#pragma once

#include "amx.h"
#include "quantized_rows.h"

struct Int4 {
  using Rows = QuantizedRows<128, 32, 8>;
  using WideRows = QuantizedRows<128, 128, 0, kTileInputs / 4>;

  static long row_bytes(long inputs) { return Rows::bytes(inputs); }
  static long panel_bytes(long inputs) { return Rows::groups(inputs) * kBlock; }
  static void prepare(const float* from, long inputs, uint8_t* tile, long size, long row) {
    Rows(tile, size, inputs).set(row, from);
  }

  // A block is a group of a panel: the steps of its parts, its scales in bf16, and for each part and each vector four loads of
  // 64 bytes, whose lower nibbles are the part's first four quads and whose upper ones the others.
  static void pack(const float* weights, long count, long inputs, uint8_t* panel, long vector) {
    for (long first = 0; first < inputs; first += kGroup) {
      uint8_t* block = panel + first / kGroup * kBlock;
      for (long lane = 0; lane < kLanes; lane++) {
        const long output = vector * kLanes + lane;
        float group[kGroup] = {};
        if (lane < count) std::copy_n(weights + lane * inputs + first, std::min(kGroup, inputs - first), group);
        const Scales best = best_scales(group);
        scales(block)[output] = best.unit;
        for (long part = 0; part < kParts; part++) {
          steps(block, part)[output] = best.steps[part];
          float levels[kPart];
          for (long i = 0; i < kPart; i += kLanes) {
            store(levels + i, nearest(load(group + part * kPart + i), from_bf16(best.unit) * float(best.steps[part])));
          }
          for (long i = 0; i < kPart / 2; i++) {
            const int low = int(levels[i]) + 8, high = int(levels[i + kPart / 2]) + 8;
            block[place(output, part * kPart + i)] = uint8_t(low | high << 4);
          }
        }
      }
    }
  }

  static void unpack(const uint8_t* panel, long output, long inputs, float* to) {
    for (long i = 0; i < inputs; i++) {
      const uint8_t* block = panel + i / kGroup * kBlock;
      const uint8_t byte = block[place(output, i % kGroup)];
      const int level = i % kPart < kPart / 2 ? byte & 0x0f : byte >> 4;
      to[i] = from_bf16(scales(block)[output]) * float((level - 8) * steps(block, i % kGroup / kPart)[output]);
    }
  }

  // Sums of a tile, of a part and of a group: they and the weights must fit the registers. Two vectors at a time, because
  // to spread an input over a vector takes as long as two products with it.
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

#if defined(__AMX_INT8__)
  static constexpr long kWide = 10;
  static long wide_scratch(long inputs) { return Rows::groups(inputs) * kGroup * kPanel; }

  // The panel with levels times steps for weights, as an int8 panel lies.
  static const uint8_t* wide_weights(const uint8_t* panel, long inputs, uint8_t* scratch) {
    uint8_t* to = scratch;
    for (const uint8_t *block = panel, *end = panel + panel_bytes(inputs); block < end; block += kBlock) {
      for (long part = 0; part < kParts; part++, to += kPart * kPanel) {
        for (long v = 0; v < kVectors; v++) {
          const Ints of_part = load_steps(steps(block, part) + v * kLanes);
          for (long i = 0; i < 4; i++) {
            const Bytes both = load_bytes(block + place(v * kLanes, part * kPart + i * 4));
            uint8_t* quad = to + i * kPanel * 4 + v * kLanes * 4;
            store_bytes(quad, times_steps(low_nibbles(both), of_part));
            store_bytes(quad + 4 * kPanel * 4, times_steps(high_nibbles(both), of_part));
          }
        }
      }
    }
    return scratch;
  }
#else
  static constexpr long kWide = kNever;
#endif

  // How the total of a group is added to a sum, and how that is finished.
  static Floats group_scale(const uint8_t* panel, long group, long vector) {
    return load_bf16(scales(panel + group * kBlock) + vector * kLanes);
  }
  static Floats add_group(Ints total, Floats of_weights, Floats of_inputs, Floats sum) {
    return multiply_add(to_floats(total) * of_weights, of_inputs, sum);
  }
  static Floats finished(Floats sum, const uint8_t*, long, long) { return sum; }

 private:
  static constexpr long kGroup = 128, kPart = 32, kParts = kGroup / kPart;
  static constexpr long kHead = kParts * kPanel + kPanel * 2, kBlock = kHead + kGroup * kPanel / 2;
  static constexpr int kMost = 15;  // of a step: eight times that is a number of 8 bits

  template <long Size, long Vectors, bool Ahead>
  static void some(const uint8_t* panel, long inputs, const Rows& rows, long vector, Floats (*results)[kVectors]) {
    for (long r = 0; r < Size; r++) {
      for (long v = 0; v < Vectors; v++) results[r][vector + v] = zeros();
    }
    const long parts = Rows::parts(inputs);
    const uint8_t* block = panel;
    for (long group = 0, part = 0; part < parts; group++, block += kBlock) {
      Ints sums[Size][Vectors];
      for (auto& of_row : sums) {
        for (Ints& s : of_row) s = repeat(0);
      }
      for (long byte = 0; byte < kHead; byte += 64) prefetch<Size, Ahead>(block + byte);
      for (const long first = part, last = std::min(part + kParts, parts); part < last; part++) {
        const uint8_t* nibbles = block + place(vector * kLanes, (part - first) * kPart);
        for (long byte = 0; byte < Vectors * 256; byte += 64) prefetch<Size, Ahead>(nibbles + byte);
        Ints totals[Size][Vectors];
        for (long r = 0; r < Size; r++) {
          for (Ints& total : totals[r]) total = repeat(rows.starts(part)[r]);
        }
        // Unrolled, the compiler would load all inputs of the part first, and spill them.
#pragma GCC unroll 1
        for (long i = 0; i < 4; i++) {
          Bytes low[Vectors], high[Vectors];
          for (long v = 0; v < Vectors; v++) {
            const Bytes both = load_bytes(nibbles + (v * 4 + i) * 64);
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
          const Ints of_part = load_steps(steps(block, part - first) + (vector + v) * kLanes);
          for (long r = 0; r < Size; r++) sums[r][v] = add_in_steps(sums[r][v], totals[r][v], of_part);
        }
      }
      for (long v = 0; v < Vectors; v++) {
        const Floats of_weights = group_scale(panel, group, vector + v);
        for (long r = 0; r < Size; r++) {
          const Floats of_inputs = broadcast(rows.scales(group)[r]);
          results[r][vector + v] = add_group(sums[r][v], of_weights, of_inputs, results[r][vector + v]);
        }
      }
    }
  }

  static int8_t* steps(uint8_t* block, long part) { return reinterpret_cast<int8_t*>(block + part * kPanel); }
  static const int8_t* steps(const uint8_t* block, long part) { return steps(const_cast<uint8_t*>(block), part); }
  static uint16_t* scales(uint8_t* block) { return reinterpret_cast<uint16_t*>(block + kParts * kPanel); }
  static const uint16_t* scales(const uint8_t* block) { return scales(const_cast<uint8_t*>(block)); }

  // The byte of an output's input in its block; which nibble is a matter of the half of its part.
  static long place(long output, long input) {
    const long load = input / kPart * kVectors * 4 + output / kLanes * 4 + input % 16 / 4;
    return kHead + load * 64 + output % kLanes * 4 + input % 4;
  }

  // The levels, from -8 to 7, that are nearest to the weights.
  static Floats nearest(Floats weights, float scale) {
    const Floats levels = round_to_integer(weights * broadcast(std::fabs(scale) > 0 ? 1.0f / scale : 0.0f));
    return zeros() - maximum(broadcast(-7.0f), zeros() - maximum(broadcast(-8.0f), levels));
  }

  struct Scales {
    uint16_t unit;  // in bf16
    int8_t steps[kParts];
  };

  // The unit and the steps with the least squared error among those that map the largest weight to -8, or a little less.
  // A step's sign is that of its part's largest weight, turned, because there are eight levels below zero and seven above.
  static Scales best_scales(const float* group) {
    float tops[kParts] = {}, top = 0, check = 0;  // the last stays 0 unless a weight is infinite or NaN; so is the unit then
    for (long i = 0; i < kGroup; i++) {
      if (std::fabs(group[i]) > std::fabs(tops[i / kPart])) tops[i / kPart] = group[i];
      top = std::max(top, std::fabs(group[i]));
      check += group[i] * 0.0f;
    }
    Scales best = {to_bf16(check), {}};
    if (check != 0 || top < Rows::kLeast) return best;
    float least = -1;
    for (long trial = 0; trial < 8; trial++) {
      Scales scales = {to_bf16(top / (float(kMost) * (8.2f - 0.2f * float(trial)))), {}};
      float error = 0;
      for (long part = 0; part < kParts; part++) {
        error += best_step(group + part * kPart, tops[part], from_bf16(scales.unit), scales.steps[part]);
      }
      if (least < 0 || error < least) {
        least = error;
        best = scales;
      }
    }
    return best;
  }

  // Choose a part's step; returns the squared error.
  static float best_step(const float* part, float top, float unit, int8_t& best) {
    const int sign = top > 0 ? -1 : 1;
    const float even = std::fabs(top) / (8.0f * unit);  // the step that maps the largest weight to -8 exactly
    const int first = std::min(kMost, int(even * 0.98f)), last = std::min(kMost, first + 2);
    float least = -1;
    for (int step = first; step <= last; step++) {
      Floats squares = zeros();
      for (long i = 0; i < kPart; i += kLanes) {
        const float scale = unit * float(sign * step);
        const Floats weights = load(part + i), off = nearest(weights, scale) * broadcast(scale) - weights;
        squares = multiply_add(off, off, squares);
      }
      const float error = sum(squares);
      if (least < 0 || error < least) {
        least = error;
        best = int8_t(sign * step);
      }
    }
    return least;
  }
};
