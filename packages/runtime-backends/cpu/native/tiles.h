// The inner product of everything: panels of 16 rows times a tile of T tokens, by format of the weight.
//
// The order of the sums of one output does not depend on T, so any split of a prompt, a batch or the threads gives the
// same bits.
#pragma once
#include <type_traits>

#include "activations.h"

// Engines of WebAssembly reorder nothing and leave 15 registers: loops stay loops there, and half of a panel's vectors go at a time.
#define JAMBA_PRAGMA(text) _Pragma(#text)
#if JAMBA_WASM
#define JAMBA_UNROLL(n) JAMBA_PRAGMA(clang loop unroll(disable))
#else
#define JAMBA_UNROLL(n) JAMBA_PRAGMA(GCC unroll n)
#endif

namespace jamba::JAMBA_LEVEL {

/** Vectors of a panel whose integer sums go together, by the tokens of a tile. */
constexpr int vectorsAtOnce(int T) {
#if JAMBA_WASM
  return T == 1 ? V : V / 2;
#else
  return (void)T, V;
#endif
}

/**
 * Makes the sums of a tile in the order in which they are written. Left to itself, clang's WebAssembly has each just before the end of the
 * loop, with all that it needs: more than the registers hold. A whole panel's are more in any order.
 */
template <int T, int P, class Sum>
JAMBA_INLINE Sum inOrder(Sum s) {
#if JAMBA_WASM
  if constexpr (T > 1 && P < V) asm volatile("" : "+r"(s));
#endif
  return s;
}

template <int G, int T>
JAMBA_INLINE void storeScaled(const F32 (&f)[G][T][V], const float* scale, float* out) {
  for (int i = 0; i < G * T; i++)
    for (int v = 0; v < V; v++) store(out + i * panelRows + v * W, mul(f[i / T][i % T][v], set1(scale[i % T])));
}

/** Adds the products of 32 columns of nibbles and of T tokens, for P vectors of the panel from v0 on. */
template <int T, int P>
JAMBA_INLINE void addProducts4(Sum4 (&s)[T][P], const uint8_t (&q)[4][64], const int8_t* x, int v0) {
JAMBA_UNROLL(4)
  for (int u = 0; u < 4; u++) {
#pragma GCC unroll 2
    for (int high = 0; high < 2; high++) {
      Bytes part[P];
#pragma GCC unroll 4
      for (int v = 0; v < P; v++) {
        const Bytes both = loadBytes(q[u] + (v0 + v) * vectorBytes);
        part[v] = high ? highNibbles(both) : lowNibbles(both);
      }
#pragma GCC unroll 16
      for (int t = 0; t < T; t++) {
        const Four four = fourOf(x + t * blockColumns + 8 * u + 4 * high);
#pragma GCC unroll 4
        for (int v = 0; v < P; v++) s[t][v] = inOrder<T, P>(dot4(s[t][v], part[v], four));
      }
    }
  }
}

/** Of q4 and q4_1. out [G][T][16], of G panels of a group; memory is read strictly upwards, which is what its prefetcher can follow. */
template <class Block, int T, int G>
static void tileQ4(const uint8_t* panel, int64_t columns, const uint8_t* x, float* out) {
  constexpr bool hasMinimum = std::is_same_v<Block, Q4_1Block>;
  static constexpr int32_t none = 0;
  F32 f[G][T][V] = {};
  const Block* blocks = (const Block*)panel;
  const int64_t nBlocks = (columns + 63) / 64;
  for (int64_t b = 0; b < nBlocks; b++, x += 2 * T * blockBytes8, blocks += groupedPanels) {
JAMBA_UNROLL(4)
    for (int g = 0; g < G; g++) {
JAMBA_UNROLL(2)
      for (int half = 0; half < 2; half++) {
        const int8_t* q = (const int8_t*)x + half * T * blockBytes8;
        const int32_t* exponent = (const int32_t*)(q + T * blockColumns);
        // The i8 form has corrections here, i8Sums sums.
        const auto correction = [&](int t) { return hasMinimum ? &none : exponent + T + t; };
        constexpr int P = vectorsAtOnce(T);
#pragma GCC unroll 2
        for (int v0 = 0; v0 < V; v0 += P) {
          Sum4 s[T][P];
#pragma GCC unroll 16
          for (int t = 0; t < T; t++)
#pragma GCC unroll 4
            for (int v = 0; v < P; v++) s[t][v] = start4(correction(t));
          addProducts4<T, P>(s, blocks[g].q[half], q, v0);
          F32 ws[P];
#pragma GCC unroll 4
          for (int v = 0; v < P; v++) ws[v] = loadScale(blocks[g].scale[half] + (v0 + v) * W);
#pragma GCC unroll 16
          for (int t = 0; t < T; t++)
#pragma GCC unroll 4
            for (int v = 0; v < P; v++) f[g][t][v0 + v] = fma(toFloat(total4(s[t][v], correction(t))), overPow2(ws[v], exponent[t]), f[g][t][v0 + v]);
        }
        if constexpr (hasMinimum) {
          const float* sums = (const float*)(exponent + T);
          F32 ws[V];
#pragma GCC unroll 4
          for (int v = 0; v < V; v++) ws[v] = loadF16(blocks[g].minimum[half] + v * W);
#pragma GCC unroll 16
          for (int t = 0; t < T; t++)
#pragma GCC unroll 4
            for (int v = 0; v < V; v++) f[g][t][v] = fma(ws[v], set1(sums[t]), f[g][t][v]);
        }
      }
    }
  }
  storeScaled(f, (const float*)x, out);
}

/** As tileQ4. Minima come after all products, which want every register that there is. */
template <int T, int G>
static void tileQ4K(const uint8_t* panel, int64_t columns, const uint8_t* x, float* out) {
  static constexpr int32_t none = 0;
  F32 f[G][T][V] = {};
  const Q4KBlock* blocks = (const Q4KBlock*)panel;
  for (int64_t k = 0; k < columns; k += superColumns, x += T * superBytes8, blocks += groupedPanels) {
    const float* step = (const float*)(x + 8 * T * blockBytes8);
JAMBA_UNROLL(4)
    for (int g = 0; g < G; g++) {
      Scaled total[T][V] = {};
      const int8_t* q = (const int8_t*)x;
      for (int b = 0; b < 8; b++, q += T * blockBytes8) {
        const int32_t* factor = (const int32_t*)(q + T * blockColumns);
        Sum4 s[T][V];
#pragma GCC unroll 16
        for (int t = 0; t < T; t++)
#pragma GCC unroll 4
          for (int v = 0; v < V; v++) s[t][v] = start4(&none);
        addProducts4<T, V>(s, blocks[g].q[b], q, 0);
        Scales w[V];
#pragma GCC unroll 4
        for (int v = 0; v < V; v++) w[v] = loadScales(blocks[g].scale[b] + v * W);
#pragma GCC unroll 16
        for (int t = 0; t < T; t++)
#pragma GCC unroll 4
          for (int v = 0; v < V; v++) total[t][v] = addScaled(total[t][v], s[t][v], w[v], factor[t]);
      }
      F32 lowest[T][V] = {};
      for (int b = 0; b < 8; b++) {
        const float* sums = (const float*)(x + (b + 1) * T * blockBytes8) - T;
        F32 w[V];
#pragma GCC unroll 4
        for (int v = 0; v < V; v++) w[v] = bytesToFloat(blocks[g].minimum[b] + v * W);
#pragma GCC unroll 16
        for (int t = 0; t < T; t++)
#pragma GCC unroll 4
          for (int v = 0; v < V; v++) lowest[t][v] = fma(w[v], set1(sums[t]), lowest[t][v]);
      }
#pragma GCC unroll 4
      for (int v = 0; v < V; v++) {
        const F32 scale = loadF16(blocks[g].superScale + v * W), minimum = loadF16(blocks[g].superMinimum + v * W);
#pragma GCC unroll 16
        for (int t = 0; t < T; t++)
          f[g][t][v] = fma(fma(scale, scaledToFloat(total[t][v]), mul(minimum, lowest[t][v])), set1(step[t]), f[g][t][v]);
      }
    }
  }
  memcpy(out, f, sizeof f);
}

template <int T, int G>
static void tileQ8(const uint8_t* panel, int64_t columns, const uint8_t* x, float* out) {
  F32 f[G][T][V] = {};
  constexpr int values = blockColumns * quadBytes8 / 4;
  const Q8Block* blocks = (const Q8Block*)panel;
  const int64_t nBlocks = (columns + 63) / 64;
  for (int64_t b = 0; b < nBlocks; b++, x += 2 * T * (values + 8), blocks += groupedPanels) {
JAMBA_UNROLL(4)
    for (int g = 0; g < G; g++) {
JAMBA_UNROLL(2)
      for (int half = 0; half < 2; half++) {
        const int8_t* q = (const int8_t*)x + half * T * (values + 8);
        const int32_t* exponent = (const int32_t*)(q + T * values);
        const int32_t* correction = exponent + T;
        constexpr int P = vectorsAtOnce(T);
#pragma GCC unroll 2
        for (int v0 = 0; v0 < V; v0 += P) {
          Sum8 s[T][P];
#pragma GCC unroll 16
          for (int t = 0; t < T; t++)
#pragma GCC unroll 4
            for (int v = 0; v < P; v++) s[t][v] = start8(correction + t);
JAMBA_UNROLL(8)
          for (int u = 0; u < 8; u++) {
#if JAMBA_WASM
            // One half after the other: both at once would want more registers than there are.
#pragma GCC unroll 2
            for (int odd = 0; odd < 2; odd++) {
              v128_t part[P];
#pragma GCC unroll 4
              for (int v = 0; v < P; v++) part[v] = halfOf8(loadBytes(blocks[g].q[half][u] + (v0 + v) * vectorBytes), odd);
#pragma GCC unroll 16
              for (int t = 0; t < T; t++) {
                const Four four = fourOf(q + t * values + u * quadBytes8 + 4 * odd);
#pragma GCC unroll 4
                for (int v = 0; v < P; v++) s[t][v] = inOrder<T, P>(dotHalf8(s[t][v], part[v], four));
              }
            }
#else
            Split8 part[P];
#pragma GCC unroll 4
            for (int v = 0; v < P; v++) part[v] = split8(loadBytes(blocks[g].q[half][u] + (v0 + v) * vectorBytes));
#pragma GCC unroll 16
            for (int t = 0; t < T; t++)
#pragma GCC unroll 4
              for (int v = 0; v < P; v++) s[t][v] = dot8(s[t][v], part[v], q + t * values + u * quadBytes8);
#endif
          }
          F32 ws[P];
#pragma GCC unroll 4
          for (int v = 0; v < P; v++) ws[v] = loadScale(blocks[g].scale[half] + (v0 + v) * W);
#pragma GCC unroll 16
          for (int t = 0; t < T; t++)
#pragma GCC unroll 4
            for (int v = 0; v < P; v++) f[g][t][v0 + v] = fma(toFloat(total8(s[t][v], correction + t)), overPow2(ws[v], exponent[t]), f[g][t][v0 + v]);
        }
      }
    }
  }
  storeScaled(f, (const float*)x, out);
}

/** f32 and f16 weights, and bf16 where there is no dot product of pairs. */
template <Dtype D, int T>
static void tileFloat(const uint8_t* panel, int64_t columns, const uint8_t* x, float* out) {
  constexpr int step = D == Dtype::bf16 ? 2 : 1, P = vectorsAtOnce(T);
  // A panel that is read twice comes from the cache the second time.
  for (int v0 = 0; v0 < V; v0 += P) {
    F32 f[T][P] = {};
    const float* xs = (const float*)x;
    for (int64_t k = 0; k < columns; k += step, xs += step * T) {
      F32 w[step][P];
#pragma GCC unroll 4
      for (int v = 0; v < P; v++) {
        const int64_t at = k * panelRows + (v0 + v) * step * W;
        if constexpr (D == Dtype::f32) w[0][v] = load((const float*)panel + at);
        if constexpr (D == Dtype::f16) w[0][v] = loadF16((const uint16_t*)panel + at);
        if constexpr (D == Dtype::bf16) {
          const I32 pairs = loadPairs((const uint16_t*)panel + at);
          w[0][v] = evenBf16(pairs), w[1][v] = oddBf16(pairs);
        }
      }
#pragma GCC unroll 2
      for (int i = 0; i < step; i++)
#pragma GCC unroll 16
        for (int t = 0; t < T; t++)
#pragma GCC unroll 4
          for (int v = 0; v < P; v++) f[t][v] = inOrder<T, P>(fma(w[i][v], set1(xs[i * T + t]), f[t][v]));
    }
    for (int t = 0; t < T; t++)
      for (int v = 0; v < P; v++) store(out + t * panelRows + (v0 + v) * W, f[t][v]);
  }
}

template <int T>
static void tileBf16(const uint8_t* panel, int64_t columns, const uint8_t* x, float* out) {
  F32 f[T][V] = {};
  for (int64_t k = 0; k < columns; k += 2, x += 4 * T) {
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) {
      const I32 w = loadPairs((const uint16_t*)panel + k * panelRows + v * 2 * W);
#pragma GCC unroll 16
      for (int t = 0; t < T; t++) f[t][v] = dotBf16(f[t][v], w, x + 4 * t);
    }
  }
  memcpy(out, f, sizeof f);
}

