// One step of the decoder, in the order in which it runs; the functions at the end are what Python calls.

#include "decoder.h"

#include <system_error>

namespace {

// Tasks taken at a time: enough of them that threads rarely meet, and enough rounds that none waits long at the end.
long grain(long count, int threads) { return std::max(1L, count / (threads * 8L)); }

Buffer<float> copy(const float* from, long count) {
  Buffer<float> to(padded(count));
  std::copy(from, from + count, to.data());
  return to;
}

float widened(uint16_t number) { return from_bf16(number); }
float widened(float number) { return number; }

// What root mean square norm (Zhang and Sennrich 2019) multiplies `size` numbers with; zeros follow them up to `stride`.
Floats norm_factor(const float* from, long stride, long size, float epsilon) {
  Floats squares = zeros();
  for (long i = 0; i < stride; i += kLanes) squares = multiply_add(load(from + i), load(from + i), squares);
  return broadcast(1.0f / std::sqrt(sum(squares) / float(size) + epsilon));
}

// Rows that are multiplied together: so many that their inputs fit half of a cache of two megabytes, and blocks as equal
// as tiles of rows allow.
long block_rows(const Matrix& weights, long count) {
  const long most = std::max(1L, (1L << 20) / weights.row_bytes()), blocks = std::max(1L, (count + most - 1) / most);
  return std::max(1L, Matrix::room((count + blocks - 1) / blocks));
}

// Store a panel's outputs in a row of `outputs` numbers, which the last panel may reach beyond.
void store_outputs(float* row, long first, long outputs, const Floats* sums) {
  for (long v = 0; v < kVectors; v++, first += kLanes) {
    if (first + kLanes <= outputs) {
      store(row + first, sums[v]);
    } else if (first < outputs) {
      float whole[kLanes];
      store(whole, sums[v]);
      std::copy(whole, whole + outputs - first, row + first);
    }
  }
}

}  // namespace

Decoder::Decoder(const Shape& shape, int threads)
    : shape_(shape),
      inverse_frequencies_(shape.inverse_frequencies, shape.inverse_frequencies + shape.head_dim / 2),
      windows_(shape.windows, shape.windows + shape.layers),
      layers_(shape.layers),
      head_(Format(shape.format), shape.vocabulary, shape.hidden),
      embedding_(shape.tied ? 0 : size_t(shape.vocabulary) * shape.hidden),
      team_(new Team(threads)),
      hidden_stride_(padded(shape.hidden)),
      qkv_stride_(padded((shape.heads + 2 * shape.kv_heads) * shape.head_dim)),
      attended_stride_(padded(shape.heads * shape.head_dim)),
      gated_stride_(padded(shape.intermediate)) {
  const Format format = Format(shape.format);
  for (Layer& layer : layers_) {
    layer.qkv = Linear(format, (shape.heads + 2 * shape.kv_heads) * shape.head_dim, shape.hidden);
    layer.output = Linear(format, shape.hidden, shape.heads * shape.head_dim);
    layer.gate_up = Linear(format, (shape.intermediate + kLanes - 1) / kLanes * kPanel, shape.hidden);
    layer.down = Linear(format, shape.hidden, shape.intermediate);
  }
  // One piece of memory for all, because huge pages begin at few addresses and most matrices are no longer than a few.
  size_t total = 0;
  each_matrix([&](Matrix& matrix) { total += matrix.bytes(); });
  weights_ = Buffer<uint8_t>(total + kTileSlack);
  uint8_t* memory = weights_.data();
  each_matrix([&](Matrix& matrix) {
    matrix.place(memory);
    memory += matrix.bytes();
  });
}

Decoder::Target Decoder::target(long layer, Part part) {
  const long queries = shape_.heads * shape_.head_dim, keys = shape_.kv_heads * shape_.head_dim;
  const long hidden = shape_.hidden, inner = shape_.intermediate;
  Layer& of = layers_[part < kHead ? layer : 0];
  switch (part) {
    case kQuery: return {&of.qkv, queries, hidden, 0, 1};
    case kKey: return {&of.qkv, keys, hidden, queries / kLanes, 1};
    case kValue: return {&of.qkv, keys, hidden, (queries + keys) / kLanes, 1};
    case kOutput: return {&of.output, hidden, queries, 0, 1};
    // 16 outputs of the gate and the same 16 of `up` make one panel.
    case kGate: return {&of.gate_up, inner, hidden, 0, 2};
    case kUp: return {&of.gate_up, inner, hidden, 1, 2};
    case kDown: return {&of.down, hidden, inner, 0, 1};
    default: return {&head_, shape_.vocabulary, hidden, 0, 1};
  }
}

