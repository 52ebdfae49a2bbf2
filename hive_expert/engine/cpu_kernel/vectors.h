// Vectors of kLanes numbers, as wide as the CPU's registers, and their traffic with memory.
//
// Written with the vector extensions of GCC and Clang, so that any CPU gets its own code from
// -march=native. Intrinsics stand where an instruction has no such expression.

#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#if defined(__F16C__) || defined(__AVX512BF16__)
#include <immintrin.h>
#endif

namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#define LOW_HALVES 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH_HALVES 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif defined(__AVX__)
constexpr int kLanes = 8;
#define LOW_HALVES 0, 8, 1, 9, 2, 10, 3, 11
#define HIGH_HALVES 4, 12, 5, 13, 6, 14, 7, 15
#else
constexpr int kLanes = 4;
#define LOW_HALVES 0, 4, 1, 5
#define HIGH_HALVES 2, 6, 3, 7
#endif

typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef int32_t Ints __attribute__((vector_size(4 * kLanes)));
typedef uint32_t Words __attribute__((vector_size(4 * kLanes)));
typedef uint16_t HalfWords __attribute__((vector_size(2 * kLanes)));

#ifdef __clang__
#define INTERLEAVE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define INTERLEAVE(a, b, ...) __builtin_shuffle(a, b, Ints{__VA_ARGS__})
#endif

inline Floats load(const float* from) {
  Floats v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

inline Floats load(const at::BFloat16* from) {
  HalfWords bits;
  std::memcpy(&bits, from, sizeof bits);
  return (Floats)(__builtin_convertvector(bits, Words) << 16);
}

inline Floats load(const at::Half* from) {
#if defined(__AVX512F__)
  return (Floats)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)from));
#elif defined(__F16C__)
  return (Floats)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)from));
#else
  Floats v;
  for (int i = 0; i < kLanes; ++i) v[i] = static_cast<float>(from[i]);
  return v;
#endif
}

inline void store(Floats v, float* to) { std::memcpy(to, &v, sizeof v); }

inline void store(Floats v, at::BFloat16* to) {
#ifdef __AVX512BF16__
  __m256bh halves = _mm512_cvtneps_pbh((__m512)v);
  std::memcpy(to, &halves, sizeof halves);
#else
  Words bits = (Words)v;
  // To nearest, ties to even. What is no number must not be rounded up to infinity.
  Words rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  Words nan = (Words)(v != v);
  HalfWords halves = __builtin_convertvector((rounded & ~nan) | (nan & 0x7fc0), HalfWords);
  std::memcpy(to, &halves, sizeof halves);
#endif
}

inline void store(Floats v, at::Half* to) {
#if defined(__AVX512F__)
  __m256i halves = _mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  std::memcpy(to, &halves, sizeof halves);
#elif defined(__F16C__)
  __m128i halves = _mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT);
  std::memcpy(to, &halves, sizeof halves);
#else
  for (int i = 0; i < kLanes; ++i) to[i] = static_cast<at::Half>(v[i]);
#endif
}

// The first `count` of them; the rest are zero.
template <typename Number>
inline Floats load_some(const Number* from, int64_t count) {
  if (count >= kLanes) return load(from);
  Number padded[kLanes];
  std::memset(static_cast<void*>(padded), 0, sizeof padded);
  std::memcpy(static_cast<void*>(padded), from, count * sizeof(Number));
  return load(padded);
}

template <typename Number>
inline void store_some(Floats v, Number* to, int64_t count) {
  if (count >= kLanes) return store(v, to);
  Number padded[kLanes];
  store(v, padded);
  std::memcpy(static_cast<void*>(to), padded, count * sizeof(Number));
}

// One step of an in-place perfect shuffle: log2(kLanes) of them transpose a square.
inline void transpose(Floats (&rows)[kLanes]) {
  for (int step = 1; step < kLanes; step *= 2) {
    Floats from[kLanes];
    std::copy(rows, rows + kLanes, from);
    for (int i = 0; i < kLanes / 2; ++i) {
      rows[2 * i] = INTERLEAVE(from[i], from[i + kLanes / 2], LOW_HALVES);
      rows[2 * i + 1] = INTERLEAVE(from[i], from[i + kLanes / 2], HIGH_HALVES);
    }
  }
}

// Lane i of the result is the sum of the lanes of terms[i].
inline Floats sum_each(Floats (&terms)[kLanes]) {
  for (int left = kLanes / 2; left > 0; left /= 2) {
    for (int i = 0; i < left; ++i) {
      terms[i] = INTERLEAVE(terms[i], terms[i + left], LOW_HALVES) +
                 INTERLEAVE(terms[i], terms[i + left], HIGH_HALVES);
    }
  }
  return terms[0];
}

}  // namespace
