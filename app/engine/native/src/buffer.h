// Buffer: memory of one kind of number, aligned to a page, zero at first, on huge pages where the system has them.

#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <new>
#include <utility>

template <class Number>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(size_t count) : bytes_(count * sizeof(Number)) {
    if (bytes_ > 0) data_ = static_cast<Number*>(take(bytes_));
  }
  Buffer(Buffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Buffer() {
    if (data_ != nullptr) give_back(data_, bytes_);
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
#ifdef __SANITIZE_ADDRESS__
  // The sanitizer watches the ends of what the allocator gives, not those of mapped pages.
  static void* take(size_t bytes) {
    void* memory = std::calloc(1, bytes);
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
  }
  static void give_back(void* memory, size_t) { std::free(memory); }
#else
  static constexpr size_t kHugePage = 2u << 20;

  static void* take(size_t bytes) {
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
    // Weights are read from one end to the other for every token: fewer, larger pages miss the address cache less.
    if (bytes >= kHugePage) madvise(memory, bytes, MADV_HUGEPAGE);
#endif
    return memory;
  }
  static void give_back(void* memory, size_t bytes) { munmap(memory, bytes); }
#endif

  Number* data_ = nullptr;
  size_t bytes_ = 0;
};
