// hive::lora_apply: the LoRA deltas of a step, all adapters of one layer in one call.
//
// For each token t of a group with slot s, and each slice (q, k, v of a packed layer, say):
//     y[t, slice] += scale * B[s] (A[s] x[t])
// Every weight is read once per group; sums are kept in fp32, and y is rounded once. Tokens that
// belong to no group are not touched.
//
// Products of bf16 (AVX512-BF16) have a layout, and so a code, of their own.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <torch/library.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "vectors.h"

namespace {

// Outputs of B that one task of the second phase computes.
constexpr int64_t kOutputsPerTask = 32 * kLanes;
// Tokens of one group that a task takes at once, so that their x and h stay in the nearest cache.
constexpr int64_t kTokensPerTask = 64;
// The largest rank an engine has slots for.
constexpr int64_t kMaxRank = 512;
// Multiplications below which a second thread costs more than it saves.
constexpr int64_t kWorkPerThread = 32 * 1024;

// --- one layer ---------------------------------------------------------------------------------

struct Group {
  int64_t slot, start, end;  // start:end of the list of tokens, kTokensPerTask of them at most
};

template <typename Number>
struct Slice {
  const Number* a;  // (slots, rank, in)
  const Number* b;  // (slots, out, rank)
  int64_t rank, out;
  int64_t y_offset;     // of its outputs in a row of y
  int64_t hidden;       // of its ranks in a row of h
  int64_t first_task;   // among a group's tasks of the second phase
};

template <typename Number>
struct Layer {
  Number* y;
  const Number* x;
  int64_t y_stride, x_stride, in;
  const int64_t* tokens;
  std::vector<Group> groups;
  std::vector<Slice<Number>> slices;
  float* h;  // (listed tokens, h_stride): A x of every slice
  int64_t h_stride;
  float scale;
};

// h = A x for `T` tokens and `kLanes` rows of A: each tile has one sum per lane.
template <int T, typename Number>
inline void shrink_tile(
    const Layer<Number>& layer, const Slice<Number>& slice, const Number* a, int64_t first_row,
    int64_t position) {
  constexpr int R = kLanes / T;
  const Number* xs[T];
  for (int t = 0; t < T; ++t) xs[t] = layer.x + layer.tokens[position + t] * layer.x_stride;
  for (int64_t row = first_row; row < std::min(first_row + kLanes, slice.rank); row += R) {
    const Number* rows[R];
    // Rows past the last are computed from the last one, and dropped.
    for (int r = 0; r < R; ++r) rows[r] = a + std::min(row + r, slice.rank - 1) * layer.in;
    Floats sums[kLanes] = {};
    int64_t i = 0;
#ifdef __AVX512BF16__
    // Pairs of products, summed in fp32 by one instruction, without conversions.
    if constexpr (std::is_same_v<Number, at::BFloat16>) {
      for (; i + 2 * kLanes <= layer.in; i += 2 * kLanes) {
        __m512bh values[T];
        for (int t = 0; t < T; ++t) std::memcpy(&values[t], xs[t] + i, sizeof values[t]);
        for (int r = 0; r < R; ++r) {
          __m512bh weights;
          std::memcpy(&weights, rows[r] + i, sizeof weights);
          for (int t = 0; t < T; ++t) {
            Floats& sum = sums[r * T + t];
            sum = (Floats)_mm512_dpbf16_ps((__m512)sum, weights, values[t]);
          }
        }
      }
    }
#endif
    const auto accumulate = [&](int64_t i, auto&& fetch) {
      Floats values[T];
      for (int t = 0; t < T; ++t) values[t] = fetch(xs[t] + i);
      for (int r = 0; r < R; ++r) {
        const Floats weights = fetch(rows[r] + i);
        for (int t = 0; t < T; ++t) sums[r * T + t] += weights * values[t];
      }
    };
    for (; i + kLanes <= layer.in; i += kLanes) {
      accumulate(i, [](const Number* p) { return load(p); });
    }
    if (i < layer.in) {
      accumulate(i, [&](const Number* p) { return load_some(p, layer.in - i); });
    }
    const Floats total = sum_each(sums);
    for (int r = 0; r < R && row + r < slice.rank; ++r) {
      for (int t = 0; t < T; ++t) {
        layer.h[(position + t) * layer.h_stride + slice.hidden + row + r] = total[r * T + t];
      }
    }
  }
}

#ifdef __AVX512BF16__
// Tokens of a group from which it pays to lay A out by columns: its rows are then summed in the lanes
// of one vector, and none has to be added up across lanes.
constexpr int64_t kManyTokens = 16;

struct Lanes {  // a container's element must not be a bare vector type
  __m512i v;
};

// Lane i of columns[j] gets pair j of row `first_row + i` of A.
inline void lay_out(const at::BFloat16* a, int64_t in, int64_t ranks, __m512i* columns) {
  for (int64_t start = 0; start < in; start += 2 * kLanes) {
    const int64_t left = std::min<int64_t>(2 * kLanes, in - start);
    const __mmask32 some = static_cast<__mmask32>((1ull << left) - 1);
    Floats rows[kLanes];
    for (int64_t i = 0; i < kLanes; ++i) {
      rows[i] = i < ranks ? (Floats)_mm512_maskz_loadu_epi16(some, a + i * in + start) : Floats{};
    }
    transpose(rows);
    for (int64_t j = 0; j < (left + 1) / 2; ++j) columns[start / 2 + j] = (__m512i)rows[j];
  }
}

template <int T>
inline void shrink_tokens(const Layer<at::BFloat16>& layer, const __m512i* columns,
                          int64_t position, int64_t hidden) {
  const char* xs[T];
  for (int t = 0; t < T; ++t) {
    xs[t] = (const char*)(layer.x + layer.tokens[position + t] * layer.x_stride);
  }
  __m512 sums[T] = {};
  for (int64_t pair = 0; pair < layer.in / 2; ++pair) {
    const __m512bh weights = (__m512bh)columns[pair];
    for (int t = 0; t < T; ++t) {
      int32_t both;
      std::memcpy(&both, xs[t] + 4 * pair, sizeof both);
      sums[t] = _mm512_dpbf16_ps(sums[t], weights, (__m512bh)_mm512_set1_epi32(both));
    }
  }
  for (int t = 0; t < T; ++t) {
    _mm512_storeu_ps(layer.h + (position + t) * layer.h_stride + hidden, sums[t]);
  }
}

inline void shrink_many(const Layer<at::BFloat16>& layer, const Group& group,
                        const Slice<at::BFloat16>& slice, int64_t first_row) {
  thread_local std::vector<Lanes> buffer;
  buffer.resize(layer.in / 2);
  __m512i* columns = &buffer.data()->v;
  lay_out(slice.a + (group.slot * slice.rank + first_row) * layer.in, layer.in,
          std::min<int64_t>(kLanes, slice.rank - first_row), columns);
  const int64_t hidden = slice.hidden + first_row;
  int64_t position = group.start;
  for (; position + 8 <= group.end; position += 8) {
    shrink_tokens<8>(layer, columns, position, hidden);
  }
  for (; position < group.end; ++position) {
    shrink_tokens<1>(layer, columns, position, hidden);
  }
}
#endif

template <typename Number>
void shrink(const Layer<Number>& layer, const Group& group, const Slice<Number>& slice,
            int64_t first_row) {
#ifdef __AVX512BF16__
  if constexpr (std::is_same_v<Number, at::BFloat16>) {
    if (group.end - group.start >= kManyTokens && layer.in % 2 == 0) {
      return shrink_many(layer, group, slice, first_row);
    }
  }
#endif
  const Number* a = slice.a + group.slot * slice.rank * layer.in;
  int64_t position = group.start;
  for (; position + 4 <= group.end; position += 4) {
    shrink_tile<4>(layer, slice, a, first_row, position);
  }
  if (position + 2 <= group.end) {
    shrink_tile<2>(layer, slice, a, first_row, position);
    position += 2;
  }
  if (position < group.end) shrink_tile<1>(layer, slice, a, first_row, position);
}

// y += scale * B h for the outputs from `first` on, of one task.
template <typename Number>
void expand(const Layer<Number>& layer, const Group& group, const Slice<Number>& slice,
            int64_t first) {
  const Number* b = slice.b + group.slot * slice.out * slice.rank;
  const int64_t end = std::min(first + kOutputsPerTask, slice.out);
  const int64_t count = group.end - group.start;
  for (int64_t out = first; out < end; out += kLanes) {
    Floats sums[kTokensPerTask];
    std::fill(sums, sums + count, Floats{});
    for (int64_t rank = 0; rank < slice.rank; rank += kLanes) {
      const int64_t ranks = std::min<int64_t>(kLanes, slice.rank - rank);
      Floats columns[kLanes];
      for (int i = 0; i < kLanes; ++i) {
        const int64_t row = std::min(out + i, slice.out - 1);
        columns[i] = load_some(b + row * slice.rank + rank, ranks);
      }
      transpose(columns);
      for (int64_t t = 0; t < count; ++t) {
        const float* h = layer.h + (group.start + t) * layer.h_stride + slice.hidden + rank;
        // h has kLanes readable numbers here, and columns past the rank are zero vectors.
        Floats even = sums[t], odd = {};
        for (int j = 0; j < kLanes; j += 2) {
          even += columns[j] * h[j];
          odd += columns[j + 1] * h[j + 1];
        }
        sums[t] = even + odd;
      }
    }
    for (int64_t t = 0; t < count; ++t) {
      Number* y = layer.y + layer.tokens[group.start + t] * layer.y_stride + slice.y_offset + out;
      const int64_t valid = slice.out - out;
      store_some(load_some(y, valid) + layer.scale * sums[t], y, valid);
    }
  }
}

#ifdef __AVX512BF16__
// The same in bf16, by an instruction that sums the products of two pairs in fp32. h is rounded to
// bf16 before, as every bf16 model rounds what goes from A to B.

constexpr int kPairs = kLanes / 2;
constexpr int kTiles = kOutputsPerTask / kLanes;

// Lane i of columns[j] gets pair j of the row of B that output `out + i` has: 16 rows of 16 numbers.
inline void load_columns(const Slice<at::BFloat16>& slice, const at::BFloat16* b, int64_t out,
                         int64_t rank, __m512i (&columns)[kPairs]) {
  const int64_t ranks = std::min<int64_t>(kLanes, slice.rank - rank);
  const __mmask16 some = static_cast<__mmask16>((1u << ranks) - 1);
  const auto row = [&](int64_t i) {
    const int64_t valid = std::min(out + i, slice.out - 1);
    return _mm256_maskz_loadu_epi16(some, b + valid * slice.rank + rank);
  };
  for (int i = 0; i < kPairs; ++i) {
    columns[i] = _mm512_inserti64x4(_mm512_castsi256_si512(row(2 * i)), row(2 * i + 1), 1);
  }
  // Each step moves one bit of an element's place from the vector's number to the lane's.
  for (int step = 0; step < 4; ++step) {
    __m512i from[kPairs];
    std::copy(columns, columns + kPairs, from);
    for (int i = 0; i < kPairs / 2; ++i) {
      const Floats low = (Floats)from[i], high = (Floats)from[i + kPairs / 2];
      columns[2 * i] = (__m512i)INTERLEAVE(low, high, LOW_HALVES);
      columns[2 * i + 1] = (__m512i)INTERLEAVE(low, high, HIGH_HALVES);
    }
  }
}

inline void add_to(at::BFloat16* y, __m512 delta, __mmask16 valid, float scale) {
  const __m512i bits = _mm512_slli_epi32(
      _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(valid, y)), 16);
  const __m512 sum = _mm512_fmadd_ps(delta, _mm512_set1_ps(scale), _mm512_castsi512_ps(bits));
  _mm256_mask_storeu_epi16(y, valid, (__m256i)_mm512_cvtneps_pbh(sum));
}