template <class Number>
void Decoder::set_weights(long layer, Part part, const Number* weights) {
  if (part == kEmbedding) {
    for (long i = 0; i < shape_.vocabulary * shape_.hidden; i++) embedding_.data()[i] = to_bf16(widened(weights[i]));
    return;
  }
  const Target to = target(layer, part);
  const long vectors = (to.outputs + kLanes - 1) / kLanes;
  std::vector<Buffer<float>> some(team_->most());
  for (Buffer<float>& of_thread : some) of_thread.reserve(kLanes * to.inputs);
  team_->run(team_->most(), [&](int thread) {
    float* floats = some[thread].data();
    team_->share(vectors, grain(vectors, team_->size()), [&](long i) {
      const long count = std::min(kLanes, to.outputs - i * kLanes);
      const Number* from = weights + i * kLanes * to.inputs;
      for (long j = 0; j < count * to.inputs; j++) floats[j] = widened(from[j]);
      to.linear->weights.set(to.vector(i), floats, count);
    });
  });
}

void Decoder::set_bias(long layer, Part part, const float* bias) {
  const Target to = target(layer, part);
  for (long i = 0; i < to.outputs; i++) to.linear->bias.data()[to.vector(i / kLanes) * kLanes + i % kLanes] = bias[i];
}

void Decoder::set_norm(long layer, Norm norm, const float* weights) {
  Layer& of = layers_[norm == kFinalNorm ? 0 : layer];
  switch (norm) {
    case kInputNorm: of.input_norm = copy(weights, shape_.hidden); break;
    case kMiddleNorm: of.middle_norm = copy(weights, shape_.hidden); break;
    case kQueryNorm: of.query_norm = copy(weights, shape_.head_dim); break;
    case kKeyNorm: of.key_norm = copy(weights, shape_.head_dim); break;
    case kFinalNorm: final_norm_ = copy(weights, shape_.hidden); break;
  }
}

void Decoder::allocate(long blocks, long block_size) {
  const long pages = (block_size + kLanes - 1) / kLanes;
  cache_memory_ = Buffer<uint16_t>(size_t(shape_.layers) * blocks * pages * shape_.kv_heads * 2 * kLanes * shape_.head_dim);
  blocks_ = blocks;
  block_size_ = block_size;
  cache_.reset(new KeyValueCache(cache_memory_.data(), blocks, block_size, shape_.kv_heads, shape_.head_dim));
}

size_t Decoder::bytes() const { return weights_.bytes() - kTileSlack + embedding_.bytes(); }

bool Decoder::valid(const Step& step) const {
  for (long i = 0; i < step.table_count; i++) {
    if (step.tables[i] < 0 || step.tables[i] >= blocks_) return false;
  }
  for (long i = 0; i < step.wanted_count; i++) {
    if (step.wanted[i] < (i ? step.wanted[i - 1] + 1 : 0) || step.wanted[i] >= step.count) return false;
  }
  for (long i = 0; i < step.count; i++) {
    const Row& row = step.rows[i];
    const bool placed = row.index >= 0 && row.table >= 0 && row.table + row.index / block_size_ < step.table_count;
    const bool sees = row.prefix_end >= 0 && row.prefix_end <= row.branch_start &&
                      (row.branch_start <= row.index || (row.branch_start == row.index + 1 && row.prefix_end == row.branch_start));
    if (!placed || !sees || row.token < 0 || row.token >= shape_.vocabulary || row.position < 0) return false;
  }
  return true;
}

void Decoder::run(const Step& step, float* logits, int threads) {
  prepare(step, threads);
  team_->run(threads, [&](int thread) {
    Work work = {step, thread, step.count};
    const TileRegisters registers;
    team_->share(work.count, 1, [&](long i) { embed(step.rows[i], i); });
    for (long number = 0; number < shape_.layers; number++) run_layer(number, work);
    run_head(work, logits);
  });
}

