// Products of many rows by AMX, whose instructions multiply tiles: 16 rows of 64 inputs with those inputs of 16 outputs.
//
// Whole numbers are summed in the tile registers over a group of inputs. From there on the numbers are those that a tile of
// few rows computes, in the same order, and so are the results. Weights lie as an int8 panel does.

#pragma once

#include "panel.h"
#include "tiles.h"

constexpr long kTileRows = 16, kTileInputs = 64, kTileBytes = kTileRows * kTileInputs;
constexpr long kTileGroup = 2 * kTileInputs;  // inputs with one scale, of which a row has a whole number

// Bytes after a matrix that are read, and multiplied with zeros, where its inputs are no whole number of groups.
constexpr long kTileSlack = kTileGroup * kPanel;

// For each of `count` rows, prepared as `F::WideRows`, call `emit(row, sums)`; `scratch` is for `F::wide_weights`. It exists
// where the processor has tiles.
template <class F, class Emit>
void multiply_by_tiles(const uint8_t* panel, long inputs, uint8_t* rows, long count, uint8_t* scratch, const Emit& emit);

#if defined(__AMX_TILE__) && defined(__AMX_INT8__)

// The tile registers of the thread that makes it, each set for 16 rows of 64 bytes, for as long as it lives.
class TileRegisters {
 public:
  TileRegisters() {
    struct alignas(64) {
      uint8_t palette, start, reserved[14];
      uint16_t row_bytes[16];
      uint8_t rows[16];
    } shape = {};
    shape.palette = 1;
    std::fill_n(shape.row_bytes, 8, uint16_t(kTileInputs));
    std::fill_n(shape.rows, 8, uint8_t(kTileRows));
    asm volatile("ldtilecfg %0" ::"m"(shape));
  }
  ~TileRegisters() { asm volatile("tilerelease"); }
  TileRegisters(const TileRegisters&) = delete;
  TileRegisters& operator=(const TileRegisters&) = delete;
};

// Written out, because compilers' own take no number of a register that depends on a template, and say nothing of memory.
template <int To>
inline void clear_tile() {
  asm volatile("tilezero %%tmm%c0" ::"i"(To));
}
template <int To>
inline void load_tile(const void* from, long stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(To) : "memory");
}
template <int From>
inline void store_tile(int32_t* to, long stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride), "i"(From) : "memory");
}
template <int To, int Inputs, int Weights>
inline void add_tile_product() {
  asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(To), "i"(Inputs), "i"(Weights));
}

// Registers `To` and `To + 1` become the totals of a group: a tile's rows by the panel's two vectors.
template <int To>
inline void multiply_group(const uint8_t* inputs, const uint8_t* weights) {
  clear_tile<To>();
  clear_tile<To + 1>();
  for (long i = 0; i < kTileGroup / kTileInputs; i++, inputs += kTileBytes, weights += kTileInputs * kPanel) {
    load_tile<0>(inputs, kTileInputs);
    load_tile<2>(weights, kPanel * 4);
    add_tile_product<To, 0, 2>();
    load_tile<3>(weights + kLanes * 4, kPanel * 4);
    add_tile_product<To + 1, 0, 3>();
  }
}

template <class F, class Emit>
void multiply_by_tiles(const uint8_t* panel, long inputs, uint8_t* rows, long count, uint8_t* scratch, const Emit& emit) {
  using Rows = typename F::WideRows;
  constexpr long kTogether = 2;  // tiles of rows that meet a group of weights while it is in the nearest cache
  const long groups = Rows::groups(inputs), tiles = (count + kTileRows - 1) / kTileRows;
  const uint8_t* weights = F::wide_weights(panel, inputs, scratch);
  const uint8_t* next = panel + F::panel_bytes(inputs);
  const long lines = F::panel_bytes(inputs) / 64, per_unit = (lines + groups * tiles - 1) / (groups * tiles);
  in_tiles<kTogether>(tiles, [&](long first, auto together) {
    // On a page of their own: a load waits for a store before it whose address has the same lower twelve bits.
    struct alignas(4096) {
      Floats sums[kTogether][kTileRows][kVectors];
      int32_t totals[2][kTileRows][kPanel];
    } work;
    const uint8_t* quads[together];
    const float* scales[together];
    for (long t = 0; t < together; t++) {
      const Rows tile(rows + (first + t) * kTileRows * Rows::bytes(inputs), kTileRows, inputs);
      quads[t] = reinterpret_cast<const uint8_t*>(tile.quads(0));
      scales[t] = tile.scales(0);
      for (auto& of_row : work.sums[t]) of_row[0] = of_row[1] = zeros();
    }
    // A unit is a group of a tile. It is summed in two registers, while the one before it is read from two others.
    const long units = groups * together;
    const auto step = [&](auto set, long unit) {
      if (unit < units) {
        // The next panel comes near, a little with each unit, for the processor would wait for it.
        for (long line = 0; line < per_unit; line++, next += 64) __builtin_prefetch(next, 0, 2);
        const long group = unit / together;
        multiply_group<4 + 2 * set>(quads[unit % together] + group * kTileGroup * kTileRows,
                                    weights + group * kTileGroup * kPanel);
      }
      if (unit == 0 || unit > units) return;
      auto& totals = work.totals[set];
      store_tile<6 - 2 * set>(totals[0], sizeof totals[0]);
      store_tile<7 - 2 * set>(totals[0] + kLanes, sizeof totals[0]);
      const long group = (unit - 1) / together;
      const float* by = scales[(unit - 1) % together] + group * kTileRows;
      auto& sums = work.sums[(unit - 1) % together];
      const auto left = F::group_scale(panel, group, 0), right = F::group_scale(panel, group, 1);
#pragma GCC unroll 4
      for (long r = 0; r < kTileRows; r++) {
        const Floats scale = broadcast(by[r]);
        sums[r][0] = F::add_group(load_ints(totals[r]), left, scale, sums[r][0]);
        sums[r][1] = F::add_group(load_ints(totals[r] + kLanes), right, scale, sums[r][1]);
      }
    };
    for (long unit = 0; unit <= units; unit += 2) {
      step(std::integral_constant<int, 0>(), unit);
      step(std::integral_constant<int, 1>(), unit + 1);
    }
    for (long row = first * kTileRows; row < std::min((first + together) * kTileRows, count); row++) {
      Floats* sums = work.sums[row / kTileRows - first][row % kTileRows];
      for (long v = 0; v < kVectors; v++) sums[v] = F::finished(sums[v], panel, inputs, v);
      emit(row, sums);
    }
  });
}

#else

class TileRegisters {
 public:
  TileRegisters() {}
};

#endif