using Tile = void (*)(const uint8_t* panel, int64_t columns, const uint8_t* x, float* out);

/** G as of the quantised; others know no groups. */
template <int T, int G = 1>
static Tile tileOf(Dtype dtype) {
  switch (dtype) {
    case Dtype::q4: return tileQ4<Q4Block, T, G>;
    case Dtype::q4_1: return tileQ4<Q4_1Block, T, G>;
    case Dtype::q4_k: return tileQ4K<T, G>;
    case Dtype::q8: return tileQ8<T, G>;
    case Dtype::f32: return tileFloat<Dtype::f32, T>;
    case Dtype::f16: return tileFloat<Dtype::f16, T>;
    case Dtype::bf16: return hasBf16Dot ? tileBf16<T> : tileFloat<Dtype::bf16, T>;
  }
  return nullptr;
}

/** By kind of tile (`tileKind`). */
JAMBA_INLINE Tile tileFor(Dtype dtype, int kind) {
  switch (kind) {
    case 0: return tileOf<tileSizes[0]>(dtype);
    case 1: return tileOf<tileSizes[1]>(dtype);
    case 2: return tileOf<tileSizes[2]>(dtype);
    default: return tileOf<tileSizes[3]>(dtype);
  }
}

/** Bytes of weights, and of activations, that one pass keeps in the second-level cache. */
constexpr int64_t cachedBytes = 256 * 1024;