void Decoder::run_layer(long number, Work& work) {
  const Layer& layer = layers_[number];
  project(layer.qkv, work, [&](long row) { return normalize(row, layer.input_norm, work.thread); },
          [&](long row, long panel, const Floats* outputs) {
            float* to = qkv_.data() + row * qkv_stride_ + panel * kPanel;
            store(to, outputs[0]);
            store(to + kLanes, outputs[1]);
          });
  attend(number, work);
  if (number + 1 == shape_.layers && work.count != work.step.wanted_count) {
    team_->share(1, 1, [&](long) { keep_wanted(work.step); });
    work.count = work.step.wanted_count;
  }
  add_to_residual(layer.output, work, [&](long row) { return attended_.data() + row * attended_stride_; });
  project(layer.gate_up, work, [&](long row) { return normalize(row, layer.middle_norm, work.thread); },
          [&](long row, long panel, const Floats* outputs) {
            const Floats gate = outputs[0] / (broadcast(1.0f) + exponential(zeros() - outputs[0]));
            store(gated_.data() + row * gated_stride_ + panel * kLanes, gate * outputs[1]);
          });
  add_to_residual(layer.down, work, [&](long row) { return gated_.data() + row * gated_stride_; });
}

void Decoder::attend(long number, const Work& work) {
  const Row* rows = work.step.rows;
  const long threads = team_->size(), group = shape_.heads / shape_.kv_heads;
  // Of the last layer only the wanted rows go on.
  const std::vector<RowTile>& tiles = number + 1 < shape_.layers ? tiles_ : wanted_tiles_;
  team_->share(work.count, grain(work.count, threads),
               [&](long i) { rotate_and_cache(layers_[number], number, rows[i], work.step.tables, i); });
  team_->share(tiles.size() * shape_.kv_heads, grain(tiles.size(), threads), [&](long task) {
    // The longest, which stand last in a prompt, are taken first, so that no thread waits long at the end.
    const RowTile& tile = tiles[tiles.size() - 1 - task / shape_.kv_heads];
    const long head = task % shape_.kv_heads, first = tile.first * attended_stride_ + head * group * shape_.head_dim;
    Attention(*cache_, work.step.tables + rows[tile.first].table, number, head, group, windows_[number])
        .attend(rows + tile.first, tile.count, queries_.data() + first, attended_.data() + first, attended_stride_,
                pages_[work.thread], scores_[work.thread].data());
  });
}

void Decoder::run_head(const Work& work, float* logits) {
  if (work.count == 0) return;
  project(head_, work, [&](long row) { return normalize(row, final_norm_, work.thread); },
          [&](long row, long panel, const Floats* outputs) {
            store_outputs(logits + row * shape_.vocabulary, panel * kPanel, shape_.vocabulary, outputs);
          });
}

// Call `emit(row, panel, outputs)` with a panel's outputs, bias and all, of each row that `source(row)` gives.
template <class Source, class Emit>
void Decoder::project(const Linear& linear, const Work& work, const Source& source, const Emit& emit) {
  const Matrix& weights = linear.weights;
  // Rows are taken in blocks that stay in the cache while all weights pass by.
  const long most = block_rows(weights, work.count), blocks = (work.count + most - 1) / most;
  const auto rows_from = [&](long first) { return prepared_.data() + first * weights.row_bytes(); };
  team_->share(work.count, grain(work.count, team_->size()), [&](long row) {
    const long first = row / most * most;
    weights.prepare(source(row), rows_from(first), row - first, std::min(most, work.count - first));
  });
  team_->share(blocks * weights.panels(), grain(blocks * weights.panels(), team_->size()), [&](long task) {
    const long first = task / weights.panels() * most, panel = task % weights.panels();
    const float* bias = linear.bias.data() + panel * kPanel;
    uint8_t* scratch = scratch_[work.thread].data();
    weights.multiply(panel, rows_from(first), std::min(most, work.count - first), scratch, [&](long row, const Floats* sums) {
      const Floats outputs[kVectors] = {sums[0] + load(bias), sums[1] + load(bias + kLanes)};
      emit(first + row, panel, outputs);
    });
  });
}

