// Random steps of a tiny decoder in every weight format, for the sanitizers: indices, lifetimes, races. Prints how many
// logits and tokens it compared; ends with 1 where a row's logits depend on the steps that it was cut into, or a
// sequence's tokens on the bursts.
//
//     random_steps THREADS

#include <cstdio>
#include <cstdlib>
#include <random>

#if defined(__AMX_TILE__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "burst.h"
#include "decoder.h"

extern "C" int repartee_decoder_burst(Decoder* decoder, Burst* burst, int threads);
extern "C" int repartee_decoder_step(Decoder* decoder, const Step* step, float* logits, int threads);

namespace {

// Sizes that fill no vector, no panel and no group of inputs.
constexpr long kHidden = 42, kHeads = 6, kKvHeads = 2, kHeadDim = 16, kInner = 51, kVocabulary = 77, kLayers = 2;
// Enough tokens that three threads take rows of their own.
constexpr long kTokens = 101, kBlockSize = 4, kBlocks = 27;

std::mt19937 chance(1);

std::vector<float> numbers(long count) {
  std::normal_distribution<float> normal(0, 0.2f);
  std::vector<float> made(count);
  for (float& number : made) number = normal(chance);
  return made;
}

void fill(Decoder& decoder) {
  const struct {
    Decoder::Part part;
    long outputs, inputs;
  } parts[] = {{Decoder::kQuery, kHeads * kHeadDim, kHidden},  {Decoder::kKey, kKvHeads * kHeadDim, kHidden},
               {Decoder::kValue, kKvHeads * kHeadDim, kHidden}, {Decoder::kOutput, kHidden, kHeads * kHeadDim},
               {Decoder::kGate, kInner, kHidden},               {Decoder::kUp, kInner, kHidden},
               {Decoder::kDown, kHidden, kInner}};
  for (long layer = 0; layer < kLayers; layer++) {
    for (const auto& part : parts) {
      decoder.set_weights(layer, part.part, numbers(part.outputs * part.inputs).data());
      decoder.set_bias(layer, part.part, numbers(part.outputs).data());
    }
    decoder.set_norm(layer, Decoder::kInputNorm, numbers(kHidden).data());
    decoder.set_norm(layer, Decoder::kMiddleNorm, numbers(kHidden).data());
    decoder.set_norm(layer, Decoder::kQueryNorm, numbers(kHeadDim).data());
    decoder.set_norm(layer, Decoder::kKeyNorm, numbers(kHeadDim).data());
  }
  decoder.set_norm(0, Decoder::kFinalNorm, numbers(kHidden).data());
  decoder.set_weights(0, Decoder::kHead, numbers(kVocabulary * kHidden).data());
}

// Logits of the sequence's tokens [first, last), all wanted.
std::vector<float> run(Decoder& decoder, const std::vector<int32_t>& table, long first, long last, int threads) {
  std::vector<Row> rows;
  std::vector<int32_t> wanted;
  for (int32_t i = first; i < last; i++) {
    wanted.push_back(int32_t(rows.size()));
    rows.push_back({i * 7 % int32_t(kVocabulary), i, i, 0, i + 1, i + 1});
  }
  std::vector<float> logits(rows.size() * kVocabulary);
  const Step step = {rows.data(), table.data(), wanted.data(), int64_t(rows.size()), int64_t(table.size()),
                     int64_t(wanted.size())};
  if (repartee_decoder_step(&decoder, &step, logits.data(), threads) != 0) std::exit(2);
  return logits;
}

// So many tokens that the sequence says behind its first, in bursts of so many, the drafts of which begin like `known`.
std::vector<int32_t> say(Decoder& decoder, const std::vector<int32_t>& table, long first, long count, int32_t most,
                         const std::vector<int32_t>& known, int threads) {
  std::vector<int32_t> said(kTokens), widths = {3, 0, 5, 1};
  for (long done = 0; done < count;) {
    const int32_t last = done > 0 ? said[done - 1] : int32_t((first - 1) * 7 % kVocabulary);
    const int32_t room = int32_t(std::min<long>(most, count - done)), known_end = int32_t(known.size());
    std::vector<int32_t> foretold = known;
    if (known_end > done + 4) foretold[done + 4] = 5;
    const Speaker speaker = {last, int32_t(first - 1 + done), 0, room, {0, 0}, {std::min(int32_t(done), known_end), known_end}, {0, 4}};
    Spoken spoken;
    Burst burst = {&speaker, table.data(), nullptr, foretold.data(), widths.data(), 1, int64_t(table.size()), 0, known_end,
                   4, 6, -1, room, said.data() + done, &spoken, 0};
    if (repartee_decoder_burst(&decoder, &burst, threads) != 0 || spoken.count == 0) std::exit(3);
    done += spoken.count;
  }
  said.resize(count);
  return said;
}

}  // namespace

int main(int, char** arguments) {
#if defined(__AMX_TILE__)
  if (syscall(SYS_arch_prctl, 0x1023, 18) != 0) return 3;  // may this process use tiles
#endif
  const int threads = std::atoi(arguments[1]);
  const std::vector<float> frequencies(kHeadDim / 2, 0.1f);
  const std::vector<int64_t> windows = {0, 9};
  std::vector<int32_t> table(kBlocks - 1);
  for (size_t i = 0; i < table.size(); i++) table[i] = int32_t((i * 5 + 7) % kBlocks);
  long compared = 0;
  for (const Format format : {Format::kBf16, Format::kInt8, Format::kInt4}) {
    const Shape shape = {kLayers, kHidden, kHeads, kKvHeads, kHeadDim, kInner, kVocabulary, 1, int64_t(format),
                         1e-6f, 1.0f, frequencies.data(), windows.data()};
    Decoder decoder(shape, threads);
    fill(decoder);
    decoder.allocate(kBlocks, kBlockSize);
    const std::vector<float> whole = run(decoder, table, 0, kTokens, threads);
    for (int trial = 0; trial < 3; trial++) {
      for (long first = 0; first < kTokens;) {
        const long last = std::min(kTokens, first + 1 + long(chance() % 40));
        const std::vector<float> some = run(decoder, table, first, last, 1 + int(chance() % threads));
        if (!std::equal(some.begin(), some.end(), whole.begin() + first * kVocabulary)) return 1;
        compared += long(some.size());
        first = last;
      }
    }
    const std::vector<int32_t> one_by_one = say(decoder, table, kTokens - 12, 12, 1, {}, threads);
    for (const int32_t most : {3, 12}) {
      if (say(decoder, table, kTokens - 12, 12, most, one_by_one, threads) != one_by_one) return 1;
      compared += long(one_by_one.size());
    }
  }
  std::printf("%ld\n", compared);
}
