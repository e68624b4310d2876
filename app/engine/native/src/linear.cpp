// y = x w^T + bias with bf16 weights and float32 activations; see README.md beside this file.
//
// Each output is one chain of float32 fused multiply-adds over k in a fixed order, whatever the number of rows, tiles
// or threads: a row's result never depends on what else is in the batch.

#include <cstdint>
#include <cstring>
#ifdef __FMA__
#include <immintrin.h>
#endif

namespace {

constexpr long kLanes = 8;
constexpr long kTileN = 4;       // weight rows in flight: independent chains that hide the latency of an addition
constexpr long kSmall = 65536;  // multiplications below which starting a second thread costs more than it saves
constexpr long kBlockM = 48;     // input rows kept in the second-level cache while all weights pass by

typedef float Floats __attribute__((vector_size(kLanes * 4)));
typedef uint32_t Words __attribute__((vector_size(kLanes * 4)));
typedef uint16_t Halves __attribute__((vector_size(kLanes * 2)));

inline Floats load_floats(const float* from) {
  Floats value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

// A bf16 number is the upper half of the float32 with the same value.
inline Floats load_bf16(const uint16_t* from) {
  Halves halves;
  std::memcpy(&halves, from, sizeof halves);
#ifdef __FMA__
  return (Floats)_mm256_slli_epi32(_mm256_cvtepu16_epi32((__m128i)halves), 16);
#else
  return (Floats)(__builtin_convertvector(halves, Words) << 16);
#endif
}

inline float to_float(uint16_t half) {
  const uint32_t word = uint32_t(half) << 16;
  float value;
  std::memcpy(&value, &word, sizeof value);
  return value;
}

// Written out, because a compiler that contracts a * b + c by itself may do it in one tile size and not in another.
inline Floats multiply_add(Floats a, Floats b, Floats c) {
#ifdef __FMA__
  return (Floats)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
  for (long lane = 0; lane < kLanes; lane++) c[lane] = __builtin_fmaf(a[lane], b[lane], c[lane]);
  return c;
#endif
}

inline float sum(Floats v) {
  return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

// M input rows times N weight rows. M x N sums, N weights and one input must fit the 16 registers of AVX2.
template <long M, long N>
void tile(const float* x, const uint16_t* w, const float* bias, float* y, long n, long k) {
  Floats sums[N][M] = {};
  const long whole = k - k % kLanes;
  for (long i = 0; i < whole; i += kLanes) {
    Floats weights[N];
    for (long column = 0; column < N; column++) weights[column] = load_bf16(w + column * k + i);
    for (long row = 0; row < M; row++) {
      const Floats input = load_floats(x + row * k + i);
      for (long column = 0; column < N; column++) {
        sums[column][row] = multiply_add(weights[column], input, sums[column][row]);
      }
    }
  }
  for (long row = 0; row < M; row++) {
    for (long column = 0; column < N; column++) {
      float total = sum(sums[column][row]);
      for (long i = whole; i < k; i++) {
        total = __builtin_fmaf(to_float(w[column * k + i]), x[row * k + i], total);
      }
      y[row * n + column] = total + (bias ? bias[column] : 0.0f);
    }
  }
}

// M input rows times N weight rows, two weight rows at a time where M alone gives enough independent chains.
template <long M, long N>
void rows(const float* x, const uint16_t* w, const float* bias, float* y, long n, long k) {
  constexpr long kStep = M >= 4 && N > 2 ? 2 : N;
  for (long column = 0; column < N; column += kStep) {
    tile<M, kStep>(x, w + column * k, bias ? bias + column : nullptr, y + column, n, k);
  }
}

template <long N>
void columns(const float* x, const uint16_t* w, const float* bias, float* y, long m, long n, long k) {
  while (m > 0) {
    const long taken = m >= 9 || m == 6 || m == 7 ? 6 : m >= 4 ? 4 : m;
    switch (taken) {
      case 6: rows<6, N>(x, w, bias, y, n, k); break;
      case 4: rows<4, N>(x, w, bias, y, n, k); break;
      case 3: rows<3, N>(x, w, bias, y, n, k); break;
      case 2: rows<2, N>(x, w, bias, y, n, k); break;
      default: rows<1, N>(x, w, bias, y, n, k);
    }
    x += taken * k;
    y += taken * n;
    m -= taken;
  }
}

void weight_tile(const float* x, const uint16_t* w, const float* bias, float* y, long m, long n, long k, long column) {
  if (column + kTileN <= n) {
    columns<kTileN>(x, w + column * k, bias ? bias + column : nullptr, y + column, m, n, k);
    return;
  }
  for (long c = column; c < n; c++) columns<1>(x, w + c * k, bias ? bias + c : nullptr, y + c, m, n, k);
}

}  // namespace

// x: (m, k) float32; w: (n, k) bf16; bias: (n,) float32 or null; y: (m, n) float32. All contiguous.
extern "C" void repartee_linear_bf16(const float* x, const uint16_t* w, const float* bias, float* y, long m, long n,
                                     long k, int threads) {
  const long tiles = (n + kTileN - 1) / kTileN;
  // More parts than threads: when another process takes a core, the other thread takes over what is left.
  const long parts = threads > 1 && m * n * k > kSmall ? threads * 4 : 1;
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (parts > 1)
  for (long part = 0; part < parts; part++) {
    const long first = tiles * part / parts, last = tiles * (part + 1) / parts;
    for (long start = 0; start < m; start += kBlockM) {
      const long rows = m - start < kBlockM ? m - start : kBlockM;
      for (long t = first; t < last; t++) {
        weight_tile(x + start * k, w, bias, y + start * n, rows, n, k, t * kTileN);
      }
    }
  }
}
