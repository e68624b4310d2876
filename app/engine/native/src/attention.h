// KeyValueCache, and attention over it, one query row at a time.
//
// Keys and values lie in bf16. A page holds up to 16 tokens of one KV head: its keys as pairs of dimensions with the
// tokens side by side, so that one vector collects the scores of 16 tokens; its values token by token. A row reads what
// it may see of its own sequence and nothing else, in a fixed order, so its result depends on no other row of the step.

#pragma once

#include <algorithm>
#include <limits>

#include "simd.h"
#include "tiles.h"

// One row of a step: a token of a sequence, and which of that sequence's cached tokens it sees.
struct Row {
  int32_t token;
  int32_t position;
  int32_t index;         // of the token in its sequence: where its own key and value go
  int32_t table;         // where the sequence's block numbers begin in the step's tables
  int32_t prefix_end;    // it sees the cached tokens before this one,
  int32_t branch_start;  // and those from here to itself
};

class KeyValueCache {
 public:
  KeyValueCache(uint16_t* memory, long blocks, long block_size, long heads, long dim)
      : memory_(memory),
        page_tokens_(std::min(block_size, kLanes)),
        pages_(block_size / page_tokens_),
        heads_(heads),
        dim_(dim),
        layer_size_(blocks * pages_ * heads * page_size()) {}

  // The page with token `index` of a sequence: its keys, then its values.
  uint16_t* page(long layer, const int32_t* table, long index, long head) const {
    const long page = index / page_tokens_;
    return memory_ + layer * layer_size_ + ((table[page / pages_] * pages_ + page % pages_) * heads_ + head) * page_size();
  }

  long page_tokens() const { return page_tokens_; }
  long dim() const { return dim_; }

  // Store one token's `key` and `value` (dim,).
  void write(long layer, const int32_t* table, long index, long head, const float* key, const float* value) const {
    const long lane = index % page_tokens_;
    uint16_t* keys = page(layer, table, index, head);
    uint16_t* values = keys + kLanes * dim_ + lane * dim_;
    for (long i = 0; i < dim_; i++) keys[(i / 2 * kLanes + lane) * 2 + i % 2] = to_bf16(key[i]);
    for (long i = 0; i < dim_; i++) values[i] = to_bf16(value[i]);
  }

 private:
  long page_size() const { return 2 * kLanes * dim_; }

  uint16_t* memory_;
  long page_tokens_, pages_, heads_, dim_, layer_size_;
};

// Attention of one row's query heads that share a KV head.
class Attention {
 public:
  // table: the sequence's blocks; group: query heads that share KV head `head` of `layer`.
  Attention(const KeyValueCache& cache, const int32_t* table, long layer, long head, long group)
      : cache_(cache), table_(table), layer_(layer), head_(head), group_(group) {}

  // Floats of scratch that a row needs whose token has this index: its two spans may begin and end within a page.
  static long scratch(const KeyValueCache& cache, long index, long group) {
    return group * (index / cache.page_tokens() + 4) * kLanes;
  }

  // queries (group, dim), already scaled, to output (group, dim). `window` 0 lets a row see everything.
  void attend(const Row& row, long window, const Input* queries, float* output, float* scratch) {
    Span spans[2] = {{0, row.prefix_end}, {row.branch_start, row.index + 1}};
    if (window > 0) {
      spans[0].first = std::max<long>(0, row.position - window + 1);
      spans[1].first = std::max<long>(row.branch_start, row.index - window + 1);
    }
    stride_ = (pages(spans[0]) + pages(spans[1])) * kLanes;
    long done = 0;
    for (const Span& span : spans) {
      each_page(span, [&](const uint16_t* keys, long first, long last) {
        score(keys, queries, scratch + done);
        hide(scratch + done, first, last);
        done += kLanes;
      });
    }
    for (long head = 0; head < group_; head++) softmax(scratch + head * stride_);
    in_tiles<kHeads>(group_, [&](long head, auto heads) {
      const float* weights = scratch + head * stride_;
      float* to = output + head * cache_.dim();
      long from = 0;
      if constexpr (heads <= kHeads / 4) {
        for (; from + 4 * kLanes <= cache_.dim(); from += 4 * kLanes) mix<heads, 4>(spans, weights, from, to);
      }
      for (; from < cache_.dim(); from += kLanes) mix<heads, 1>(spans, weights, from, to);
    });
  }