// For `T` tokens, since each product waits for the one before it; and for two tiles of outputs, since
// both take the same pair of h.
template <int T>
void expand_tokens(const Layer<at::BFloat16>& layer, const Slice<at::BFloat16>& slice,
                   const __m512i* columns, int64_t chunks, int64_t position, int64_t group_end,
                   int64_t first) {
  int32_t pairs[T][kMaxRank / 2];
  at::BFloat16* y[T];
  const at::BFloat16* soon[T];
  for (int t = 0; t < T; ++t) {
    const float* h = layer.h + (position + t) * layer.h_stride + slice.hidden;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      const __m256bh halves = _mm512_cvtneps_pbh(_mm512_loadu_ps(h + chunk * kLanes));
      std::memcpy(&pairs[t][chunk * kPairs], &halves, sizeof halves);
    }
    y[t] = layer.y + layer.tokens[position + t] * layer.y_stride + slice.y_offset;
    // Rows of y are too far apart for the processor to foresee the next ones.
    const int64_t next = layer.tokens[std::min(position + t + T, group_end - 1)];
    soon[t] = layer.y + next * layer.y_stride + slice.y_offset;
  }
  const int64_t end = std::min(first + kOutputsPerTask, slice.out);
  for (int64_t out = first; out < end; out += 2 * kLanes) {
    __m512 sums[2][T] = {};
    for (int t = 0; t < T; ++t) _mm_prefetch(soon[t] + out, _MM_HINT_T0);
    const __m512i* left = columns + (out - first) / kLanes * chunks * kPairs;
    const __m512i* right = left + chunks * kPairs;
    for (int64_t pair = 0; pair < chunks * kPairs; ++pair) {
      const __m512bh lefts = (__m512bh)left[pair], rights = (__m512bh)right[pair];
      for (int t = 0; t < T; ++t) {
        const __m512bh both = (__m512bh)_mm512_set1_epi32(pairs[t][pair]);
        sums[0][t] = _mm512_dpbf16_ps(sums[0][t], lefts, both);
        sums[1][t] = _mm512_dpbf16_ps(sums[1][t], rights, both);
      }
    }
    for (int half = 0; half < 2; ++half) {
      const int64_t start = out + half * kLanes, left_over = end - start;
      if (left_over <= 0) break;
      const __mmask16 valid =
          left_over >= kLanes ? 0xffff : static_cast<__mmask16>((1u << left_over) - 1);
      for (int t = 0; t < T; ++t) add_to(y[t] + start, sums[half][t], valid, layer.scale);
    }
  }
}

