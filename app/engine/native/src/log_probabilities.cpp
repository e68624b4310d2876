// Log-probabilities of a few tokens after each of some rows: most of the logits are only summed up.

#include <algorithm>
#include <initializer_list>
#include <limits>

#include "simd.h"

namespace {

// Sixteen of `count` logits from `first` on; what lies behind the last counts nothing.
Floats part(const float* logits, long first, long count) {
  if (first + kLanes <= count) return load(logits + first);
  float some[kLanes];
  std::fill(some, some + kLanes, -std::numeric_limits<float>::infinity());
  std::copy(logits + first, logits + count, some);
  return load(some);
}

// The logarithm of the sum of e to the power of each; NaN where one is NaN, or the largest is infinite.
double log_sum(const float* logits, long count) {
  Floats most = part(logits, 0, count);
  for (long i = kLanes; i < count; i += kLanes) most = maximum(most, part(logits, i, count));
  const float top = largest(most);
  if (!std::isfinite(top)) return std::numeric_limits<double>::quiet_NaN();
  Floats totals = zeros();
  for (long i = 0; i < count; i += kLanes) totals = totals + exponential(part(logits, i, count) - broadcast(top));
  return double(top) + std::log(double(sum(totals)));
}

}  // namespace

// logits: (rows, vocabulary); of `count` pairs of a row, ascending, and a token. 1 where a token is out of its range.
extern "C" int repartee_log_probabilities(const float* logits, long vocabulary, const int32_t* rows, const int32_t* tokens,
                                          long count, double* results) {
  double normalizer = 0;
  for (long i = 0; i < count; i++) {
    if (tokens[i] < 0 || tokens[i] >= vocabulary) return 1;
    const float* row = logits + rows[i] * vocabulary;
    if (i == 0 || rows[i] != rows[i - 1]) normalizer = log_sum(row, vocabulary);
    results[i] = double(row[tokens[i]]) - normalizer;
  }
  return 0;
}
