// Reads a command list and checks it: after this no kernel meets a shape that does not fit.
#include "program.h"

#include <algorithm>
#include <cstring>

namespace jamba {

namespace {

class Reader {
 public:
  Reader(const int32_t* words, int64_t n, int64_t arenaWords) : at_(words), end_(words + n), arenaWords_(arenaWords) {}
  int32_t next() {
    if (at_ == end_) fail("BACKEND", "program: expected more words, found the end");
    return *at_++;
  }
  float real() {
    const int32_t bits = next();
    float v;
    memcpy(&v, &bits, 4);
    return v;
  }
  Tensor tensor() {
    Tensor t;
    t.offset = next(), t.stride = next(), t.rows = next(), t.columns = next();
    if (t.rows == 0) t.offset = 0;  // a view of nothing lies nowhere
    const int64_t last = t.rows == 0 ? 0 : ((int64_t)t.rows - 1) * t.stride + t.columns;
    if (t.offset < 0 || t.rows < 0 || t.columns < 0 || t.stride < t.columns || t.offset + last > arenaWords_)
      fail("SHAPE", "program: expected a tensor within " + std::to_string(arenaWords_) + " words, found " + std::to_string(t.rows) + " rows at " +
                                 std::to_string(t.offset));
    return t;
  }

 private:
  const int32_t *at_, *end_;
  int64_t arenaWords_;
};

/** Of a row of logits: see ops/top.h. */
constexpr int32_t nSums = 5;

void expect(bool fits, const char* what) {
  if (!fits) fail("SHAPE", std::string("program: ") + what + ": shapes do not fit together");
}

}  // namespace

std::vector<std::shared_ptr<Weight>> Program::hold() const {
  std::vector<std::shared_ptr<Weight>> held;
  for (const auto& weight : weights) {
    held.push_back(weight.lock());
    if (!held.back()) fail("DISPOSED", "program: expected weights that are in use, found one disposed");
  }
  return held;
}

Program::Program(const int32_t* words, int64_t nWords, const std::vector<std::shared_ptr<Weight>>& held, StateLayout layout)
    : states(std::move(layout)) {
  if (nWords < 6) fail("BACKEND", "program: expected a header, found the end");
  L = words[0], nSequences = words[1], nRows = words[2], arenaWords = words[3];
  const int32_t nInputs = words[4], nCommands = words[5];
  if (L < 0 || nSequences < 0 || nRows < 0 || arenaWords < 0 || nInputs < 0 || nCommands < 0) fail("BACKEND", "program: expected counts, found less than 0");
  Reader in(words + 6, nWords - 6, arenaWords);
  const auto weight = [&](int32_t index) -> const Matrix& {
    if (index < 0 || index >= (int32_t)held.size()) fail("BACKEND", "program: expected a weight of its own, found number " + std::to_string(index));
    return held[index]->matrix;
  };
  const auto matrix = [&] {
    const Matrix& m = weight(in.next());
    expect(!m.isVector, "a weight that must be a matrix");
    return m;
  };
  const auto vector = [&](int64_t length, const char* what) {
    const Matrix& m = weight(in.next());
    if (!m.isVector || m.columns != length) fail("DTYPE", std::string("program: ") + what + ": expected an f32 vector that fits");
    return m;
  };
  const auto layer = [&](bool mamba) {
    const int32_t i = in.next();
    if (i < 0 || i >= (int32_t)states.layers.size() || states.layers[i].mamba != mamba) fail("SHAPE", "program: expected a layer of the states, found another");
    return i;
  };
  const auto output = [&](Command& c, int64_t bytes) {
    c.host = (int32_t)outputBytes.size();
    outputBytes.push_back(bytes);
  };
  if (nCommands > nWords) fail("BACKEND", "program: expected " + std::to_string(nCommands) + " commands, found the end");
  commands.reserve(nCommands);
  for (int32_t i = 0; i < nCommands; i++) {
    Command c{};
    const int32_t op = in.next();
    if (op < 0 || op >= nOps) fail("BACKEND", "program: expected an op, found number " + std::to_string(op));
    c.op = (Op)op;
    const auto normed = [&] {
      const int32_t index = in.next();
      c.eps = in.real();
      if (index < 0) return;
      c.norm = weight(index);
      expect(c.norm.isVector && c.norm.columns == c.in[0].columns, "norm");
    };
    const auto bias = [&](int64_t length) {
      const int32_t index = in.next();
      if (index < 0) return;
      c.hasBias = true;
      c.bias = weight(index);
      expect(c.bias.isVector && c.bias.columns == length, "bias");
    };
    switch (c.op) {
      case Op::input:
        c.host = in.next();
        c.out[0] = in.tensor();
        expect(c.host >= 0 && c.host == (int32_t)inputBytes.size() && c.host < nInputs, "input");
        inputBytes.push_back((int64_t)c.out[0].rows * c.out[0].columns * 4);
        break;
      case Op::embed:
        c.weights[0] = matrix();
        c.out[0] = in.tensor();
        expect(c.weights[0].columns == c.out[0].columns && c.out[0].rows == L && c.weights[0].stack == 1, "embed");
        vocabSize = std::min(vocabSize, c.weights[0].rows);
        break;
      case Op::rmsNorm:
        c.in[0] = in.tensor();
        c.weights[0] = vector(c.in[0].columns, "rmsNorm");
        c.eps = in.real();
        c.out[0] = in.tensor();
        expect(c.in[0].rows == c.out[0].rows && c.in[0].columns == c.out[0].columns, "rmsNorm");
        break;
      case Op::matmul: {
        c.in[0] = in.tensor();
        normed();
        const int32_t n = in.next();
        expect(n >= 1 && n <= 4, "matmul");
        c.nWeights = n;
        c.accumulate = in.next() != 0;
        const int32_t biasIndex = in.next();
        for (int32_t j = 0; j < n; j++) {
          c.weights[j] = weight(in.next());
          c.out[j] = in.tensor();
          expect(!c.weights[j].isVector && c.weights[j].stack == 1 && c.weights[j].columns == c.in[0].columns && c.weights[j].rows == c.out[j].columns && c.out[j].rows == c.in[0].rows, "matmul");
        }
        if (biasIndex >= 0) {
          c.hasBias = true;
          c.bias = weight(biasIndex);
          expect(n == 1 && c.bias.isVector && c.bias.columns == c.out[0].columns, "matmul bias");
        }
        break;
      }
      case Op::causalConv: {
        c.in[0] = in.tensor();
        c.weights[0] = matrix();
        bias(c.in[0].columns);
        c.layer = layer(true);
        c.out[0] = in.tensor();
        const MambaShape& s = states.layers[c.layer].ssm;
        expect(c.in[0].rows == L && c.in[0].columns == s.dInner && c.weights[0].rows == s.dInner && c.weights[0].columns == s.dConv && c.out[0].rows == L &&
                   c.out[0].columns == s.dInner && c.weights[0].stack == 1,
               "causalConv");
        if (c.weights[0].dtype != Dtype::f32) fail("DTYPE", "causalConv: expected an f32 weight, found another dtype");
        break;
      }
      case Op::selectiveScan: {
        for (Tensor& t : c.in) t = in.tensor();
        c.weights[0] = matrix();
        c.weights[1] = vector(c.weights[0].rows, "selectiveScan D");
        c.weights[2] = vector(c.weights[0].rows, "selectiveScan dtBias");
        c.layer = layer(true);
        c.out[0] = in.tensor();
        const MambaShape& s = states.layers[c.layer].ssm;
        bool fits = c.weights[0].stack == 1 && c.weights[0].rows == s.dInner && c.weights[0].columns == s.dState;
        for (int j = 0; j < 5; j++) fits &= c.in[j].rows == L && c.in[j].columns == (j < 3 ? s.dInner : s.dState);
        expect(fits && c.out[0].rows == L && c.out[0].columns == s.dInner, "selectiveScan");
        if (c.weights[0].dtype != Dtype::f32) fail("DTYPE", "selectiveScan: A: expected f32, found another dtype");
        break;
      }
      case Op::attention: {
        for (int j = 0; j < 3; j++) c.in[j] = in.tensor();
        c.layer = layer(false);
        c.out[0] = in.tensor();
        const AttentionShape& s = states.layers[c.layer].kv;
        const int64_t kv = (int64_t)s.nKvHeads * s.headDim;
        expect(kv > 0 && c.in[0].rows == L && c.in[0].columns > 0 && c.in[0].columns % kv == 0 && c.in[1].rows == L && c.in[1].columns == kv && c.in[2].rows == L &&
                   c.in[2].columns == kv && c.out[0].rows == L && c.out[0].columns == c.in[0].columns,
               "attention");
        hasAttention = true;
        break;
      }
      case Op::swiglu:
        c.in[0] = in.tensor(), c.in[1] = in.tensor(), c.out[0] = in.tensor();
        for (int j = 0; j < 2; j++) expect(c.in[j].rows == c.out[0].rows && c.in[j].columns == c.out[0].columns, "swiglu");
        break;
      case Op::route:
        c.in[0] = in.tensor(), c.out[0] = in.tensor(), c.out[1] = in.tensor();
        for (int j = 0; j < 2; j++) expect(c.out[j].rows == c.in[0].rows && c.out[j].columns >= 1 && c.out[j].columns <= c.in[0].columns, "route");
        expect(c.out[0].columns == c.out[1].columns, "route");
        break;
      case Op::experts: {
        for (int j = 0; j < 3; j++) c.in[j] = in.tensor();
        for (int j = 0; j < 3; j++) c.weights[j] = matrix();
        c.accumulate = in.next() != 0;
        c.out[0] = in.tensor();
        const Matrix &gate = c.weights[0], &up = c.weights[1], &down = c.weights[2];
        expect(gate.columns == c.in[0].columns && up.columns == gate.columns && up.rows == gate.rows && down.rows == gate.columns && down.columns == gate.rows &&
                   up.stack == gate.stack && down.stack == gate.stack && gate.stack >= 1 && c.in[1].rows == c.in[0].rows && c.in[2].rows == c.in[0].rows &&
                   c.in[1].columns == c.in[2].columns && c.in[1].columns >= 1 && c.out[0].rows == c.in[0].rows && c.out[0].columns == c.in[0].columns,
               "experts");
        break;
      }
      case Op::gatherRows:
        c.in[0] = in.tensor(), c.out[0] = in.tensor();
        expect(c.in[0].rows == L && c.out[0].rows == nRows && c.out[0].columns == c.in[0].columns, "gatherRows");
        break;
      case Op::read:
        c.in[0] = in.tensor();
        output(c, (int64_t)c.in[0].rows * c.in[0].columns * 4);
        break;
      case Op::gateUp:
        c.in[0] = in.tensor();
        normed();
        for (int j = 0; j < 2; j++) c.weights[j] = matrix();
        c.out[0] = in.tensor();
        for (int j = 0; j < 2; j++)
          expect(c.weights[j].stack == 1 && c.weights[j].columns == c.in[0].columns && c.weights[j].rows == c.out[0].columns && c.out[0].rows == c.in[0].rows, "gateUp");
        break;
      case Op::top: {
        c.in[0] = in.tensor();
        const int32_t k = in.next();
        for (int j = 0; j < 3; j++) c.out[j] = in.tensor();
        expect(k >= 1 && c.in[0].rows == nRows, "top");
        for (int j = 0; j < 3; j++) expect(c.out[j].rows == nRows && c.out[j].columns == (j < 2 ? k : nSums), "top");
        output(c, askedBytes);
        hasTop = true;
        nLogits = std::min<int64_t>(nLogits, c.in[0].columns);
        break;
      }
      case Op::keep: {
        const Tensor x = in.tensor();
        c.in[0] = x;
        c.host = (int32_t)kept.size();
        kept.push_back({x.rows, x.columns, keptBytes});
        keptBytes += roundUp((int64_t)x.rows * x.columns * 4, 64);
        break;
      }
    }
    commands.push_back(c);
  }
  // Last: what was taken note of before a refusal would not be let go of in a module.
  weights.assign(held.begin(), held.end());
}

}  // namespace jamba
