// What the functions that Python calls return; native/decoder.py knows them.

#pragma once

#include <new>
#include <system_error>

enum Outcome { kDone, kNoMemory, kOutOfRange, kNoThreads };

// No exception may reach Python.
template <class Body>
int outcome(const Body& body) {
  try {
    body();
    return kDone;
  } catch (const std::bad_alloc&) {
    return kNoMemory;
  } catch (const std::system_error&) {
    return kNoThreads;
  }
}
