// Depthwise convolutions of one image, channels-last and framed by zeros.
#pragma once

#include "vectors.h"

namespace dots {

// What a convolution reads and writes. Rows of the framed image have `frame` pixels, of
// `channels` numbers in whole vectors.
struct Grid {
    Index rows, columns, frame, channels, stride, dilation;

    const float* pixel(const float* image, Index row, Index column) const {
        return image + (row * frame + column) * channels;
    }

    // The same of some rows alone.
    Grid band(Index count) const { return {count, columns, frame, channels, stride, dilation}; }
};

// T neighbouring pixels of out, one vector of channels; image is at their first tap.
template <int K, int T>
[[gnu::always_inline]] inline void convolve_pixels(const Grid& grid, const float* image,
                                                   const float* kernel, float* out) {
    Vec sums[T] = {};
    for (int a = 0; a < K; ++a)
        for (int b = 0; b < K; ++b) {
            const Vec tap = load(kernel + (a * K + b) * grid.channels);
            const float* from = grid.pixel(image, a * grid.dilation, b * grid.dilation);
            for (int t = 0; t < T; ++t)
                sums[t] += tap * load(from + t * grid.stride * grid.channels);
        }
    for (int t = 0; t < T; ++t) store(out + t * grid.channels, sums[t]);
}

// out: [rows, columns, channels] from a framed image and a kernel [K, K, channels].
template <int K>
inline void convolve(const Grid& grid, const float* image, const float* kernel, float* out) {
    for (Index c = 0; c < grid.channels; c += L)
        for (Index i = 0; i < grid.rows; ++i) {
            const float* from = grid.pixel(image, i * grid.stride, 0) + c;
            float* to = out + i * grid.columns * grid.channels + c;
            const Index step = grid.stride * grid.channels;
            Index j = 0;
            for (; j + 8 <= grid.columns; j += 8)
                convolve_pixels<K, 8>(grid, from + j * step, kernel + c, to + j * grid.channels);
            for (; j + 4 <= grid.columns; j += 4)
                convolve_pixels<K, 4>(grid, from + j * step, kernel + c, to + j * grid.channels);
            for (; j < grid.columns; ++j)
                convolve_pixels<K, 1>(grid, from + j * step, kernel + c, to + j * grid.channels);
        }
}

// sum: [K, K, channels] += the gradient of the kernel. The gradient of out lies spread: that of
// row i and column j is in row i·stride and column j·stride of a framed image.
template <int K>
inline void correlate(const Grid& grid, const float* image, const float* gradient, float* sum) {
    constexpr int ROWS = K == 3 || (K == 5 && LANES == 16) ? K : 1;  // as registers allow
    for (Index c = 0; c < grid.channels; c += L)
        for (int first = 0; first < K; first += ROWS) {
            Vec sums[ROWS][K] = {};
            for (Index i = 0; i < grid.rows; ++i) {
                for (Index j = 0; j < grid.columns; ++j) {
                    const Index row = i * grid.stride, column = j * grid.stride;
                    const Vec g = load(grid.pixel(gradient, row, column) + c);
                    const float* from = grid.pixel(image, row + first * grid.dilation, column) + c;
                    for (int a = 0; a < ROWS; ++a)
                        for (int b = 0; b < K; ++b)
                            sums[a][b] +=
                                g * load(grid.pixel(from, a * grid.dilation, b * grid.dilation));
                }
            }
            for (int a = 0; a < ROWS; ++a)
                for (int b = 0; b < K; ++b) {
                    float* to = sum + ((first + a) * K + b) * grid.channels + c;
                    store(to, load(to) + sums[a][b]);
                }
        }
}

// The same for the kernels that search spaces have.
inline void convolve(Index kernel, const Grid& grid, const float* image, const float* taps,
                     float* out) {
    if (kernel == 3) convolve<3>(grid, image, taps, out);
    if (kernel == 5) convolve<5>(grid, image, taps, out);
    if (kernel == 7) convolve<7>(grid, image, taps, out);
}

inline void correlate(Index kernel, const Grid& grid, const float* image, const float* gradient,
                      float* sum) {
    if (kernel == 3) correlate<3>(grid, image, gradient, sum);
    if (kernel == 5) correlate<5>(grid, image, gradient, sum);
    if (kernel == 7) correlate<7>(grid, image, gradient, sum);
}

}  // namespace dots
