// Sixteen floats at a time: one register of AVX-512, two of AVX2, plain loops elsewhere.
//
// Everything above this file is written once for all processors. The compiler reorders no additions, for it was not
// allowed to, and fuses no product with a sum by itself (-ffp-contract=off), so a result depends on the order written here
// alone.

#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#ifdef __AVX2__
#include <immintrin.h>
#endif

constexpr long kLanes = 16;

// Rows up to which the processor is ahead of its products with weights: it looks for memory by itself, but not far enough.
constexpr long kFewRows = 2;

// Ask for weights that come later, if `Wanted`: the next ones, where `Size` rows are few, or else, since they will take a
// while, those some panels away. There is no harm in an address that holds nothing.
template <long Size, bool Wanted>
inline void prefetch(const void* weights) {
  const char* from = static_cast<const char*>(weights);
  if constexpr (Wanted && Size <= kFewRows) __builtin_prefetch(from + 2048, 0, 3);
  if constexpr (Wanted && Size > kFewRows) __builtin_prefetch(from + 8192, 0, 2);
}

#if defined(__AVX512F__)

using Floats = __m512;

inline Floats broadcast(float value) { return _mm512_set1_ps(value); }
inline Floats load(const float* from) { return _mm512_loadu_ps(from); }
inline void store(float* to, Floats value) { _mm512_storeu_ps(to, value); }
inline Floats multiply_add(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
inline Floats maximum(Floats a, Floats b) { return _mm512_max_ps(a, b); }
// `value` where `a` is not less than `limit`, else 0
inline Floats zero_where_less(Floats value, Floats a, Floats limit) {
  return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, limit, _CMP_NLT_UQ), value);
}
inline Floats load_bf16(const uint16_t* from) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)from)), 16));
}
// The even and the odd halves of 16 words, each the upper half of a float32.
inline Floats even_bf16(const uint16_t* pairs) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(pairs), 16));
}
inline Floats odd_bf16(const uint16_t* pairs) {
  return _mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(pairs), _mm512_set1_epi32(0xffff0000)));
}
inline Floats round_to_integer(Floats a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline Floats times_power_of_two(Floats a, Floats integer) { return _mm512_scalef_ps(a, integer); }

// Types of their own: the compiler's integer vector may stand for any memory, and sums of it would not stay in registers.
typedef int32_t Ints __attribute__((vector_size(64)));
typedef uint8_t Bytes __attribute__((vector_size(64)));
using Quad = int32_t;

inline Ints repeat(int32_t value) { return Ints(_mm512_set1_epi32(value)); }
inline Floats to_floats(Ints a) { return _mm512_cvtepi32_ps(__m512i(a)); }
inline Bytes load_bytes(const uint8_t* from) { return Bytes(_mm512_loadu_si512(from)); }
inline Ints load_ints(const int32_t* from) { return Ints(_mm512_loadu_si512(from)); }
inline void store_bytes(uint8_t* to, Bytes value) { _mm512_storeu_si512(to, __m512i(value)); }
inline Bytes offset_bytes(Bytes a) { return a ^ 0x80; }
inline Bytes low_nibbles(Bytes a) { return a & 0x0f; }
inline Bytes high_nibbles(Bytes a) { return Bytes(_mm512_srli_epi16(__m512i(a), 4)) & 0x0f; }
inline Ints load_steps(const int8_t* from) {
  return Ints(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)from))) & 0xffff;
}
inline Ints add_in_steps(Ints sum, Ints total, Ints steps) {
  return Ints(_mm512_dpwssd_epi32(__m512i(sum), __m512i(total), __m512i(steps)));
}
inline Bytes times_steps(Bytes nibbles, Ints steps) {
  const __m512i both = __m512i(steps | steps << 16), amounts = _mm512_abs_epi16(both);
  const Bytes signs = Bytes(_mm512_srai_epi16(both, 15));
  const Bytes eights = Bytes(_mm512_slli_epi16(amounts, 3)) | Bytes(_mm512_slli_epi16(amounts, 11));
  return ((Bytes(_mm512_mullo_epi16(__m512i(nibbles), amounts)) - eights) ^ signs) - signs;
}
inline Ints add_quads(Ints sum, Bytes weights, const Quad* input) {
  return Ints(_mm512_dpbusd_epi32(__m512i(sum), __m512i(weights), _mm512_set1_epi32(*input)));
}
inline int32_t put_quads(Quad* to, Floats integers) {
  const __m512i whole = _mm512_cvtps_epi32(integers);
  _mm_storeu_si128((__m128i*)to, _mm512_cvtepi32_epi8(whole));
  return _mm512_reduce_add_epi32(whole);
}

#elif defined(__AVX2__) && defined(__FMA__)

