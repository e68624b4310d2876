// Buffer: memory of one kind of number, aligned to a page, zero at first, on huge pages where the system has them.

#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <new>
#include <utility>

template <class Number>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(size_t count) : bytes_(count * sizeof(Number)) {
    if (bytes_ == 0) return;
    void* memory = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
    // Weights are read from one end to the other for every token: fewer, larger pages miss the address cache less.
    if (bytes_ >= kHugePage) madvise(memory, bytes_, MADV_HUGEPAGE);
#endif
    data_ = static_cast<Number*>(memory);
  }
  Buffer(Buffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Buffer() {
    if (data_ != nullptr) munmap(data_, bytes_);
  }

  Number* data() { return data_; }
  const Number* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  bool empty() const { return data_ == nullptr; }

  // Room for `count` numbers; what was there is lost when it grows.
  void reserve(size_t count) {
    if (count * sizeof(Number) > bytes_) *this = Buffer(count);
  }

 private:
  static constexpr size_t kHugePage = 2u << 20;
  Number* data_ = nullptr;
  size_t bytes_ = 0;
};