template <class Source>
void Decoder::add_to_residual(const Linear& linear, const Work& work, const Source& source) {
  project(linear, work, source, [&](long row, long panel, const Floats* outputs) {
    float* to = residual_.data() + row * hidden_stride_ + panel * kPanel;
    store(to, load(to) + outputs[0]);
    store(to + kLanes, load(to + kLanes) + outputs[1]);
  });
}

void Decoder::prepare(const Step& step, int threads) {
  if (team_->most() < threads) team_.reset(new Team(threads));
  const size_t count = step.count;
  long bytes = 0, scratch = 0;
  for (const Linear* linear : {&head_, &layers_[0].qkv, &layers_[0].output, &layers_[0].gate_up, &layers_[0].down}) {
    bytes = std::max(bytes, linear->weights.row_bytes());
    scratch = std::max(scratch, linear->weights.scratch_bytes());
  }
  residual_.reserve(count * hidden_stride_);
  angles_.reserve(count * shape_.head_dim);
  qkv_.reserve(count * qkv_stride_);
  queries_.reserve(count * attended_stride_);
  attended_.reserve(count * attended_stride_);
  gated_.reserve(count * gated_stride_);
  prepared_.reserve(Matrix::room(count) * bytes);
  long longest = 0;
  for (long i = 0; i < step.count; i++) longest = std::max<long>(longest, step.rows[i].index);
  normed_.resize(threads);
  scores_.resize(threads);
  pages_.resize(threads);
  scratch_.resize(threads);
  for (Buffer<uint8_t>& of_thread : scratch_) of_thread.reserve(scratch);
  for (Buffer<float>& normed : normed_) normed.reserve(hidden_stride_);
  for (Buffer<float>& scores : scores_) {
    scores.reserve(Attention::scratch(*cache_, longest));
  }
  tiles_.clear();
  for (long i = 0; i < step.count; i++) add_to_tiles(step.rows, i, tiles_);
  wanted_tiles_.clear();
  for (long i = 0; i < step.wanted_count; i++) add_to_tiles(step.rows, step.wanted[i], wanted_tiles_);
}

// Row `number` joins the last tile if it goes on where that ends, or begins a new one.
void Decoder::add_to_tiles(const Row* rows, long number, std::vector<RowTile>& tiles) const {
  const long most = Attention::most_rows(shape_.heads / shape_.kv_heads);
  if (!tiles.empty()) {
    RowTile& last = tiles.back();
    if (last.first + last.count == number && last.count < most && Attention::goes_on(rows[number - 1], rows[number])) {
      last.count++;
      return;
    }
  }
  tiles.push_back({number, 1});
}

// The row's embedding, and the cosines and sines of its position, which all layers share.
void Decoder::embed(const Row& row, long number) {
  float* to = residual_.data() + number * hidden_stride_;
  if (shape_.tied) {
    head_.weights.get(row.token, to);
  } else {
    const uint16_t* from = embedding_.data() + size_t(row.token) * shape_.hidden;
    for (long i = 0; i < shape_.hidden; i++) to[i] = from_bf16(from[i]);
  }
  // What another row left in the padding may not be finite, and norms run over it.
  std::fill(to + shape_.hidden, to + hidden_stride_, 0.0f);
  const long half = shape_.head_dim / 2;
  float* angles = angles_.data() + number * shape_.head_dim;
  for (long i = 0; i < half; i++) {
    const float angle = float(row.position) * inverse_frequencies_[i];
    angles[i] = std::cos(angle) * shape_.rope_scale;
    angles[half + i] = std::sin(angle) * shape_.rope_scale;
  }
}

// The norm of a row's residual, whose padding is zero and stays so.
const float* Decoder::normalize(long number, const Buffer<float>& weights, int thread) {
  const float* from = residual_.data() + number * hidden_stride_;
  float* to = normed_[thread].data();
  const Floats factor = norm_factor(from, hidden_stride_, shape_.hidden, shape_.norm_epsilon);
  for (long i = 0; i < hidden_stride_; i += kLanes) store(to + i, load(from + i) * factor * load(weights.data() + i));
  return to;
}

