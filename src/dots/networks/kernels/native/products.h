// Matrix products of a few hundred positions of a map: operands are in the caches already.
#pragma once

#include "vectors.h"

namespace dots {

constexpr Index CHUNKS = 8;   // of a batch, each with sums of its own: whatever the threads
constexpr Index BAND = 2048;  // numbers of a band of pixels, about: it stays in the first cache
constexpr Index FEWEST = 32;  // pixels of a band, about: products of fewer rows are slower

// Pixels of a band of a map.
inline Index band_of(Index channels) {
    return std::max(BAND / channels, FEWEST);
}

// Rows of a tile: with the columns as many sums as there are registers, and enough to hide the
// latency of a multiplication.
constexpr int TALL = 8, SHORT = 4;
constexpr int WIDE = LANES == 16 ? 3 : 1;  // vectors in a tile's row; AVX2 has half the registers

// out = z w: [R, V vectors] from z: [R, depth] and w: [depth, V vectors].
template <int R, int V>
[[gnu::always_inline]] inline void multiply_tile(const float* z, Index z_row, const float* w,
                                                 Index w_row, Index depth, float* out,
                                                 Index out_row) {
    Vec sums[R][V] = {};
#pragma GCC unroll 4  // addresses of R rows cost as much as the products otherwise
    for (Index k = 0; k < depth; ++k)
        for (int r = 0; r < R; ++r)
            for (int v = 0; v < V; ++v)
                sums[r][v] += z[r * z_row + k] * load(w + k * w_row + v * L);
    for (int r = 0; r < R; ++r)
        for (int v = 0; v < V; ++v) store(out + r * out_row + v * L, sums[r][v]);
}

template <int V>
inline void multiply_columns(const float* z, Index z_row, const float* w, Index w_row, Index depth,
                             float* out, Index out_row, Index rows) {
    Index r = 0;
    for (; r + TALL <= rows; r += TALL)
        multiply_tile<TALL, V>(z + r * z_row, z_row, w, w_row, depth, out + r * out_row, out_row);
    for (; r + SHORT <= rows; r += SHORT)
        multiply_tile<SHORT, V>(z + r * z_row, z_row, w, w_row, depth, out + r * out_row, out_row);
    for (; r < rows; ++r)
        multiply_tile<1, V>(z + r * z_row, z_row, w, w_row, depth, out + r * out_row, out_row);
}

// out = z w: [rows, columns] from [rows, depth] and [depth, columns]; columns are whole vectors.
inline void multiply(const float* z, Index z_row, const float* w, Index w_row, Index depth,
                     float* out, Index out_row, Index rows, Index columns) {
    Index c = 0;
    for (; c + 3 * L <= columns && WIDE == 3; c += 3 * L)
        multiply_columns<WIDE>(z, z_row, w + c, w_row, depth, out + c, out_row, rows);
    for (; c + 2 * L <= columns && WIDE == 3; c += 2 * L)
        multiply_columns<2>(z, z_row, w + c, w_row, depth, out + c, out_row, rows);
    for (; c < columns; c += L)
        multiply_columns<1>(z, z_row, w + c, w_row, depth, out + c, out_row, rows);
}

// sum += gᵀ z: [R, V vectors] from g: [positions, R] and z: [positions, V vectors].
template <int R, int V>
[[gnu::always_inline]] inline void outer_tile(const float* g, Index g_row, const float* z,
                                              Index z_row, float* sum, Index sum_row,
                                              Index positions) {
    Vec sums[R][V] = {};
    for (Index p = 0; p < positions; ++p)
        for (int r = 0; r < R; ++r)
            for (int v = 0; v < V; ++v)
                sums[r][v] += g[p * g_row + r] * load(z + p * z_row + v * L);
    for (int r = 0; r < R; ++r)
        for (int v = 0; v < V; ++v) {
            float* to = sum + r * sum_row + v * L;
            store(to, load(to) + sums[r][v]);
        }
}

template <int V>
inline void outer_columns(const float* g, Index g_row, Index rows, const float* z, Index z_row,
                          float* sum, Index sum_row, Index positions) {
    Index r = 0;
    for (; r + TALL <= rows; r += TALL)
        outer_tile<TALL, V>(g + r, g_row, z, z_row, sum + r * sum_row, sum_row, positions);
    for (; r + SHORT <= rows; r += SHORT)
        outer_tile<SHORT, V>(g + r, g_row, z, z_row, sum + r * sum_row, sum_row, positions);
    for (; r < rows; ++r)
        outer_tile<1, V>(g + r, g_row, z, z_row, sum + r * sum_row, sum_row, positions);
}

// sum += gᵀ z: [rows, columns] from [positions, rows] and [positions, columns], whole vectors.
inline void add_outer(const float* g, Index g_row, Index rows, const float* z, Index z_row,
                      Index columns, float* sum, Index sum_row, Index positions) {
    for (Index start = 0; start < positions; start += RUN) {
        const Index count = std::min(RUN, positions - start);
        const float* a = g + start * g_row;
        const float* b = z + start * z_row;
        Index c = 0;
        for (; c + 3 * L <= columns && WIDE == 3; c += 3 * L)
            outer_columns<WIDE>(a, g_row, rows, b + c, z_row, sum + c, sum_row, count);
        for (; c + 2 * L <= columns && WIDE == 3; c += 2 * L)
            outer_columns<2>(a, g_row, rows, b + c, z_row, sum + c, sum_row, count);
        for (; c < columns; c += L)
            outer_columns<1>(a, g_row, rows, b + c, z_row, sum + c, sum_row, count);
    }
}

// [rows, columns] -> [columns, rows in whole vectors]
inline Buffer transposed(const float* matrix, Index rows, Index columns) {
    Buffer result(columns * padded(rows));
    for (Index r = 0; r < rows; ++r)
        for (Index c = 0; c < columns; ++c)
            result.data()[c * padded(rows) + r] = matrix[r * columns + c];
    return result;
}

// One number of the sums of all chunks.
inline float summed(const float* first, Index step) {
    double sum = 0;
    for (Index chunk = 0; chunk < CHUNKS; ++chunk) sum += first[chunk * step];
    return float(sum);
}

// [CHUNKS, rows, columns in whole vectors] -> [rows, columns]
inline void sum_chunks(const float* sums, Index rows, Index columns, float* out) {
    const Index row = padded(columns);
    for (Index r = 0; r < rows; ++r)
        for (Index c = 0; c < columns; ++c)
            out[r * columns + c] = summed(sums + r * row + c, rows * row);
}

}  // namespace dots
