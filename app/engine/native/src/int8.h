// Int8: weights of 8 bits with one scale an output; inputs of 8 bits with one scale for each 128.

#pragma once

#include "amx.h"
#include "quantized_rows.h"

struct Int8 {
  using Rows = QuantizedRows<128, 128, 128>;
  using WideRows = QuantizedRows<128, 128, 0, kTileInputs / 4>;

  static long row_bytes(long inputs) { return Rows::bytes(inputs); }
  static long panel_bytes(long inputs) { return padded(inputs) * kPanel + kPanel * long(sizeof(float)); }
  static void prepare(const float* from, long inputs, uint8_t* tile, long size, long row) {
    Rows(tile, size, inputs).set(row, from);
  }

  // For each quad of inputs lie 16 outputs' quads, with a sign, then the other 16's; the scales come last.
  static void pack(const float* weights, long count, long inputs, uint8_t* panel, long vector) {
    for (long lane = 0; lane < kLanes; lane++) {
      const float* of_lane = weights + lane * inputs;
      float top = 0, check = 0;  // the latter stays 0 unless a weight is infinite or NaN; then so is the output
      for (long i = 0; i < inputs && lane < count; i++) {
        top = std::max(top, std::fabs(of_lane[i]));
        check += of_lane[i] * 0.0f;
      }
      scales(panel, inputs)[vector * kLanes + lane] = top / 127.0f + check;
      const float inverse = top > Rows::kLeast && check == 0 ? 127.0f / top : 0.0f;
      for (long i = 0; i < padded(inputs); i++) {
        const float weight = lane < count && i < inputs && inverse > 0 ? of_lane[i] * inverse : 0.0f;
        panel[place(vector * kLanes + lane, i)] = uint8_t(long(std::nearbyint(weight)));
      }
    }
  }

  static void unpack(const uint8_t* panel, long output, long inputs, float* to) {
    const float scale = scales(const_cast<uint8_t*>(panel), inputs)[output];
    for (long i = 0; i < inputs; i++) to[i] = scale * float(int8_t(panel[place(output, i)]));
  }

#if defined(__AVX512F__)
  static constexpr long kRows = 12, kAtOnce = 2;
#else
  static constexpr long kRows = 4, kAtOnce = 1;
#endif

  template <long Size, bool Ahead>
  static void multiply(const uint8_t* panel, long inputs, uint8_t* tile, Floats (*sums)[kVectors]) {
    const Rows rows(tile, Size, inputs);
    const long quads = padded(inputs) / 4;
    for (long vector = 0; vector < kVectors; vector += kAtOnce) {
      for (long r = 0; r < Size; r++) {
        for (long v = 0; v < kAtOnce; v++) sums[r][vector + v] = zeros();
      }
      for (long group = 0, quad = 0; quad < quads; group++) {
        Ints totals[Size][kAtOnce];
        for (long r = 0; r < Size; r++) {
          for (Ints& total : totals[r]) total = repeat(rows.starts(group)[r]);
        }
        for (const long last = std::min(quad + Rows::kGroup / 4, quads); quad < last; quad++) {
          Bytes weights[kAtOnce];
          for (long v = 0; v < kAtOnce; v++) {
            const uint8_t* from = panel + place((vector + v) * kLanes, quad * 4);
            prefetch<Size, Ahead>(from);
            weights[v] = offset_bytes(load_bytes(from));
          }
          for (long r = 0; r < Size; r++) {
            for (long v = 0; v < kAtOnce; v++) totals[r][v] = add_quads(totals[r][v], weights[v], rows.quads(quad) + r);
          }
        }
        for (long r = 0; r < Size; r++) {
          const Floats scale = broadcast(rows.scales(group)[r]);
          for (long v = 0; v < kAtOnce; v++) sums[r][vector + v] = add_group(totals[r][v], {}, scale, sums[r][vector + v]);
        }
      }
      for (long r = 0; r < Size; r++) {
        for (long v = vector; v < vector + kAtOnce; v++) sums[r][v] = finished(sums[r][v], panel, inputs, v);
      }
    }
  }

#if defined(__AMX_INT8__)
  static constexpr long kWide = 10;
  static long wide_scratch(long) { return 0; }
  static const uint8_t* wide_weights(const uint8_t* panel, long, uint8_t*) { return panel; }
#else
  static constexpr long kWide = kNever;
#endif

  // How the total of a group is added to a sum, and how that is finished.
  struct None {};
  static None group_scale(const uint8_t*, long, long) { return {}; }
  static Floats add_group(Ints total, None, Floats scale, Floats sum) { return multiply_add(to_floats(total), scale, sum); }
  static Floats finished(Floats sum, const uint8_t* panel, long inputs, long vector) {
    return sum * load(scales(const_cast<uint8_t*>(panel), inputs) + vector * kLanes);
  }

 private:
  static long place(long output, long input) { return (input / 4 * kPanel + output) * 4 + input % 4; }
  static float* scales(uint8_t* panel, long inputs) { return reinterpret_cast<float*>(panel + padded(inputs) * kPanel); }
};