template <>
void expand(const Layer<at::BFloat16>& layer, const Group& group,
            const Slice<at::BFloat16>& slice, int64_t first) {
  const at::BFloat16* b = slice.b + group.slot * slice.out * slice.rank;
  const int64_t chunks = (slice.rank + kLanes - 1) / kLanes;
  __m512i columns[kTiles * (kMaxRank / kLanes) * kPairs];
  for (int64_t tile = 0; tile < kTiles && first + tile * kLanes < slice.out; ++tile) {
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      __m512i some[kPairs];
      load_columns(slice, b, first + tile * kLanes, chunk * kLanes, some);
      std::copy(some, some + kPairs, columns + (tile * chunks + chunk) * kPairs);
    }
  }
  int64_t position = group.start;
  for (; position + 4 <= group.end; position += 4) {
    expand_tokens<4>(layer, slice, columns, chunks, position, group.end, first);
  }
  if (position + 2 <= group.end) {
    expand_tokens<2>(layer, slice, columns, chunks, position, group.end, first);
    position += 2;
  }
  if (position < group.end) expand_tokens<1>(layer, slice, columns, chunks, position, group.end, first);
}
#endif

template <typename Number>
void apply(Layer<Number>& layer) {
  int64_t row_tasks = 0, output_tasks = 0, tokens = 0, outputs = 0;
  std::vector<std::pair<size_t, int64_t>> rows;  // slice and first row of A, of a group's tasks
  for (size_t s = 0; s < layer.slices.size(); ++s) {
    auto& slice = layer.slices[s];
    for (int64_t row = 0; row < slice.rank; row += kLanes) rows.emplace_back(s, row);
    slice.first_task = output_tasks;
    output_tasks += (slice.out + kOutputsPerTask - 1) / kOutputsPerTask;
    outputs += slice.out;
  }
  row_tasks = rows.size();
  for (const Group& group : layer.groups) tokens += group.end - group.start;
  const int64_t groups = layer.groups.size();
  const int64_t tokens_per_group = tokens / groups;

  const int64_t shrink_work = tokens_per_group * kLanes * layer.in;
  at::parallel_for(
      0, groups * row_tasks, std::max<int64_t>(1, kWorkPerThread / shrink_work),
      [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const auto& [slice, row] = rows[i % row_tasks];
          shrink(layer, layer.groups[i / row_tasks], layer.slices[slice], row);
        }
      });

  const int64_t expand_work = tokens_per_group * kOutputsPerTask * layer.slices[0].rank;
  at::parallel_for(
      0, groups * output_tasks, std::max<int64_t>(1, kWorkPerThread / expand_work),
      [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t task = i % output_tasks;
          size_t s = layer.slices.size() - 1;
          while (layer.slices[s].first_task > task) --s;
          const auto& slice = layer.slices[s];
          expand(layer, layer.groups[i / output_tasks], slice,
                 (task - slice.first_task) * kOutputsPerTask);
        }
      });
}

