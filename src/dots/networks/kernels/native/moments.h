// Means and variances of the channels of maps.
#pragma once

#include "vectors.h"

namespace dots {

// Mean, and sum of squared distances from it, by distances from a number near it.
inline void correct(Index count, double near, double distance, double product, double& mean,
                    double& squares) {
    mean = near + distance / double(count);
    squares = product - distance * distance / double(count);
    if (squares < 0) squares = 0;  // and not std::max, which loses NaN
}

// Means of images, and sums of squared distances from them, [images, channels]: as mean and
// variance of the batch [channels].
inline void merge(const std::vector<double>& means, const std::vector<double>& squares,
                  Index images, Index channels, Index positions, double* mean, double* variance) {
    for (Index c = 0; c < channels; ++c) {
        double sum = 0, square = 0;
        for (Index b = 0; b < images; ++b) sum += means[b * channels + c];
        mean[c] = sum / double(images);
        for (Index b = 0; b < images; ++b) {
            const double distance = means[b * channels + c] - mean[c];
            square += squares[b * channels + c] + double(positions) * distance * distance;
        }
        variance[c] = square / double(images * positions);
    }
}

// Mean and sum of squared distances from it, of each channel of rows of `row` numbers. The
// first estimate of the mean is rounded; distances from it correct it, and themselves.
inline void moments(const float* rows, Index row, Index count, Index channels, double* mean,
                    double* squares) {
    for (Index c = 0; c < channels; c += L) {
        const Index lanes = std::min(L, channels - c);
        double sums[L] = {}, distances[L] = {}, products[L] = {};
        add_sums(count, sums, lanes, [=](Index i) { return load(rows + i * row + c); });
        Vec centre = {};
        for (Index lane = 0; lane < lanes; ++lane) centre[lane] = float(sums[lane] / double(count));
        add_sums(count, distances, lanes,
                 [=](Index i) { return load(rows + i * row + c) - centre; });
        add_sums(count, products, lanes, [=](Index i) {
            const Vec distance = load(rows + i * row + c) - centre;
            return distance * distance;
        });
        for (Index lane = 0; lane < lanes; ++lane)
            correct(count, centre[lane], distances[lane], products[lane], mean[c + lane],
                    squares[c + lane]);
    }
}

}  // namespace dots
