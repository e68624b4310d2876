// The steps of a burst, and the function that Python calls.

#include "burst.h"

#include <poll.h>

#include <numeric>

#include "decoder.h"
#include "outcome.h"

namespace {

// A sequence in the course of the burst.
class Speech {
 public:
  Speech(const Burst& burst, long number)
      : burst_(burst), speaker_(burst.speakers[number]), spoken_(burst.spoken[number]), said_(burst.tokens + number * burst.stride) {
    spoken_ = {};
  }

  bool ended() const { return ended_; }
  // Whether something was foretold, and that came to its end in the last step.
  bool went_off() const { return went_off_; }
  // Whether it must have another step: it has said nothing, and nobody knows why.
  bool owes() const { return !ended_ && spoken_.count == 0; }

  // Its rows of the next step: the last token, and behind it what it will probably say.
  void add_rows(std::vector<Row>& rows) {
    went_off_ = false;
    width_ = speaker_.widths.empty() ? 0 : burst_.widths[speaker_.widths.begin++];
    width_ = std::min({width_, speaker_.foretold.end - speaker_.foretold.begin, speaker_.most - spoken_.count - 1});
    const int32_t* foretold = burst_.foretold + speaker_.foretold.begin;
    for (int32_t i = 0; i <= width_; i++) {
      const int32_t index = speaker_.index + i, token = i == 0 ? speaker_.token : foretold[i - 1];
      rows.push_back({token, index, index, speaker_.table, index + 1, index + 1});
    }
    spoken_.drafted += width_;
  }

  // Take the likeliest tokens after each of these rows; returns how many rows those were.
  long take(const int32_t* likeliest) {
    bool right = true;
    for (int32_t i = 0; i <= width_ && right && !ended_; i++) {
      if (likeliest[i] < 0) {
        // It may have been the draft, whose values are read beside its own: then it is well without.
        ended_ = i > 0 || width_ == 0;
        speaker_.foretold.begin = speaker_.foretold.end;
        break;
      }
      right = say(likeliest[i]);
      if (right && i < width_) spoken_.accepted++;
    }
    return width_ + 1;
  }

 private:
  // Say a token; whether it was foretold.
  bool say(int32_t token) {
    said_[spoken_.count++] = speaker_.token = token;
    speaker_.index++;
    const int32_t* stops = burst_.stops;
    ended_ = spoken_.count == speaker_.most ||
             std::find(stops + speaker_.stops.begin, stops + speaker_.stops.end, token) != stops + speaker_.stops.end;
    if (speaker_.foretold.empty()) return false;
    const bool right = burst_.foretold[speaker_.foretold.begin++] == token;
    spoken_.tested++;
    spoken_.matched += right;
    if (!right) speaker_.foretold.begin = speaker_.foretold.end;
    went_off_ = speaker_.foretold.empty();
    return right;
  }

  const Burst& burst_;
  Speaker speaker_;
  Spoken& spoken_;
  int32_t* said_;
  int32_t width_ = 0;
  bool ended_ = false, went_off_ = false;
};

// Whether every index lies where it may, up to the last token that could be said.
bool valid(const Decoder& decoder, const Burst& burst) {
  std::vector<Row> rows;
  for (long i = 0; i < burst.count; i++) {
    const Speaker& one = burst.speakers[i];
    const bool bounded = one.most >= 1 && one.most <= burst.stride && one.index <= std::numeric_limits<int32_t>::max() - one.most;
    if (!bounded || !one.stops.within(burst.stop_count) || !one.foretold.within(burst.foretold_count) ||
        !one.widths.within(burst.width_count)) {
      return false;
    }
    for (const int32_t index : {one.index, one.index + one.most - 1}) {
      rows.push_back({one.token, index, index, one.table, index + 1, index + 1});
    }
  }
  for (long i = 0; i < burst.foretold_count; i++) rows.push_back({burst.foretold[i], 0, 0, 0, 1, 1});
  for (long i = 0; i < burst.width_count; i++) {
    if (burst.widths[i] < 0) return false;
  }
  return decoder.valid({rows.data(), burst.tables, nullptr, int64_t(rows.size()), burst.table_count, 0});
}

bool readable(int64_t descriptor) {
  pollfd asked = {int(descriptor), POLLIN, 0};
  return descriptor >= 0 && poll(&asked, 1, 0) > 0;
}

void run(Decoder& decoder, Burst& burst, int threads) {
  std::vector<Speech> speeches;
  for (long i = 0; i < burst.count; i++) speeches.emplace_back(burst, i);
  std::vector<Speech*> speaking;
  for (Speech& speech : speeches) speaking.push_back(&speech);
  std::vector<Row> rows;
  std::vector<int32_t> all, likeliest;
  burst.done = 0;
  long went_off = 0;
  for (bool news = false, owing = false; !speaking.empty() && (owing || (burst.done < burst.rounds && !news)); burst.done++) {
    rows.clear();
    owing = false;
    for (Speech* speech : speaking) speech->add_rows(rows);
    all.resize(rows.size());
    std::iota(all.begin(), all.end(), 0);
    likeliest.resize(rows.size());
    const int64_t count = rows.size();
    decoder.choose({rows.data(), burst.tables, all.data(), count, burst.table_count, count}, likeliest.data(), threads);
    const int32_t* next = likeliest.data();
    for (Speech* speech : speaking) {
      next += speech->take(next);
      went_off += speech->went_off();
      owing |= speech->owes();
    }
    news = 2 * went_off > long(speaking.size()) || readable(burst.arrivals);
    speaking.erase(std::remove_if(speaking.begin(), speaking.end(), [](Speech* one) { return one->ended(); }), speaking.end());
  }
}

}  // namespace

extern "C" int repartee_decoder_burst(Decoder* decoder, Burst* burst, int threads) {
  bool within = false;
  const int result = outcome([&] {
    within = valid(*decoder, *burst);
    if (within) run(*decoder, *burst, threads);
  });
  return result == kDone && !within ? int(kOutOfRange) : result;
}