// --- the operator ------------------------------------------------------------------------------

bool packed(const at::Tensor& weights) { return weights.dim() == 4 && weights.is_contiguous(); }

template <typename Number>
void apply_typed(
    at::Tensor& y, const at::Tensor& x, at::TensorList a, at::TensorList b,
    const at::Tensor& tokens, const at::Tensor& groups, double scale) {
  Layer<Number> layer;
  layer.y = static_cast<Number*>(y.data_ptr());
  layer.x = static_cast<const Number*>(x.const_data_ptr());
  layer.y_stride = y.stride(0);
  layer.x_stride = x.stride(0);
  layer.in = x.size(1);
  layer.tokens = tokens.const_data_ptr<int64_t>();
  layer.scale = static_cast<float>(scale);

  int64_t slots = a[0].size(0), offset = 0, hidden = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    TORCH_CHECK(packed(a[i]) && packed(b[i]), "A and B must be contiguous (slots, 1, ...)");
    const int64_t rank = a[i].size(2), out = b[i].size(2);
    TORCH_CHECK(rank <= kMaxRank, "rank ", rank, " is above ", kMaxRank);
    TORCH_CHECK(a[i].size(3) == layer.in, "A has ", a[i].size(3), " columns, x ", layer.in);
    TORCH_CHECK(b[i].size(3) == rank, "B has rank ", b[i].size(3), ", A ", rank);
    TORCH_CHECK(a[i].size(0) == slots && b[i].size(0) == slots, "slices differ in slots");
    TORCH_CHECK(a[i].scalar_type() == x.scalar_type() && b[i].scalar_type() == x.scalar_type(),
                "A, B and x must be of one type");
    layer.slices.push_back({static_cast<const Number*>(a[i].const_data_ptr()),
                            static_cast<const Number*>(b[i].const_data_ptr()), rank, out, offset,
                            hidden, 0});
    offset += out;
    hidden += (rank + kLanes - 1) / kLanes * kLanes;
  }
  TORCH_CHECK(offset <= y.size(1), "the slices have ", offset, " outputs, y ", y.size(1));

  const int64_t* group = groups.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < groups.size(0); ++i, group += 3) {
    TORCH_CHECK(0 <= group[0] && group[0] < slots, "no slot ", group[0]);
    TORCH_CHECK(0 <= group[1] && group[1] < group[2] && group[2] <= tokens.size(0),
                "a group outside of the list of tokens");
    for (int64_t start = group[1]; start < group[2]; start += kTokensPerTask) {
      layer.groups.push_back({group[0], start, std::min(start + kTokensPerTask, group[2])});
    }
  }
  const int64_t rows = std::min(x.size(0), y.size(0));
  for (int64_t i = 0; i < tokens.size(0); ++i) {
    TORCH_CHECK(0 <= layer.tokens[i] && layer.tokens[i] < rows, "no token ", layer.tokens[i]);
  }

  // Zeros, since padded ranks are multiplied by the zeros that B's are padded with.
  std::vector<float> h(tokens.size(0) * hidden, 0.0f);
  layer.h = h.data();
  layer.h_stride = hidden;
  apply(layer);
}

