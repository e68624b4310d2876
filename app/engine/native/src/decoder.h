// Decoder: a Llama-family model, and one step of it over a packed batch of rows.
//
// A row is one token of one sequence, whether it is decoded or belongs to a chunk of a prompt. Rows meet nowhere but in
// the KV cache: each number of a row is computed in the same order whatever stands beside it.

#pragma once

#include <cmath>
#include <memory>
#include <vector>

#include "attention.h"
#include "matrix.h"
#include "team.h"

struct Shape {
  int64_t layers, hidden, heads, kv_heads, head_dim, intermediate, vocabulary, tied;
  int64_t format;  // of the weights
  float norm_epsilon, rope_scale;
  const float* inverse_frequencies;  // (head_dim / 2,)
  const int64_t* windows;            // (layers,) positions that a row sees, itself included; 0: all
};

// A matrix and its bias, which is zero where the checkpoint has none.
struct Linear {
  Matrix weights;
  Buffer<float> bias;

  Linear() = default;
  Linear(Format format, long outputs, long inputs)
      : weights(format, outputs, inputs), bias(size_t(weights.panels()) * kPanel) {}
};

struct Layer {
  Linear qkv, output, gate_up, down;
  Buffer<float> input_norm, middle_norm, query_norm, key_norm;
};

// A batch: its rows, the block numbers of their sequences, and, ascending, the rows whose logits are wanted.
struct Step {
  const Row* rows;
  const int32_t* tables;
  const int32_t* wanted;
  int64_t count, table_count, wanted_count;  // of each
};

class Decoder {
 public:
  enum Part { kQuery, kKey, kValue, kOutput, kGate, kUp, kDown, kHead, kEmbedding };
  enum Norm { kInputNorm, kMiddleNorm, kQueryNorm, kKeyNorm, kFinalNorm };

  Decoder(const Shape& shape, int threads);

  // Take a part's weights (outputs, inputs), in bf16 or float32; the layer is ignored where there is only one.
  template <class Number>
  void set_weights(long layer, Part part, const Number* weights);
  void set_bias(long layer, Part part, const float* bias);
  void set_norm(long layer, Norm norm, const float* weights);

  // Room for `blocks` blocks of K and V; what was cached is lost.
  void allocate(long blocks, long block_size);

  // Whether every index of a step lies where it may; one that does not must never reach `run`.
  bool valid(const Step& step) const;

  // Write the rows' K and V, and the logits (wanted, vocabulary) of the rows that are wanted.
  void run(const Step& step, float* logits, int threads) { run(step, {logits, nullptr}, threads); }

  // The same, but of the logits only the likeliest tokens (wanted,), each -1 where they are not finite.
  void choose(const Step& step, int32_t* tokens, int threads);

  size_t bytes() const;

 private:
  // Where a part of the checkpoint lies in a linear layer of ours.
  struct Target {
    Linear* linear;
    long outputs, inputs;
    long first;  // vector of 16 outputs at which it begins
    long step;   // and how far it is to its next one

    long vector(long number) const { return first + number * step; }
  };

  // How the threads divide a step: all share every loop over one slice; each takes a slice of the rows; or each takes one
  // slice after another, of whole sequences.
  enum class Division { kLoops, kRows, kSequences };

  // Rows of a step that are computed together.
  struct Slice {
    long first, count;                         // of the step's rows
    long first_wanted, wanted_count;           // of those whose logits are wanted
    long room_first;                           // where its prepared rows begin, as rows
    std::vector<RowTile> pages;                // rows whose keys and values lie in one page, between each other
    std::vector<RowTile> tiles, wanted_tiles;  // for attention: all rows, and the wanted ones
    bool apart;                                // whether each tile is all of its sequence, and all rows are wanted
  };

  // What one thread writes while it computes; no two threads' lie in one line of the processor's cache.
  struct alignas(64) Scratch {
    Buffer<float> normed, scores;
    Buffer<uint8_t> prepared, expanded;  // rows, and weights
    std::vector<Attention::Page> pages;
  };

  // What one thread of the team has of a step.
  struct Work {
    const Step& step;
    const Slice& slice;
    int thread;
    long count;  // rows that are still computed; they lie from the slice's first row on
  };

  template <class Body>
  void each_matrix(const Body& body) {
    for (Layer& layer : layers_) {
      for (Linear* linear : {&layer.qkv, &layer.output, &layer.gate_up, &layer.down}) body(linear->weights);
    }
    body(head_.weights);
  }

  // Where results go: the logits, and unless it is null, the likeliest tokens.
  struct Results {
    float* logits;
    int32_t* tokens;
  };

  void run(const Step& step, const Results& results, int threads);
  Target target(long layer, Part part);
  void prepare(const Step& step, int threads);
  void divide(const Step& step, int threads);
  void add_slice(const Step& step, long last);
  void add_to_pages(const Row* rows, long number, std::vector<RowTile>& pages) const;
  void add_to_tiles(const Row* rows, long number, std::vector<RowTile>& tiles) const;
  template <class Body>
  void share(const Work& work, long count, const Body& body);
  void run_slice(Work work, const Results& results);
  void run_layer(long number, Work& work);
  void attend(long number, const Work& work);
  void run_head(const Work& work, const Results& results);

  template <class Source, class Emit>
  void project(const Linear& linear, const Work& work, const Source& source, const Emit& emit);
  template <class Source>
  void add_to_residual(const Linear& linear, const Work& work, const Source& source);

  void embed(const Row& row, long number);
  const float* normalize(long number, const Buffer<float>& weights, int thread);
  void rotate_and_cache(long number, const Row& row, const int32_t* tables, long index, long head);
  float* rotate(float* vector, const Buffer<float>& norm, const float* angles, float scale) const;
  void keep_wanted(const Work& work);

  Shape shape_;
  std::vector<float> inverse_frequencies_;
  std::vector<int64_t> windows_;
  std::vector<Layer> layers_;
  Buffer<float> final_norm_;
  Linear head_;
  Buffer<uint8_t> weights_;  // of all matrices
  Buffer<uint16_t> embedding_;
  Buffer<uint16_t> cache_memory_;
  std::unique_ptr<KeyValueCache> cache_;
  long blocks_ = 0, block_size_ = 1;
  std::unique_ptr<Team> team_;

  long hidden_stride_, qkv_stride_, attended_stride_, gated_stride_, prepared_stride_ = 0;
  Division division_ = Division::kLoops;  // of the step
  std::vector<Slice> slices_;
  // Of each row of the step: what goes from layer to layer, and what one layer keeps between its parts.
  Buffer<float> residual_, angles_, qkv_, attended_, gated_, logits_;
  Buffer<Input> queries_;
  Buffer<uint8_t> prepared_;
  std::vector<Scratch> scratch_;  // of each thread
};
