// What all weight formats share: outputs are taken 32 at a time, a panel, in two vectors of 16.
//
// A format says how the weights of a panel lie (`pack`, `unpack`), what a tile's rows of inputs are turned into before
// they meet them (`prepare`), and how a tile is multiplied with a panel (`multiply`). Inputs are padded with zeros to whole
// groups of 32. Each output is one chain of additions over the inputs in order, whatever the number of rows.
//
// From `kWide` rows on a format is multiplied by tiles instead (amx.h), if the processor has them.

#pragma once

#include <algorithm>
#include <limits>

#include "simd.h"

constexpr long kVectors = 2;
constexpr long kPanel = kVectors * kLanes;

constexpr long kNever = std::numeric_limits<long>::max();  // more rows than a step has

inline long padded(long count) { return (count + kPanel - 1) / kPanel * kPanel; }
