// KeyValueCache, and attention over it, for a tile of rows that follow each other in one sequence.
//
// Keys and values lie in bf16. A page holds up to 16 tokens of one KV head: its keys as pairs of dimensions with the
// tokens side by side, so that one vector collects the scores of 16 tokens; its values as pairs of tokens with the
// dimensions side by side, so that one vector adds two tokens to 16 dimensions. Rows of a tile share what is loaded and no
// sum: what a row does not see has no weight in its own, and adds zero to it. So its result depends on no other row, as
// long as the sequence's values are finite.

#pragma once

#include <algorithm>
#include <limits>
#include <vector>

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
    uint16_t* values = keys + kLanes * dim_ + lane / 2 * 2 * dim_ + lane % 2;
    for (long i = 0; i < dim_; i++) keys[(i / 2 * kLanes + lane) * 2 + i % 2] = to_bf16(key[i]);
    for (long i = 0; i < dim_; i++) values[i * 2] = to_bf16(value[i]);
  }

 private:
  long page_size() const { return 2 * kLanes * dim_; }

  uint16_t* memory_;
  long page_tokens_, pages_, heads_, dim_, layer_size_;
};

// Rows of a step that follow each other in one sequence and see the same, but for its last tokens.
struct RowTile {
  long first, count;
};

// Attention of a tile's query heads that share a KV head. A query is one of these heads of one of these rows; a row's
// come before the next row's.
class Attention {
 public:
#if defined(__AVX512F__)
  static constexpr long kQueries = 14, kSums = 28;
#else
  static constexpr long kQueries = 6, kSums = 6;
#endif

  // A page, and which of its tokens belong to a span.
  struct Page {
    const uint16_t* keys;
    long begin, first, last;  // index of its first token; the lanes within the span
    bool branch;
  };

  // table: the sequence's blocks; group: query heads that share KV head `head` of `layer`; window: positions that a
  // row sees, 0 for all.
  Attention(const KeyValueCache& cache, const int32_t* table, long layer, long head, long group, long window)
      : cache_(cache), table_(table), layer_(layer), head_(head), group_(group), window_(window) {}

  // Rows that one tile may have.
  static long most_rows(long group) { return std::max(1L, kQueries / group); }

  // Whether the row after `row` may be in its tile: both see all that is before them, or both the same prefix, and then
  // their own branches, which may be two.
  static bool goes_on(const Row& row, const Row& next) {
    const bool alike = is_plain(row) ? is_plain(next) : !is_plain(next) && row.prefix_end == next.prefix_end;
    return next.table == row.table && next.index == row.index + 1 && row.branch_start <= next.branch_start && alike;
  }

  // Floats of scratch that a tile needs whose last token has this index: its spans may begin and end within a page.
  static long scratch(const KeyValueCache& cache, long index) {
    return kQueries * ((index / cache.page_tokens() + 4) * kLanes + cache.dim());
  }

  // From queries, already scaled, to output: `stride` numbers from row to row, each (group, dim).
  void attend(const Row* rows, long count, const Input* queries, float* output, long stride, std::vector<Page>& pages,
              float* scratch) {
    rows_ = rows;
    long first_seen_by_any = rows[0].prefix_end;
    for (long i = 0; i < count; i++) first_seen_by_any = std::min(first_seen_by_any, first_seen(rows[i]));
    spans_[0] = {first_seen_by_any, rows[count - 1].prefix_end};
    spans_[1] = {first_of_branch(rows[0]), is_plain(rows[0]) ? 0 : rows[count - 1].index + 1};
    find_pages(pages);
    in_tiles<kQueries>(count * group_, [&](long first, auto size) {
      const auto place = [&](long query) {
        return (first + query) / group_ * stride + (first + query) % group_ * cache_.dim();
      };
      const Input* from_query[size];
      for (long q = 0; q < size; q++) from_query[q] = queries + place(q);
      Input* turned = reinterpret_cast<Input*>(scratch);
      for (long i = 0; i < cache_.dim(); i += 2) {
        for (long q = 0; q < size; q++, turned += 2) std::copy_n(from_query[q] + i, 2, turned);
      }
      float* weights = scratch + size * cache_.dim();
      score<size>(first, pages, reinterpret_cast<const Input*>(scratch), weights);
      float inverse[size];
      for (long q = 0; q < size; q++) inverse[q] = softmax(weights + q * kLanes, pages.size(), size * kLanes);
      constexpr long kWide = std::max(1L, std::min(4L, kSums / long(size)));
      long from = 0;
      for (; from + kWide * kLanes <= cache_.dim(); from += kWide * kLanes) {
        mix<size, kWide>(pages, weights, inverse, from, [&](long q) { return output + place(q) + from; });
      }
      for (; from < cache_.dim(); from += kLanes) {
        mix<size, 1>(pages, weights, inverse, from, [&](long q) { return output + place(q) + from; });
      }
    });
  }

 private:
  // A range of a sequence's cached tokens.
  struct Span {
    long first, last;
  };

  // Whether everything before a row is its prefix, and its branch empty.
  static bool is_plain(const Row& row) { return row.prefix_end == row.index + 1; }

  long first_seen(const Row& row) const { return window_ > 0 ? std::max<long>(0, row.position - window_ + 1) : 0; }
  long first_of_branch(const Row& row) const {
    return window_ > 0 ? std::max<long>(row.branch_start, row.index - window_ + 1) : row.branch_start;
  }