void lora_apply(
    at::Tensor y, const at::Tensor& x, at::TensorList a, at::TensorList b,
    const at::Tensor& tokens, const at::Tensor& groups, double scale) {
  if (groups.size(0) == 0) return;
  TORCH_CHECK(!a.empty() && a.size() == b.size(), "one A and one B for each slice");
  TORCH_CHECK(x.dim() == 2 && y.dim() == 2 && x.stride(1) == 1 && y.stride(1) == 1,
              "x and y must be matrices of contiguous rows");
  TORCH_CHECK(y.scalar_type() == x.scalar_type(), "x and y must be of one type");
  TORCH_CHECK(tokens.is_contiguous() && groups.is_contiguous() && groups.dim() == 2 &&
                  groups.size(1) == 3,
              "tokens must be a list, groups rows of (slot, start, end)");
  switch (x.scalar_type()) {
    case at::kFloat:
      return apply_typed<float>(y, x, a, b, tokens, groups, scale);
    case at::kBFloat16:
      return apply_typed<at::BFloat16>(y, x, a, b, tokens, groups, scale);
    case at::kHalf:
      return apply_typed<at::Half>(y, x, a, b, tokens, groups, scale);
    default:
      TORCH_CHECK(false, "unsupported type ", x.scalar_type());
  }
}

}  // namespace

bool has_bf16_dots() {
#ifdef __AVX512BF16__
  return true;
#else
  return false;
#endif
}

TORCH_LIBRARY(hive, m) {
  m.def("has_bf16_dots", has_bf16_dots);
  m.def(
      "lora_apply(Tensor(a!) y, Tensor x, Tensor[] a, Tensor[] b, Tensor tokens, Tensor groups, "
      "float scale) -> ()");
}

TORCH_LIBRARY_IMPL(hive, CPU, m) { m.impl("lora_apply", lora_apply); }