/**
 * Panels [p0, p1) of one matrix times tokens [t0, t1) of `L` prepared ones; t0 starts a tile, p0 a group.
 * `emit(panel, t, T, out)` gets out [T][16].
 */
template <class Emit>
JAMBA_INLINE void multiply(const Matrix& m, int64_t expert, int64_t p0, int64_t p1, const uint8_t* x, int64_t t0, int64_t t1, int64_t L, const Emit& emit) {
  static_assert(tileTokens >= groupedPanels);
  alignas(64) float out[tileTokens * panelRows];
  const int64_t tokenBytes = formBytes(formOf(m.dtype), m.columns);
  int64_t together = cachedBytes / (tokenBytes > 0 ? tokenBytes : 1) / tileTokens * tileTokens;
  if (together < tileTokens) together = tileTokens;
  for (int64_t a = t0; a < t1; a += together) {
    const int64_t b = a + together < t1 ? a + together : t1;
    if (b - a == 1 && isQuantised(m.dtype)) {
      const Tile tile = tileOf<1, groupedPanels>(m.dtype);
      for (int64_t p = p0; p < p1; p += groupedPanels) {
        tile(m.panel(expert, p), m.columns, x + a * tokenBytes, out);
        for (int g = 0; g < groupedPanels && p + g < p1; g++) emit(p + g, a, 1, out + g * panelRows);
      }
      continue;
    }
    for (int64_t p = p0; p < p1; p++) {
      for (int64_t t = a; t < b;) {
        const int kind = tileKind(t, L), T = tileSizes[kind];
        tileFor(m.dtype, kind)(m.panel(expert, p), m.columns, x + t * tokenBytes, out);
        emit(p, t, T, out);
        t += T;
      }
    }
  }
}

