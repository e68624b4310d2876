// One step of the decoder, in the order in which it runs; the functions at the end are what Python calls.

#include "decoder.h"

#include "greedy.h"
#include "outcome.h"


namespace {

// Tasks taken at a time: enough of them that threads rarely meet, and enough rounds that none waits long at the end.
long grain(long count, int threads) { return std::max(1L, count / (threads * 8L)); }

constexpr long kLeastAlone = 16;  // rows of a thread that fill its tiles

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
    team_->share(thread, vectors, grain(vectors, team_->size()), [&](long i) {
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

void Decoder::choose(const Step& step, int32_t* tokens, int threads) {
  logits_.reserve(step.wanted_count * shape_.vocabulary);
  run(step, {logits_.data(), tokens}, threads);
}

void Decoder::run(const Step& step, const Results& results, int threads) {
  prepare(step, threads);
  team_->run(threads, [&](int thread) {
    const TileRegisters registers;
    if (division_ == Division::kSequences) {
      team_->share(thread, slices_.size(), 1,
                   [&](long i) { run_slice({step, slices_[i], thread, slices_[i].count}, results); });
    } else {
      const Slice& slice = slices_[division_ == Division::kRows ? thread : 0];
      run_slice({step, slice, thread, slice.count}, results);
    }
  });
}

void Decoder::run_slice(Work work, const Results& results) {
  const long first = work.slice.first;
  share(work, work.count, [&](long i) { embed(work.step.rows[first + i], first + i); });
  for (long number = 0; number < shape_.layers; number++) run_layer(number, work);
  run_head(work, results);
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
  if (number + 1 == shape_.layers && work.count != work.slice.wanted_count) {
    share(work, 1, [&](long) { keep_wanted(work); });
    work.count = work.slice.wanted_count;
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
  const long group = shape_.heads / shape_.kv_heads;
  // Slices of rows may cut a sequence, whose later rows must find what its earlier ones wrote.
  const bool apart = work.slice.apart && division_ != Division::kRows;
  const auto rotate = [&](long row, long head) { rotate_and_cache(number, rows[row], work.step.tables, row, head); };
  if (!apart) {
    share(work, work.slice.pages.size(), [&](long task) {
      const RowTile& page = work.slice.pages[task];
      for (long row = page.first; row < page.first + page.count; row++) {
        for (long head = 0; head < shape_.kv_heads; head++) rotate(row, head);
      }
    });
  }
  if (division_ == Division::kRows) team_->barrier();  // this thread's rows see what the others wrote
  // Of the last layer only the wanted rows go on.
  const std::vector<RowTile>& tiles = number + 1 < shape_.layers ? work.slice.tiles : work.slice.wanted_tiles;
  share(work, tiles.size() * shape_.kv_heads, [&](long task) {
    // The longest, which stand last in a prompt, are taken first, so that no thread waits long at the end.
    const RowTile& tile = tiles[tiles.size() - 1 - task / shape_.kv_heads];
    const long head = task % shape_.kv_heads, first = tile.first * attended_stride_ + head * group * shape_.head_dim;
    for (long row = tile.first; apart && row < tile.first + tile.count; row++) rotate(row, head);
    Attention(*cache_, work.step.tables + rows[tile.first].table, number, head, group, windows_[number])
        .attend(rows + tile.first, tile.count, queries_.data() + first, attended_.data() + first, attended_stride_,
                scratch_[work.thread].pages, scratch_[work.thread].scores.data());
  });
}

void Decoder::run_head(const Work& work, const Results& results) {
  if (work.count == 0) return;
  const auto logits = [&](long wanted) { return results.logits + wanted * shape_.vocabulary; };
  project(head_, work, [&](long row) { return normalize(row, final_norm_, work.thread); },
          [&](long row, long panel, const Floats* outputs) {
            const long wanted = work.slice.first_wanted + row - work.slice.first;
            store_outputs(logits(wanted), panel * kPanel, shape_.vocabulary, outputs);
          });
  if (results.tokens == nullptr) return;
  share(work, work.count, [&](long row) {
    const long wanted = work.slice.first_wanted + row;
    results.tokens[wanted] = greedy_token(logits(wanted), shape_.vocabulary);
  });
}

// Call `emit(row, panel, outputs)` with a panel's outputs, bias and all, of each row that `source(row)` gives.
template <class Source, class Emit>
void Decoder::project(const Linear& linear, const Work& work, const Source& source, const Emit& emit) {
  const Matrix& weights = linear.weights;
  // Rows are taken in blocks that stay in the cache while all weights pass by.
  const long most = block_rows(weights, work.count), blocks = (work.count + most - 1) / most;
  const long tiles_of_block = weights.tiles(most);
  const long tiles = blocks > 0 ? (blocks - 1) * tiles_of_block + weights.tiles(work.count - (blocks - 1) * most) : 0;
  // A single tile is prepared by each thread for itself, sooner than they would have waited for one of them.
  const bool alone = division_ == Division::kLoops && tiles <= 1 && team_->size() > 1;
  uint8_t* prepared = alone ? scratch_[work.thread].prepared.data() : prepared_.data() + work.slice.room_first * prepared_stride_;
  const auto rows_from = [&](long block) { return prepared + block * most * weights.row_bytes(); };
  const auto prepare = [&](long task) {
    // The last block may have more tiles than the others, smaller ones.
    const long block = std::min(task / tiles_of_block, blocks - 1), first = work.slice.first + block * most;
    weights.prepare([&](long row) { return source(first + row); }, rows_from(block), task - block * tiles_of_block,
                    std::min(most, work.count - block * most));
  };
  if (alone) {
    if (tiles == 1) prepare(0);
  } else {
    share(work, tiles, prepare);
  }
  share(work, blocks * weights.panels(), [&](long task) {
    const long block = task / weights.panels(), panel = task % weights.panels(), first = work.slice.first + block * most;
    const float* bias = linear.bias.data() + panel * kPanel;
    uint8_t* expanded = scratch_[work.thread].expanded.data();
    const long count = std::min(most, work.count - block * most);
    weights.multiply(panel, rows_from(block), count, expanded, [&](long row, const Floats* sums) {
      const Floats outputs[kVectors] = {sums[0] + load(bias), sums[1] + load(bias + kLanes)};
      emit(first + row, panel, outputs);
    });
  });
}

// A loop over something of a slice, by the threads that compute it.
template <class Body>
void Decoder::share(const Work& work, long count, const Body& body) {
  if (division_ == Division::kLoops) return team_->share(work.thread, count, grain(count, team_->size()), body);
  for (long i = 0; i < count; i++) body(i);
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
  long expanded = 0;
  prepared_stride_ = 0;
  for (const Linear* linear : {&head_, &layers_[0].qkv, &layers_[0].output, &layers_[0].gate_up, &layers_[0].down}) {
    prepared_stride_ = std::max(prepared_stride_, linear->weights.row_bytes());
    expanded = std::max(expanded, linear->weights.scratch_bytes());
  }
  residual_.reserve(count * hidden_stride_);
  angles_.reserve(count * shape_.head_dim);
  qkv_.reserve(count * qkv_stride_);
  queries_.reserve(count * attended_stride_);
  attended_.reserve(count * attended_stride_);
  gated_.reserve(count * gated_stride_);
  long longest = 0;
  for (long i = 0; i < step.count; i++) longest = std::max<long>(longest, step.rows[i].index);
  if (scratch_.size() < size_t(threads)) scratch_.resize(threads);
  for (Scratch& scratch : scratch_) {
    scratch.normed.reserve(hidden_stride_);
    scratch.scores.reserve(Attention::scratch(*cache_, longest));
    scratch.expanded.reserve(expanded);
    scratch.prepared.reserve(kTileRows * prepared_stride_);
  }
  divide(step, threads);
  prepared_.reserve((slices_.back().room_first + Matrix::room(slices_.back().count)) * prepared_stride_);
}

// Whichever moves fewer bytes: threads that share loops write and read each other's numbers after every one, threads with
// rows of their own each read all weights. Sequences need nothing of each other, so slices of whole ones are best, if there
// are enough of them and none is too long: a thread that is held up then holds up no other.
void Decoder::divide(const Step& step, int threads) {
  const long numbers = qkv_stride_ + attended_stride_ + gated_stride_ + 2 * hidden_stride_;
  const Layer& layer = layers_[0];
  long weights = 0;
  for (const Linear* linear : {&layer.qkv, &layer.output, &layer.gate_up, &layer.down}) weights += linear->weights.bytes();
  const long worth = weights / (2 * numbers * long(sizeof(float)));  // rows
  slices_.clear();
  division_ = Division::kLoops;
  if (step.count < std::max(worth, threads * kLeastAlone)) return add_slice(step, step.count);
  const long least = std::max(worth / threads, kLeastAlone);
  long longest = 0;
  for (long row = 1, first = 0; row <= step.count; row++) {
    const bool ends = row == step.count || (row - first >= least && step.rows[row].table != step.rows[row - 1].table);
    if (!ends) continue;
    add_slice(step, row);
    longest = std::max(longest, row - first);
    first = row;
  }
  division_ = Division::kSequences;
  if (3 * threads * longest <= 4 * step.count) return;
  slices_.clear();
  division_ = Division::kRows;
  for (long number = 1; number <= threads; number++) add_slice(step, step.count * number / threads);
}

// The rows from where the last slice ends to before `last`.
void Decoder::add_slice(const Step& step, long last) {
  Slice slice = {};
  if (!slices_.empty()) {
    slice.first = slices_.back().first + slices_.back().count;
    slice.first_wanted = slices_.back().first_wanted + slices_.back().wanted_count;
    slice.room_first = slices_.back().room_first + Matrix::room(slices_.back().count);
  }
  for (long row = slice.first; row < last; row++) {
    const long wanted = slice.first_wanted + slice.wanted_count;
    add_to_pages(step.rows, row, slice.pages);
    add_to_tiles(step.rows, row, slice.tiles);
    if (wanted < step.wanted_count && step.wanted[wanted] == row) {
      add_to_tiles(step.rows, row, slice.wanted_tiles);
      slice.wanted_count++;
    }
  }
  slice.count = last - slice.first;
  slice.apart = slice.wanted_count == slice.count;
  for (size_t i = 1; i < slice.tiles.size(); i++) {
    slice.apart &= step.rows[slice.tiles[i].first].table > step.rows[slice.tiles[i - 1].first].table;
  }
  slices_.push_back(std::move(slice));
}

// Row `number` joins the last ones if it lies in their page.
void Decoder::add_to_pages(const Row* rows, long number, std::vector<RowTile>& pages) const {
  const long tokens = cache_->page_tokens();
  const auto together = [&](const Row& a, const Row& b) { return a.table == b.table && a.index / tokens == b.index / tokens; };
  if (!pages.empty() && together(rows[number - 1], rows[number])) {
    pages.back().count++;
  } else {
    pages.push_back({number, 1});
  }
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
  float* to = scratch_[thread].normed.data();
  const Floats factor = norm_factor(from, hidden_stride_, shape_.hidden, shape_.norm_epsilon);
  for (long i = 0; i < hidden_stride_; i += kLanes) store(to + i, load(from + i) * factor * load(weights.data() + i));
  return to;
}

// After the last layer's K and V are written only the wanted rows have anything left to do: they become the first ones.
void Decoder::keep_wanted(const Work& work) {
  for (long i = 0; i < work.slice.wanted_count; i++) {
    const long from = work.step.wanted[work.slice.first_wanted + i], to = work.slice.first + i;
    std::copy_n(residual_.data() + from * hidden_stride_, hidden_stride_, residual_.data() + to * hidden_stride_);
    std::copy_n(attended_.data() + from * attended_stride_, attended_stride_, attended_.data() + to * attended_stride_);
  }
}

// One KV head's queries and key turned to the row's position: queries to where attention reads them, key and value to the
// cache.
void Decoder::rotate_and_cache(long number, const Row& row, const int32_t* tables, long index, long head) {
  const Layer& layer = layers_[number];
  const long dim = shape_.head_dim, group = shape_.heads / shape_.kv_heads;
  const float* angles = angles_.data() + index * dim;
  float* qkv = qkv_.data() + index * qkv_stride_;
  Input* queries = queries_.data() + index * attended_stride_;
  const float scale = 1.0f / std::sqrt(float(dim));
  for (long of_query = head * group; of_query < (head + 1) * group; of_query++) {
    const float* query = rotate(qkv + of_query * dim, layer.query_norm, angles, scale);
    for (long i = 0; i < dim; i += kLanes) put(queries + of_query * dim + i, load(query + i));
  }
  float* keys = qkv + shape_.heads * dim;
  const float* key = rotate(keys + head * dim, layer.key_norm, angles, 1.0f);
  cache_->write(number, tables + row.table, row.index, head, key, keys + (shape_.kv_heads + head) * dim);
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