// After the last layer's K and V are written only the wanted rows have anything left to do: they become the first ones.
void Decoder::keep_wanted(const Step& step) {
  for (long i = 0; i < step.wanted_count; i++) {
    const long from = step.wanted[i];
    std::copy_n(residual_.data() + from * hidden_stride_, hidden_stride_, residual_.data() + i * hidden_stride_);
    std::copy_n(attended_.data() + from * attended_stride_, attended_stride_, attended_.data() + i * attended_stride_);
  }
}

// Queries and keys turned to the row's position; queries to where attention reads them, keys and values to the cache.
void Decoder::rotate_and_cache(const Layer& layer, long number, const Row& row, const int32_t* tables, long index) {
  const long dim = shape_.head_dim;
  const float* angles = angles_.data() + index * dim;
  float* qkv = qkv_.data() + index * qkv_stride_;
  Input* queries = queries_.data() + index * attended_stride_;
  const float scale = 1.0f / std::sqrt(float(dim));
  for (long head = 0; head < shape_.heads; head++) {
    float* query = rotate(qkv + head * dim, layer.query_norm, angles, scale);
    for (long i = 0; i < dim; i += kLanes) put(queries + head * dim + i, load(query + i));
  }
  float* keys = qkv + shape_.heads * dim;
  for (long head = 0; head < shape_.kv_heads; head++) {
    const float* key = rotate(keys + head * dim, layer.key_norm, angles, 1.0f);
    const float* value = keys + (shape_.kv_heads + head) * dim;
    cache_->write(number, tables + row.table, row.index, head, key, value);
  }
}

// Normalize one head's vector where the model does, turn it by rotary position embedding (Su et al. 2021; halves are
// paired, as in the Hugging Face checkpoints), and scale it; in place.
float* Decoder::rotate(float* vector, const Buffer<float>& norm, const float* angles, float scale) const {
  const long dim = shape_.head_dim, half = dim / 2;
  if (!norm.empty()) {
    const Floats factor = norm_factor(vector, dim, dim, shape_.norm_epsilon);
    for (long i = 0; i < dim; i += kLanes) store(vector + i, load(vector + i) * factor * load(norm.data() + i));
  }
  for (long i = 0; i < half; i++) {
    const float a = vector[i], b = vector[half + i];
    vector[i] = (a * angles[i] - b * angles[half + i]) * scale;
    vector[half + i] = (b * angles[i] + a * angles[half + i]) * scale;
  }
  return vector;
}

namespace {

// What the functions below return; native/decoder.py knows them.
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

}  // namespace

extern "C" {

int repartee_decoder_new(const Shape* shape, int threads, Decoder** decoder) {
  return outcome([&] { *decoder = new Decoder(*shape, threads); });
}

void repartee_decoder_free(Decoder* decoder) { delete decoder; }

int repartee_decoder_set_bf16(Decoder* decoder, long layer, int part, const uint16_t* weights) {
  return outcome([&] { decoder->set_weights(layer, Decoder::Part(part), weights); });
}

int repartee_decoder_set_float32(Decoder* decoder, long layer, int part, const float* weights) {
  return outcome([&] { decoder->set_weights(layer, Decoder::Part(part), weights); });
}

int repartee_decoder_set_bias(Decoder* decoder, long layer, int part, const float* bias) {
  return outcome([&] { decoder->set_bias(layer, Decoder::Part(part), bias); });
}

int repartee_decoder_set_norm(Decoder* decoder, long layer, int norm, const float* weights) {
  return outcome([&] { decoder->set_norm(layer, Decoder::Norm(norm), weights); });
}

int repartee_decoder_allocate(Decoder* decoder, long blocks, long block_size) {
  return outcome([&] { decoder->allocate(blocks, block_size); });
}

long repartee_decoder_bytes(const Decoder* decoder) { return long(decoder->bytes()); }

int repartee_decoder_step(Decoder* decoder, const Step* step, float* logits, int threads) {
  if (!decoder->valid(*step)) return kOutOfRange;
  return outcome([&] { decoder->run(*step, logits, threads); });
}
}
