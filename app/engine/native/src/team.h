// Team: a few threads that run one function together, share its loops and wait for each other.
//
// A step is one call of `run`; within it there are hundreds of loops, each ended by a barrier. Waiting threads spin for
// some ten microseconds, because most waits are that short, and then offer their core to whoever wants it, because on a
// shared machine that may be the thread that they wait for. Between steps they sleep.

#pragma once

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "cores.h"

inline void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#endif
}

class Team {
 public:
  // Throws std::system_error where the system gives no thread.
  explicit Team(int size) : size_(size), most_(size), cores_(size), taken_(size) {
    try {
      for (int number = 1; number < size; number++) workers_.emplace_back([this, number] { work(number); });
    } catch (...) {
      end();
      throw;
    }
  }

  ~Team() { end(); }

  // Threads that run together, now or the last time, and the most that can.
  int size() const { return size_; }
  int most() const { return most_; }

  // Run `part(number)` on `size` threads, on the caller as number 0; returns when all have. The others sleep on.
  void run(int size, const std::function<void(int)>& part) {
    size_ = size;
    if (size > 1) {
      cores_.settle(0);
      wake(size, &part);
    }
    part(0);
    barrier();
  }

  // Within `run`, called by every thread alike with its number: `body(i)` once for each i below `count`, then a barrier.
  // Each thread begins with its own part, the same each time, so that a small model's weights stay in the cache of the
  // core that reads them. It takes `grain` of them at a time and goes on with what others have left, so that one that is
  // held up holds up nobody.
  template <class Body>
  void share(int thread, long count, long grain, const Body& body) {
    const long size = size_;
    if (size == 1) {
      for (long i = 0; i < count; i++) body(i);
      return;
    }
    for (long turn = 0; turn < size; turn++) {
      const long part = (thread + turn) % size, begin = count * part / size, end = count * (part + 1) / size;
      for (;;) {
        const long first = begin + taken_[part].count.fetch_add(grain, std::memory_order_relaxed);
        if (first >= end) break;
        const long last = std::min(first + grain, end);
        for (long i = first; i < last; i++) body(i);
      }
    }
    barrier();
  }

  // Within `run`: wait until every thread is here.
  void barrier() {
    const int size = size_;  // once it has arrived, a thread may be late for the next call, which has its own size
    if (size == 1) return;
    const unsigned mine = barrier_.load(std::memory_order_relaxed);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) == size - 1) {
      arrived_.store(0, std::memory_order_relaxed);
      for (Taken& part : taken_) part.count.store(0, std::memory_order_relaxed);
      barrier_.store(mine + 1, std::memory_order_release);
      return;
    }
    for (int spins = 0; barrier_.load(std::memory_order_acquire) == mine; spins++) {
      if (spins < kSpins) {
        relax();
      } else {
        sched_yield();
      }
    }
  }

 private:
  static constexpr int kSpins = 1000;

  // How far a thread's part of a loop was taken.
  struct alignas(64) Taken {
    std::atomic<long> count{0};
  };

  void end() {
    wake(most_, nullptr);
    for (std::thread& worker : workers_) worker.join();
  }

  void wake(int size, const std::function<void(int)>* part) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      part_ = part;
      called_ = size;
      call_.fetch_add(1, std::memory_order_release);
    }
    changed_.notify_all();
  }

  void work(int number) {
    for (unsigned seen = 0;;) {
      for (int spins = 0; spins < kSpins && call_.load(std::memory_order_acquire) == seen; spins++) relax();
      const std::function<void(int)>* part;
      bool called;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        changed_.wait(lock, [&] { return call_.load(std::memory_order_relaxed) != seen; });
        // Nobody waits for a thread that is not called, so this may be a later call than the one that woke it.
        seen = call_.load(std::memory_order_relaxed);
        part = part_;
        called = number < called_;
      }
      if (part == nullptr) return;
      if (!called) continue;
      cores_.settle(number);
      (*part)(number);
      barrier();
    }
  }

  int size_;  // read by the threads that run
  const int most_;
  Cores cores_;
  std::vector<Taken> taken_;
  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<unsigned> call_{0};
  const std::function<void(int)>* part_ = nullptr;
  int called_ = 0;
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<unsigned> barrier_{0};
};