  // The pages that hold tokens of the spans.
  void find_pages(std::vector<Page>& pages) const {
    const long tokens = cache_.page_tokens();
    pages.clear();
    for (const bool branch : {false, true}) {
      for (long index = spans_[branch].first; index < spans_[branch].last;) {
        const long begin = index - index % tokens, last = std::min(spans_[branch].last, begin + tokens);
        pages.push_back({cache_.page(layer_, table_, index, head_), begin, index - begin, last - begin, branch});
        index = last;
      }
    }
  }

  // Scores[page][query][lane] of queries that lie pair by pair.
  template <long Queries>
  void score(long first, const std::vector<Page>& pages, const Input* queries, float* scores) const {
    // So many pages at a time that the processor need not wait for one sum to begin the next.
    constexpr long kPages = std::max(1L, 8 / Queries);
    const long count = pages.size();
    for (long number = 0; number < count;) {
      float* to = scores + number * Queries * kLanes;
      if (number + kPages <= count) {
        of_pages<Queries, kPages>(&pages[number], queries, to);
        number += kPages;
      } else {
        of_pages<Queries, 1>(&pages[number], queries, to);
        number++;
      }
    }
    Span seen[2][Queries];  // of the prefix and of the branch
    for (long q = 0; q < Queries; q++) {
      const Row& row = rows_[(first + q) / group_];
      seen[0][q] = {first_seen(row), row.prefix_end};
      seen[1][q] = {first_of_branch(row), row.index + 1};
    }
    for (const Page& page : pages) {
      for (long q = 0; q < Queries; q++, scores += kLanes) {
        const Span& span = seen[page.branch][q];
        hide(scores, span.first - page.begin, std::min(span.last - page.begin, cache_.page_tokens()));
      }
    }
  }

  template <long Queries, long Pages>
  void of_pages(const Page* pages, const Input* queries, float* scores) const {
    Floats sums[Pages][Queries];
    for (auto& of_page : sums) {
      for (Floats& s : of_page) s = zeros();
    }
    for (long i = 0; i < cache_.dim(); i += 2, queries += 2 * Queries) {
      for (long p = 0; p < Pages; p++) {
        for (long q = 0; q < Queries; q++) {
          sums[p][q] = add_pairs(sums[p][q], pages[p].keys + i * kLanes, queries + 2 * q);
        }
      }
    }
    for (const auto& of_page : sums) {
      for (long q = 0; q < Queries; q++, scores += kLanes) store(scores, of_page[q]);
    }
  }

  // Lanes outside of [first, last) get no weight, whatever lies there.
  static void hide(float* scores, long first, long last) {
    if (first <= 0 && last >= kLanes) return;
    constexpr float kNone = -std::numeric_limits<float>::infinity();
    std::fill(scores, scores + std::clamp(first, 0L, kLanes), kNone);
    std::fill(scores + std::clamp(last, 0L, kLanes), scores + kLanes, kNone);
  }

  // A query's scores, `stride` from page to page, to weights, whose sum's inverse it returns. They take the scores' place.
  static float softmax(float* scores, long pages, long stride) {
    Floats best = load(scores);
    for (long page = 1; page < pages; page++) best = maximum(best, load(scores + page * stride));
    const Floats top = broadcast(largest(best));
    Floats total = zeros();
    for (long page = 0; page < pages; page++) {
      const Floats below = load(scores + page * stride) - top;
      const Floats weight = zero_where_less(exponential(below), below, broadcast(-87.0f));
      total = total + weight;
      put(reinterpret_cast<Input*>(scores + page * stride), weight);
    }
    return 1.0f / sum(total);
  }

  // Weighted sums of `Wide` vectors of the values, from dimension `from` on, to `place(query)`.
  template <long Queries, long Wide, class Place>
  void mix(const std::vector<Page>& pages, const float* weights, const float* inverse, long from,
           const Place& place) const {
    Floats sums[Queries][Wide];
    for (auto& of_query : sums) {
      for (Floats& s : of_query) s = zeros();
    }
    const auto add = [&](const uint16_t* values, long pair) {
      for (long q = 0; q < Queries; q++) {
        const Input* weight = reinterpret_cast<const Input*>(weights + q * kLanes) + 2 * pair;
        for (long w = 0; w < Wide; w++) sums[q][w] = add_pairs(sums[q][w], values + w * 2 * kLanes, weight);
      }
    };
    // What lies beside the first or the last token in its pair is none of this sequence's.
    const auto add_one = [&](const uint16_t* values, long lane) {
      uint16_t pairs[Wide * 2 * kLanes] = {};
      for (long i = lane % 2; i < Wide * 2 * kLanes; i += 2) pairs[i] = values[i];
      add(pairs, lane / 2);
    };
    for (const Page& page : pages) {
      const uint16_t* values = page.keys + kLanes * cache_.dim() + from * 2;
      const auto pair = [&](long lane) { return values + lane / 2 * 2 * cache_.dim(); };
      if (page.first % 2 == 1) add_one(pair(page.first), page.first);
      for (long lane = (page.first + 1) / 2 * 2; lane + 1 < page.last; lane += 2) add(pair(lane), lane / 2);
      if (page.last % 2 == 1) add_one(pair(page.last), page.last - 1);
      weights += Queries * kLanes;
    }
    for (long q = 0; q < Queries; q++) {
      for (long w = 0; w < Wide; w++) store(place(q) + w * kLanes, sums[q][w] * broadcast(inverse[q]));
    }
  }

  const KeyValueCache& cache_;
  const int32_t* table_;
  const long layer_, head_, group_, window_;
  const Row* rows_ = nullptr;
  Span spans_[2] = {};
};
