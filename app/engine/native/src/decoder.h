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
  void run(const Step& step, float* logits, int threads);

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

  // What one thread of the team has of a step.
  struct Work {
    const Step& step;
    int thread;
    long count;  // rows that are still computed
  };

  template <class Body>
  void each_matrix(const Body& body) {
    for (Layer& layer : layers_) {
      for (Linear* linear : {&layer.qkv, &layer.output, &layer.gate_up, &layer.down}) body(linear->weights);
    }
    body(head_.weights);
  }

  Target target(long layer, Part part);
  void prepare(const Step& step, int threads);
  void add_to_tiles(const Row* rows, long number, std::vector<RowTile>& tiles) const;
  void run_layer(long number, Work& work);
  void attend(long number, const Work& work);
  void run_head(const Work& work, float* logits);

  template <class Source, class Emit>
  void project(const Linear& linear, const Work& work, const Source& source, const Emit& emit);
  template <class Source>
  void add_to_residual(const Linear& linear, const Work& work, const Source& source);

  void embed(const Row& row, long number);
  const float* normalize(long number, const Buffer<float>& weights, int thread);
  void rotate_and_cache(const Layer& layer, long number, const Row& row, const int32_t* tables, long index);
  float* rotate(float* vector, const Buffer<float>& norm, const float* angles, float scale) const;
  void keep_wanted(const Step& step);

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

  long hidden_stride_, qkv_stride_, attended_stride_, gated_stride_;
  std::vector<RowTile> tiles_, wanted_tiles_;  // of the step: all rows, and those whose logits are wanted
  // Of each row of the step: what goes from layer to layer, and what one layer keeps between its parts.
  Buffer<float> residual_, angles_, qkv_, attended_, gated_;
  Buffer<Input> queries_;
  Buffer<uint8_t> prepared_;
  // Of each thread.
  std::vector<Buffer<float>> normed_, scores_;
  std::vector<Buffer<uint8_t>> scratch_;
  std::vector<std::vector<Attention::Page>> pages_;
};