struct Floats {
  __m256 low, high;
  friend Floats operator+(Floats a, Floats b) { return {a.low + b.low, a.high + b.high}; }
  friend Floats operator-(Floats a, Floats b) { return {a.low - b.low, a.high - b.high}; }
  friend Floats operator*(Floats a, Floats b) { return {a.low * b.low, a.high * b.high}; }
  friend Floats operator/(Floats a, Floats b) { return {a.low / b.low, a.high / b.high}; }
};

inline Floats broadcast(float value) { return {_mm256_set1_ps(value), _mm256_set1_ps(value)}; }
inline Floats load(const float* from) { return {_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)}; }
inline void store(float* to, Floats value) {
  _mm256_storeu_ps(to, value.low);
  _mm256_storeu_ps(to + 8, value.high);
}
inline Floats multiply_add(Floats a, Floats b, Floats c) {
  return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
inline Floats maximum(Floats a, Floats b) { return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)}; }
inline Floats zero_where_less(Floats value, Floats a, Floats limit) {
  return {_mm256_and_ps(_mm256_cmp_ps(a.low, limit.low, _CMP_NLT_UQ), value.low),
          _mm256_and_ps(_mm256_cmp_ps(a.high, limit.high, _CMP_NLT_UQ), value.high)};
}
inline __m256 widen(__m128i halves) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}
inline Floats load_bf16(const uint16_t* from) {
  return {widen(_mm_loadu_si128((const __m128i*)from)), widen(_mm_loadu_si128((const __m128i*)(from + 8)))};
}
inline __m256i load_words(const uint16_t* from) { return _mm256_loadu_si256((const __m256i*)from); }
inline Floats even_bf16(const uint16_t* pairs) {
  return {_mm256_castsi256_ps(_mm256_slli_epi32(load_words(pairs), 16)),
          _mm256_castsi256_ps(_mm256_slli_epi32(load_words(pairs + 16), 16))};
}
inline Floats odd_bf16(const uint16_t* pairs) {
  const __m256i upper = _mm256_set1_epi32(0xffff0000);
  return {_mm256_castsi256_ps(_mm256_and_si256(load_words(pairs), upper)),
          _mm256_castsi256_ps(_mm256_and_si256(load_words(pairs + 16), upper))};
}
inline __m256 round_half(__m256 a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline Floats round_to_integer(Floats a) { return {round_half(a.low), round_half(a.high)}; }
inline __m256 power_of_two(__m256 integer) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(integer), _mm256_set1_epi32(127)), 23));
}
inline Floats times_power_of_two(Floats a, Floats integer) {
  return {a.low * power_of_two(integer.low), a.high * power_of_two(integer.high)};
}

struct Ints {
  __m256i low, high;
};
struct Bytes {
  __m256i low, high;
};
// The processor multiplies pairs of 16 bits: the even inputs of a quad make one, the odd ones the other.
struct Quad {
  int16_t even[2], odd[2];
};

inline Ints repeat(int32_t value) { return {_mm256_set1_epi32(value), _mm256_set1_epi32(value)}; }
inline Floats to_floats(Ints a) { return {_mm256_cvtepi32_ps(a.low), _mm256_cvtepi32_ps(a.high)}; }
inline Bytes load_bytes(const uint8_t* from) {
  return {_mm256_loadu_si256((const __m256i*)from), _mm256_loadu_si256((const __m256i*)(from + 32))};
}
inline Bytes offset_bytes(Bytes a) {
  const __m256i top = _mm256_set1_epi8(-128);
  return {_mm256_xor_si256(a.low, top), _mm256_xor_si256(a.high, top)};
}
inline Bytes low_nibbles(Bytes a) {
  const __m256i mask = _mm256_set1_epi8(0x0f);
  return {_mm256_and_si256(a.low, mask), _mm256_and_si256(a.high, mask)};
}
inline Bytes high_nibbles(Bytes a) {
  return low_nibbles({_mm256_srli_epi16(a.low, 4), _mm256_srli_epi16(a.high, 4)});
}
inline __m256i load_steps_half(const int8_t* from) {
  return _mm256_and_si256(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)from)), _mm256_set1_epi32(0xffff));
}
inline Ints load_steps(const int8_t* from) { return {load_steps_half(from), load_steps_half(from + 8)}; }
inline Ints add_in_steps(Ints sum, Ints total, Ints steps) {
  return {_mm256_add_epi32(sum.low, _mm256_madd_epi16(total.low, steps.low)),
          _mm256_add_epi32(sum.high, _mm256_madd_epi16(total.high, steps.high))};
}
inline __m256i add_quads_half(__m256i sum, __m256i weights, __m256i even, __m256i odd) {
  sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_and_si256(weights, _mm256_set1_epi16(0xff)), even));
  return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_srli_epi16(weights, 8), odd));
}
inline Ints add_quads(Ints sum, Bytes weights, const Quad* input) {
  int32_t halves[2];
  std::memcpy(halves, input, sizeof halves);
  const __m256i even = _mm256_set1_epi32(halves[0]), odd = _mm256_set1_epi32(halves[1]);
  return {add_quads_half(sum.low, weights.low, even, odd), add_quads_half(sum.high, weights.high, even, odd)};
}
inline int32_t put_quads(Quad* to, Floats integers) {
  alignas(32) int32_t whole[kLanes];
  _mm256_store_si256((__m256i*)whole, _mm256_cvtps_epi32(integers.low));
  _mm256_store_si256((__m256i*)(whole + 8), _mm256_cvtps_epi32(integers.high));
  int32_t total = 0;
  for (long i = 0; i < kLanes / 4; i++) {
    const int32_t* four = whole + 4 * i;
    to[i] = {{int16_t(four[0]), int16_t(four[2])}, {int16_t(four[1]), int16_t(four[3])}};
    total += four[0] + four[1] + four[2] + four[3];
  }
  return total;
}

