// Matrix: the weights of a linear layer in one of the formats, and their product with prepared rows.

#pragma once

#include "bf16.h"
#include "buffer.h"
#include "int4.h"
#include "int8.h"
#include "tiles.h"

enum class Format : int { kBf16, kInt8, kInt4 };

class Matrix {
 public:
  Matrix() = default;
  Matrix(Format format, long outputs, long inputs) : format_(format), outputs_(outputs), inputs_(inputs) {
    with_format([&](auto format_of) { panel_bytes_ = decltype(format_of)::panel_bytes(inputs); });
  }

  // Take the memory that holds its weights: `bytes`, zero at first, and `kTileSlack` of whatever comes after them.
  void place(uint8_t* memory) { data_ = memory; }

  long panels() const { return (outputs_ + kPanel - 1) / kPanel; }
  size_t bytes() const { return size_t(panels()) * panel_bytes_; }

  // Take up to 16 outputs' weights (count, inputs); they become the matrix's vector `vector`.
  void set(long vector, const float* weights, long count) {
    uint8_t* panel = data_ + vector / kVectors * panel_bytes_;
    with_format([&](auto format) { format.pack(weights, count, inputs_, panel, vector % kVectors); });
  }

  // The weights of one output: an embedding whose matrix is also the head's.
  void get(long output, float* weights) const {
    const uint8_t* panel = data_ + output / kPanel * panel_bytes_;
    with_format([&](auto format) { format.unpack(panel, output % kPanel, inputs_, weights); });
  }

  // Bytes of a row as `prepare` leaves it, whatever the number of rows.
  long row_bytes() const {
    long bytes = 0;
    with_format([&](auto format) {
      bytes = format.row_bytes(inputs_);
      if constexpr (has_wide(format)) bytes = std::max(bytes, wide_bytes(format));
    });
    return bytes;
  }

  // Rows for which `prepare` needs room where there are `count`.
  static long room(long count) { return (count + kTileRows - 1) / kTileRows * kTileRows; }

  // Bytes that each thread lends to `multiply`.
  long scratch_bytes() const {
    long bytes = 0;
    with_format([&](auto format) {
      if constexpr (has_wide(format)) bytes = format.wide_scratch(inputs_);
    });
    return bytes;
  }

  // Tiles in which `count` rows are multiplied.
  long tiles(long count) const {
    long tiles = 0;
    with_format([&](auto format) {
      using F = decltype(format);
      tiles = is_wide(format, count) ? room(count) / kTileRows : tiles_of<F::kRows>(count);
    });
    return tiles;
  }

  // Put the rows of tile `number`, each padded with zeros by `source(row)`, where `multiply` reads them; `rows` has room for
  // `room(count)`. A tile's rows lie between each other, so threads that shared them would wait for each other's memory.
  template <class Source>
  void prepare(const Source& source, uint8_t* rows, long number, long count) const {
    with_format([&](auto format) {
      using F = decltype(format);
      if constexpr (has_wide(format)) {
        if (is_wide(format, count)) {
          const long first = number * kTileRows;
          typename F::WideRows tile(rows + first * wide_bytes(format), kTileRows, inputs_);
          for (long row = 0; row < std::min(kTileRows, count - first); row++) tile.set(row, source(first + row));
          return;
        }
      }
      const auto [first, size] = tile_of<F::kRows>(number, count);
      uint8_t* tile = rows + first * F::row_bytes(inputs_);
      for (long row = 0; row < size; row++) F::prepare(source(first + row), inputs_, tile, size, row);
    });
  }

  // For each of `count` prepared rows call `emit(row, sums)` with the panel's 32 outputs as `kVectors` vectors.
  template <class Emit>
  void multiply(long panel, uint8_t* rows, long count, uint8_t* scratch, const Emit& emit) const {
    with_format([&](auto format) {
      using F = decltype(format);
      const uint8_t* weights = data_ + panel * panel_bytes_;
      if constexpr (has_wide(format)) {
        if (is_wide(format, count)) return multiply_by_tiles<F>(weights, inputs_, rows, count, scratch, emit);
      }
      in_tiles<F::kRows>(count, [&](long first, auto size) {
        Floats sums[size][kVectors];
        uint8_t* tile = rows + first * F::row_bytes(inputs_);
        // The first tile asks for weights ahead; further ones find them in the cache.
        if (first == 0) {
          F::template multiply<size, true>(weights, inputs_, tile, sums);
        } else {
          F::template multiply<size, false>(weights, inputs_, tile, sums);
        }
        for (long row = 0; row < size; row++) emit(first + row, sums[row]);
      });
    });
  }

 private:
  template <class F>
  static constexpr bool has_wide(F) {
    return F::kWide < kNever;
  }
  template <class F>
  static bool is_wide(F, long count) {
    return has_wide(F()) && count >= F::kWide;
  }
  template <class F>
  long wide_bytes(F) const {
    return F::WideRows::bytes(inputs_);
  }

  template <class Body>
  void with_format(const Body& body) const {
    switch (format_) {
      case Format::kBf16: return body(Bf16());
      case Format::kInt8: return body(Int8());
      case Format::kInt4: return body(Int4());
    }
  }

  Format format_ = Format::kBf16;
  long outputs_ = 0, inputs_ = 0, panel_bytes_ = 0;
  uint8_t* data_ = nullptr;
};
