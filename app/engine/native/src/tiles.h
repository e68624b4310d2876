// in_tiles: a loop in steps whose size the compiler knows, so that sums stay in registers.

#pragma once

#include <algorithm>
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

// How many tiles `in_tiles` makes of `count` things, and its tile `number`.
template <long Most>
inline long tiles_of(long count) {
  return (count + Most - 1) / Most;
}
template <long Most>
inline Tile tile_of(long number, long count) {
  const long tiles = tiles_of<Most>(count), small = count / tiles, larger = count % tiles;
  return {number * small + std::min(number, larger), small + (number < larger)};
}

// Call `body(first, size)` for tiles that cover `count` things, none larger than `Most` and all as equal as can be.
template <long Most, class Body>
inline void in_tiles(long count, const Body& body) {
  for (long tiles = tiles_of<Most>(count), first = 0; tiles > 0; tiles--) {
    const long size = (count - first + tiles - 1) / tiles;
    one_tile<Most>(first, size, body);
    first += size;
  }
}
