// in_tiles: a loop in steps whose size the compiler knows, so that sums stay in registers.

#pragma once

#include <type_traits>

template <long Most, class Body>
inline void one_tile(long first, long size, const Body& body) {
  if constexpr (Most > 1) {
    if (size < Most) return one_tile<Most - 1>(first, size, body);
  }
  body(first, std::integral_constant<long, Most>());
}

struct Tile {
  long first, size;
};

// The tile to which thing `number` of `count` belongs in `in_tiles`.
template <long Most>
inline Tile tile_of(long number, long count) {
  const long tiles = (count + Most - 1) / Most, small = count / tiles, larger = count % tiles * (small + 1);
  if (number < larger) return {number / (small + 1) * (small + 1), small + 1};
  return {larger + (number - larger) / small * small, small};
}

// Call `body(first, size)` for tiles that cover `count` things, none larger than `Most` and all as equal as can be.
template <long Most, class Body>
inline void in_tiles(long count, const Body& body) {
  for (long tiles = (count + Most - 1) / Most, first = 0; tiles > 0; tiles--) {
    const long size = (count - first + tiles - 1) / tiles;
    one_tile<Most>(first, size, body);
    first += size;
  }
}
