// Where threads run that compute together: each on a core of its own, if there are enough.
//
// The system wakes a thread on the core of the one that woke it where no other core seems idle. On a virtual machine an
// idle core looks like one that was taken away, so both may share one for seconds while another idles.

#pragma once

#include <sched.h>

#include <atomic>
#include <vector>

class Cores {
 public:
  explicit Cores(int threads) : core_of_(threads) {}

  // Called by thread `number` as it begins: if it is on the core of one with a lower number, it moves to a free one.
  void settle(int number) {
#ifdef __linux__
    int here = sched_getcpu();
    cpu_set_t taken;
    CPU_ZERO(&taken);
    for (int other = 0; other < number; other++) CPU_SET(core_of_[other].load(std::memory_order_relaxed), &taken);
    if (here >= 0 && here < CPU_SETSIZE && CPU_ISSET(here, &taken)) {
      leave(taken);
      here = sched_getcpu();
    }
    core_of_[number].store(here, std::memory_order_relaxed);
#endif
  }

 private:
#ifdef __linux__
  // The caller may run everywhere afterwards, as before, but it is elsewhere now and will be woken there.
  static void leave(const cpu_set_t& taken) {
    cpu_set_t allowed, free;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
    CPU_AND(&free, &allowed, &taken);
    CPU_XOR(&free, &allowed, &free);
    if (CPU_COUNT(&free) > 0 && sched_setaffinity(0, sizeof free, &free) == 0) {
      sched_setaffinity(0, sizeof allowed, &allowed);
    }
  }
#endif

  std::vector<std::atomic<int>> core_of_;
};