#else

struct Floats {
  float lane[kLanes];
  template <class F>
  static Floats of(F f) {
    Floats result;
    for (long i = 0; i < kLanes; i++) result.lane[i] = f(i);
    return result;
  }
  friend Floats operator+(Floats a, Floats b) { return of([&](long i) { return a.lane[i] + b.lane[i]; }); }
  friend Floats operator-(Floats a, Floats b) { return of([&](long i) { return a.lane[i] - b.lane[i]; }); }
  friend Floats operator*(Floats a, Floats b) { return of([&](long i) { return a.lane[i] * b.lane[i]; }); }
  friend Floats operator/(Floats a, Floats b) { return of([&](long i) { return a.lane[i] / b.lane[i]; }); }
};

inline float widen(uint32_t upper) {
  const uint32_t word = upper << 16;
  float value;
  std::memcpy(&value, &word, sizeof value);
  return value;
}
inline Floats broadcast(float value) { return Floats::of([&](long) { return value; }); }
inline Floats load(const float* from) { return Floats::of([&](long i) { return from[i]; }); }
inline void store(float* to, Floats value) { std::memcpy(to, value.lane, sizeof value.lane); }
inline Floats multiply_add(Floats a, Floats b, Floats c) { return a * b + c; }
inline Floats maximum(Floats a, Floats b) {
  return Floats::of([&](long i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
}
inline Floats zero_where_less(Floats value, Floats a, Floats limit) {
  return Floats::of([&](long i) { return a.lane[i] < limit.lane[i] ? 0.0f : value.lane[i]; });
}
inline Floats load_bf16(const uint16_t* from) { return Floats::of([&](long i) { return widen(from[i]); }); }
inline Floats even_bf16(const uint16_t* pairs) { return Floats::of([&](long i) { return widen(pairs[2 * i]); }); }
inline Floats odd_bf16(const uint16_t* pairs) { return Floats::of([&](long i) { return widen(pairs[2 * i + 1]); }); }
inline Floats round_to_integer(Floats a) { return Floats::of([&](long i) { return std::nearbyint(a.lane[i]); }); }
inline Floats times_power_of_two(Floats a, Floats integer) {
  return Floats::of([&](long i) { return std::ldexp(a.lane[i], std::isfinite(integer.lane[i]) ? int(integer.lane[i]) : 0); });
}

struct Ints {
  int32_t lane[kLanes];
};
struct Bytes {
  uint8_t byte[4 * kLanes];
};
struct Quad {
  int8_t input[4];
};

inline Ints repeat(int32_t value) {
  Ints result;
  for (int32_t& lane : result.lane) lane = value;
  return result;
}
inline Floats to_floats(Ints a) { return Floats::of([&](long i) { return float(a.lane[i]); }); }
inline Bytes load_bytes(const uint8_t* from) {
  Bytes result;
  std::memcpy(result.byte, from, sizeof result.byte);
  return result;
}
inline Bytes offset_bytes(Bytes a) {
  for (uint8_t& byte : a.byte) byte ^= 0x80;
  return a;
}
inline Bytes low_nibbles(Bytes a) {
  for (uint8_t& byte : a.byte) byte &= 0x0f;
  return a;
}
inline Bytes high_nibbles(Bytes a) {
  for (uint8_t& byte : a.byte) byte >>= 4;
  return a;
}
inline Ints load_steps(const int8_t* from) {
  Ints result;
  for (long i = 0; i < kLanes; i++) result.lane[i] = from[i];
  return result;
}
inline Ints add_in_steps(Ints sum, Ints total, Ints steps) {
  for (long i = 0; i < kLanes; i++) sum.lane[i] += total.lane[i] * steps.lane[i];
  return sum;
}
inline Ints add_quads(Ints sum, Bytes weights, const Quad* input) {
  for (long i = 0; i < kLanes; i++) {
    for (long j = 0; j < 4; j++) sum.lane[i] += int32_t(weights.byte[4 * i + j]) * input->input[j];
  }
  return sum;
}
inline int32_t put_quads(Quad* to, Floats integers) {
  int32_t total = 0;
  for (long i = 0; i < kLanes; i++) {
    to[i / 4].input[i % 4] = int8_t(integers.lane[i]);
    total += int32_t(integers.lane[i]);
  }
  return total;
}

#endif

// Above, for products of whole numbers: `Quad` holds four inputs of 8 bits with a sign; `add_quads` adds to each lane the
// products of its four weights, which have none (`offset_bytes` adds 128 to bytes that have one), with one quad; `put_quads` stores sixteen integers within [-127, 127] as four
// quads and returns their sum; `add_in_steps` adds totals of at most 16 bits times their steps, of which `load_steps` leaves
// the lower 16 bits of each lane; `times_steps` is a nibble less 8, times its output's step. Nothing saturates, so every
// path gives the same integers.

inline Floats zeros() { return broadcast(0.0f); }

#if defined(__AVX512F__)

// Halves are added to halves, as below.
inline float sum(Floats v) { return _mm512_reduce_add_ps(v); }
inline float largest(Floats v) { return _mm512_reduce_max_ps(v); }

#else

inline float sum(Floats v) {
  alignas(64) float lane[kLanes];
  store(lane, v);
  for (long half = kLanes / 2; half > 0; half /= 2) {
    for (long i = 0; i < half; i++) lane[i] += lane[i + half];
  }
  return lane[0];
}

inline float largest(Floats v) {
  alignas(64) float lane[kLanes];
  store(lane, v);
  float best = lane[0];
  for (long i = 1; i < kLanes; i++) best = lane[i] > best ? lane[i] : best;
  return best;
}

#endif

// e to the power of `a`, to about one unit in the last place; a below -87 counts as -87, above 88 as 88.
inline Floats exponential(Floats a) {
  // The limit comes first: of two operands the instruction returns the second where one is NaN.
  a = maximum(broadcast(-87.0f), a);
  a = zeros() - maximum(broadcast(-88.0f), zeros() - a);
  const Floats n = round_to_integer(a * broadcast(1.442695041f));
  // The logarithm of 2 in two parts, so that the remainder is exact.
  Floats r = multiply_add(n, broadcast(-0.693359375f), a);
  r = multiply_add(n, broadcast(2.12194440e-4f), r);
  // Taylor's series: the remainder is at most 0.35, so the term of degree 8 is below float32's precision.
  Floats p = broadcast(1.0f / 5040);
  for (const float c : {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f}) {
    p = multiply_add(p, r, broadcast(c));
  }
  return times_power_of_two(p, n);
}

// To the nearest bf16 number, ties to even; NaN stays NaN.
inline uint16_t to_bf16(float value) {
  uint32_t word;
  std::memcpy(&word, &value, sizeof word);
  if ((word & 0x7fffffff) > 0x7f800000) return uint16_t(word >> 16 | 0x40);
  return uint16_t((word + 0x7fff + (word >> 16 & 1)) >> 16);
}

inline float from_bf16(uint16_t half) {
  const uint32_t word = uint32_t(half) << 16;
  float value;
  std::memcpy(&value, &word, sizeof value);
  return value;
}

inline Floats absolute(Floats a) { return maximum(zeros() - a, a); }

// What a product of bf16 takes as its left side: bf16 where the processor multiplies pairs of them, else float32.
#ifdef __AVX512BF16__

using Input = uint16_t;

inline void put(Input* to, Floats value) { _mm256_storeu_si256((__m256i*)to, (__m256i)_mm512_cvtneps_pbh(value)); }

// sum + pairs[lane][0] * input[0] + pairs[lane][1] * input[1], in each lane
inline Floats add_pairs(Floats sum, const uint16_t* pairs, const Input* input) {
  uint32_t both;
  std::memcpy(&both, input, sizeof both);
  return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_loadu_si512(pairs), (__m512bh)_mm512_set1_epi32(int(both)));
}

#else

using Input = float;

inline void put(Input* to, Floats value) { store(to, value); }

inline Floats add_pairs(Floats sum, const uint16_t* pairs, const Input* input) {
  sum = multiply_add(even_bf16(pairs), broadcast(input[0]), sum);
  return multiply_add(odd_bf16(pairs), broadcast(input[1]), sum);
}

#endif
