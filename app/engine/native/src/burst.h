// A burst: several decode steps in one call. Each sequence says its likeliest token, and goes on with it.
//
// It gives exactly what single steps would, for a row's logits are the same to the bit in any batch. It ends early when
// there is news to react to: a request has arrived, or what was foretold of most sequences came to its end.

#pragma once

#include <cstdint>

// A range of one of the burst's lists.
struct Range {
  int32_t begin, end;

  bool within(int64_t count) const { return 0 <= begin && begin <= end && end <= count; }
  bool empty() const { return begin == end; }
};

// A sequence whose every token but the last has its K and V.
struct Speaker {
  int32_t token, index;  // the last token and where it stands
  int32_t table;         // where the sequence's block numbers begin in `tables`
  int32_t most;          // tokens that it may say, at least one; its blocks have room for them
  Range stops;           // tokens after which it says no more, in `stops`
  Range foretold;        // what it will probably say, in `foretold`
  Range widths;          // how many of these each step computes at once; one more comes from the step itself
};

// What came of it: `count` tokens, none if its first logits were not finite. Of the foretold tokens `drafted` were computed at once, of which `accepted` were right; `tested` were
// compared with what it said, of which all but perhaps the last `matched`.
struct Spoken {
  int32_t count, drafted, accepted, tested, matched;
};

struct Burst {
  const Speaker* speakers;
  const int32_t *tables, *stops, *foretold, *widths;
  int64_t count, table_count, stop_count, foretold_count, width_count;  // of each
  int64_t rounds;                                                       // most steps
  int64_t arrivals;  // file descriptor that becomes readable when there is something new to do; negative: none
  int64_t stride;    // tokens that `tokens` has room for, for each sequence
  int32_t* tokens;   // (count, stride)
  Spoken* spoken;    // (count,)
  int64_t done;      // steps that were made
};