/** How a product is cut into tasks: chunks of panels by chunks of tokens. */
struct Cut {
  int64_t panels, tokens, panelChunks, tokenChunks;
  int64_t tasks() const { return panelChunks * tokenChunks; }
};

/**
 * Decode: chunks that take some microseconds to stream. Prefill: panels that stay in cache while all tokens pass by,
 * and short enough that a cancelled step ends soon. `isGrouped`: a chunk starts a group of panels, as those of quantised weights lie.
 */
JAMBA_INLINE Cut cut(const Matrix& m, int64_t L, int threads, bool isGrouped) {
  const int64_t panels = m.panels(), panelBytes = jamba::panelBytes(m.dtype, m.columns), group = isGrouped ? groupedPanels : 1;
  const int64_t wanted = (L <= tileTokens ? 96 * 1024 : cachedBytes) / (panelBytes ? panelBytes : 1);
  Cut c{wanted < 1 ? 1 : wanted, L < 1024 ? L : 516, 0, 0};
  c.tokens = (c.tokens + tileTokens - 1) / tileTokens * tileTokens;
  // At least a few tasks a thread, so that a thread that lost its core holds nobody up for long.
  const int64_t few = 4 * threads;
  while (c.panels > group && (panels + c.panels - 1) / c.panels < few) c.panels = (c.panels + 1) / 2;
  c.panels = roundUp(c.panels, group);
  c.panelChunks = (panels + c.panels - 1) / c.panels;
  while (c.tokens > 4 * tileTokens && c.panelChunks * ((L + c.tokens - 1) / c.tokens) < few)
    c.tokens = (c.tokens / 2 + tileTokens - 1) / tileTokens * tileTokens;
  if (c.tokens < tileTokens) c.tokens = tileTokens;
  c.tokenChunks = (L + c.tokens - 1) / c.tokens;
  return c;
}
JAMBA_INLINE Cut cut(const Matrix& m, int64_t L, int threads) { return cut(m, L, threads, isQuantised(m.dtype)); }
/** Of two weights whose panels go together. */
JAMBA_INLINE Cut cutBoth(const Matrix& m, const Matrix& other, int64_t L, int threads) {
  return cut(m, L, threads, isQuantised(m.dtype) || isQuantised(other.dtype));
}

}  // namespace jamba::JAMBA_LEVEL
