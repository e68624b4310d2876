// The likeliest token of a row of logits.

#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "simd.h"

// The first of the greatest logits, as numpy's argmax finds it; -1 where one is not a number or the greatest is infinite.
inline int32_t greedy_token(const float* logits, long count) {
  constexpr long kChunk = 1024;  // so that the place is looked for in a small part of the row
  float best = -std::numeric_limits<float>::infinity();
  long where = 0;
  for (long first = 0; first < count; first += kChunk) {
    const long last = std::min(first + kChunk, count);
    float top = -std::numeric_limits<float>::infinity();
    int strange = 0;
    long i = first;
    if (last - first >= kLanes) {
      Floats most = load(logits + i);
      for (; i + kLanes <= last; i += kLanes) most = maximum(most, load(logits + i));
      top = largest(most);
    }
    for (; i < last; i++) top = std::max(top, logits[i]);
    for (i = first; i < last; i++) strange |= logits[i] != logits[i];
    if (strange) return -1;
    if (top > best) {
      best = top;
      where = first;
    }
  }
  if (!std::isfinite(best)) return -1;
  while (logits[where] != best) where++;
  return int32_t(where);
}
