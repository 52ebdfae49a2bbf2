// hive::apply_gains: the gains of a step, of all adapters of one layer, in one call.
//
// For each token t whose slot s is flagged:
//     to[t] = from[t] * (1 + factors[s]) + addends[s]
// computed in fp32 and rounded once; other tokens are copied. `to` may be `from`.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <torch/library.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>

#include "vectors.h"

namespace {

// Numbers below which a second thread costs more than it saves.
constexpr int64_t kNumbersPerThread = 32 * 1024;

template <typename Number>
void scale_row(Number* to, const Number* from, const Number* factors, const Number* addends,
               int64_t width) {
  for (int64_t i = 0; i < width; i += kLanes) {
    const int64_t left = width - i;
    const Floats value = load_some(from + i, left);
    Floats scaled = value + value * load_some(factors + i, left);
    if (addends != nullptr) scaled += load_some(addends + i, left);
    store_some(scaled, to + i, left);
  }
}

template <typename Number>
void apply_typed(const at::Tensor& to, const at::Tensor& from, const at::Tensor& factors,
                 const std::optional<at::Tensor>& addends, const at::Tensor& slots,
                 const at::Tensor& flags) {
  const int64_t width = from.size(1);
  Number* out = static_cast<Number*>(to.data_ptr());
  const Number* in = static_cast<const Number*>(from.const_data_ptr());
  const Number* gains = static_cast<const Number*>(factors.const_data_ptr());
  const Number* shifts =
      addends ? static_cast<const Number*>(addends->const_data_ptr()) : nullptr;
  const int64_t to_stride = to.stride(0), from_stride = from.stride(0);
  const int64_t* slot = slots.const_data_ptr<int64_t>();
  const int8_t* flagged = flags.const_data_ptr<int8_t>();
  at::parallel_for(
      0, from.size(0), std::max<int64_t>(1, kNumbersPerThread / width),
      [&](int64_t begin, int64_t end) {
        for (int64_t t = begin; t < end; ++t) {
          Number* row = out + t * to_stride;
          const Number* source = in + t * from_stride;
          const int64_t s = slot[t];
          if (s >= 0 && flagged[s]) {
            scale_row(row, source, gains + s * width, shifts ? shifts + s * width : nullptr, width);
          } else if (row != source) {
            std::memcpy(static_cast<void*>(row), source, width * sizeof(Number));
          }
        }
      });
}

// Slot -1, of tokens without adapter, is looked up nowhere.
void apply_gains(at::Tensor to, const at::Tensor& from, const at::Tensor& factors,
                 const std::optional<at::Tensor>& addends, const at::Tensor& slots,
                 const at::Tensor& flags) {
  const auto matrix = [&](const at::Tensor& tensor, int64_t rows) {
    return tensor.dim() == 2 && tensor.stride(1) == 1 && tensor.size(0) == rows &&
           tensor.size(1) == from.size(1) && tensor.scalar_type() == from.scalar_type();
  };
  TORCH_CHECK(from.dim() == 2 && matrix(from, from.size(0)) && matrix(to, from.size(0)),
              "from and to must be matrices of contiguous rows, of one shape and type");
  const auto table = [&](const at::Tensor& tensor) {
    return matrix(tensor, flags.size(0)) && tensor.is_contiguous();
  };
  TORCH_CHECK(flags.dim() == 1 && flags.is_contiguous() && table(factors) &&
                  (!addends || table(*addends)),
              "factors and addends must have a row for each flag, as wide as from");
  TORCH_CHECK(slots.dim() == 1 && slots.is_contiguous() && slots.size(0) == from.size(0),
              "slots must have an entry for each token");
  const int64_t* slot = slots.const_data_ptr<int64_t>();
  for (int64_t t = 0; t < slots.size(0); ++t) {
    TORCH_CHECK(-1 <= slot[t] && slot[t] < flags.size(0), "no slot ", slot[t]);
  }
  if (from.numel() == 0) return;
  switch (from.scalar_type()) {
    case at::kFloat:
      return apply_typed<float>(to, from, factors, addends, slots, flags);
    case at::kBFloat16:
      return apply_typed<at::BFloat16>(to, from, factors, addends, slots, flags);
    case at::kHalf:
      return apply_typed<at::Half>(to, from, factors, addends, slots, flags);
    default:
      TORCH_CHECK(false, "unsupported type ", from.scalar_type());
  }
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(hive, m) {
  m.def(
      "apply_gains(Tensor(a!) to, Tensor from_, Tensor factors, Tensor? addends, Tensor slots, "
      "Tensor flags) -> ()");
}

TORCH_LIBRARY_IMPL(hive, CPU, m) { m.impl("apply_gains", apply_gains); }