 private:
  // A range of a sequence's cached tokens.
  struct Span {
    long first, last;
  };

#if defined(__AVX512F__)
  static constexpr long kHeads = 8;
#else
  static constexpr long kHeads = 4;
#endif

  long pages(const Span& span) const {
    const long tokens = cache_.page_tokens();
    return span.last > span.first ? (span.last - 1) / tokens - span.first / tokens + 1 : 0;
  }

  // Call `body(page, first lane, last lane)` for each page that holds tokens of the span.
  template <class Body>
  void each_page(const Span& span, const Body& body) const {
    const long tokens = cache_.page_tokens();
    for (long index = span.first; index < span.last;) {
      const long begin = index - index % tokens, last = std::min(span.last, begin + tokens);
      body(cache_.page(layer_, table_, index, head_), index - begin, last - begin);
      index = last;
    }
  }

  // Scores of one page for all heads: scores[head * stride_ + lane].
  void score(const uint16_t* keys, const Input* queries, float* scores) const {
    in_tiles<kHeads>(group_, [&](long head, auto heads) {
      Floats sums[heads];
      for (Floats& s : sums) s = zeros();
      const Input* query = queries + head * cache_.dim();
      for (long i = 0; i < cache_.dim(); i += 2) {
        for (long h = 0; h < heads; h++) sums[h] = add_pairs(sums[h], keys + i * kLanes, query + h * cache_.dim() + i);
      }
      for (long h = 0; h < heads; h++) store(scores + (head + h) * stride_, sums[h]);
    });
  }

  // Lanes outside of [first, last) get no weight, whatever lies there.
  void hide(float* scores, long first, long last) const {
    if (first == 0 && last == kLanes) return;
    for (long head = 0; head < group_; head++) {
      float* of_head = scores + head * stride_;
      std::fill(of_head, of_head + first, -std::numeric_limits<float>::infinity());
      std::fill(of_head + last, of_head + kLanes, -std::numeric_limits<float>::infinity());
    }
  }

  // Scores to weights that sum to one.
  void softmax(float* scores) const {
    Floats best = load(scores);
    for (long i = kLanes; i < stride_; i += kLanes) best = maximum(best, load(scores + i));
    const Floats top = broadcast(largest(best));
    Floats total = zeros();
    for (long i = 0; i < stride_; i += kLanes) {
      // A hidden lane adds 1e-38 to a total of at least 1, that is nothing; its value is never read.
      const Floats weight = exponential(load(scores + i) - top);
      store(scores + i, weight);
      total = total + weight;
    }
    const Floats inverse = broadcast(1.0f / sum(total));
    for (long i = 0; i < stride_; i += kLanes) store(scores + i, load(scores + i) * inverse);
  }

  // Weighted sums of `Wide` vectors of the values, from dimension `from` on.
  template <long Heads, long Wide>
  void mix(const Span* spans, const float* weights, long from, float* output) const {
    Floats sums[Heads][Wide];
    for (auto& of_head : sums) {
      for (Floats& s : of_head) s = zeros();
    }
    for (long span = 0; span < 2; span++) {
      each_page(spans[span], [&](const uint16_t* page, long first, long last) {
        const uint16_t* values = page + kLanes * cache_.dim() + from;
        for (long lane = first; lane < last; lane++) {
          for (long w = 0; w < Wide; w++) {
            const Floats value = load_bf16(values + lane * cache_.dim() + w * kLanes);
            for (long h = 0; h < Heads; h++) {
              sums[h][w] = multiply_add(broadcast(weights[h * stride_ + lane]), value, sums[h][w]);
            }
          }
        }
        weights += kLanes;
      });
    }
    for (long h = 0; h < Heads; h++) {
      for (long w = 0; w < Wide; w++) store(output + h * cache_.dim() + from + w * kLanes, sums[h][w]);
    }
  }

  const KeyValueCache& cache_;
  const int32_t* table_;
  const long layer_, head_, group_;
  long stride_ = 0;
};
