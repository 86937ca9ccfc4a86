// Sums of channels-last maps [images, positions, channels], each scaled by channel.
//
// Every map passes through the processor once: nothing is formed in between. See `dots.networks.kernels.normed_sum`.

#include <numeric>

#include "moments.h"

namespace dots {
namespace {

// Channels repeat in memory: factors that repeat with them fill whole vectors, whatever their
// number. A period holds several positions.
struct Periods {
    Periods(Index positions, Index channels)
        : channels(channels),
          length(std::lcm(channels, L)),
          count(positions * channels),
          whole(count / length) {}

    // [rows, channels] -> [rows, length]
    Buffer repeated(const float* rows, Index number) const {
        Buffer result(number * length);
        for (Index row = 0; row < number; ++row)
            for (Index i = 0; i < length; ++i)
                result.data()[row * length + i] = rows[row * channels + i % channels];
        return result;
    }

    Index channels, length, count, whole;  // count: numbers of an image
};

// sums [channels] += Σ value over positions of an image; value(i): the vector at number i,
// single(i): the number.
template <class Value, class Single>
void add_channels(const Periods& periods, double* sums, Value value, Single single) {
    for (Index c = 0; c < periods.length; c += L) {
        double parts[L] = {};
        add_sums(periods.whole, parts, L, [=](Index i) { return value(i * periods.length + c); });
        for (Index lane = 0; lane < L; ++lane) sums[(c + lane) % periods.channels] += parts[lane];
    }
    for (Index i = periods.whole * periods.length; i < periods.count; ++i)
        sums[i % periods.channels] += double(single(i));
}

}  // namespace
}  // namespace dots

extern "C" {

// out = total + Σ_t (factor_t · map_t) + offset: factors [terms, channels], offset [channels];
// total is null or out itself.
void dots_sum(dots::Index terms, dots::Index images, dots::Index positions, dots::Index channels,
              const float* const* maps, const float* factors, const float* offset,
              const float* total, float* out, dots::Index threads) {
    using namespace dots;
    const Periods periods(positions, channels);
    const Buffer repeated = periods.repeated(factors, terms), start = periods.repeated(offset, 1);
    parallel(images, threads, [&](Index first, Index last) {
        const float* factor = repeated.data();
        for (Index at = first * periods.count; at < last * periods.count; at += periods.count) {
            Index i = 0;
            for (Index p = 0; p < periods.whole; ++p)
                for (Index c = 0; c < periods.length; c += L, i += L) {
                    Vec value = load(start.data() + c);
                    if (total) value += load(total + at + i);
                    for (Index t = 0; t < terms; ++t)
                        value += load(factor + t * periods.length + c) * load(maps[t] + at + i);
                    store(out + at + i, value);
                }
            for (; i < periods.count; ++i) {
                const Index c = i % channels;
                float value = start.data()[c] + (total ? total[at + i] : 0.0f);
                for (Index t = 0; t < terms; ++t)
                    value += factor[t * periods.length + c] * maps[t][at + i];
                out[at + i] = value;
            }
        }
    });
}

// sums [images, terms + 1, channels]: those of the gradient, and of its product with each map.
void dots_sum_gradients(dots::Index terms, dots::Index images, dots::Index positions,
                        dots::Index channels, const float* gradient, const float* const* maps,
                        double* sums, dots::Index threads) {
    using namespace dots;
    const Periods periods(positions, channels);
    parallel(images, threads, [&](Index first, Index last) {
        for (Index b = first; b < last; ++b) {
            const float* g = gradient + b * periods.count;
            double* to = sums + b * (terms + 1) * channels;
            std::fill_n(to, (terms + 1) * channels, 0.0);
            add_channels(
                periods, to, [=](Index i) { return load(g + i); }, [=](Index i) { return g[i]; });
            for (Index t = 0; t < terms; ++t) {
                const float* z = maps[t] + b * periods.count;
                add_channels(
                    periods, to + (t + 1) * channels,
                    [=](Index i) { return load(g + i) * load(z + i); },
                    [=](Index i) { return g[i] * z[i]; });
            }
        }
    });
}

// out_t = factor_t · gradient + slope_t · map_t + shift_t where out_t is not null; factors, slopes
// and shifts [terms, channels].
void dots_map_gradients(dots::Index terms, dots::Index images, dots::Index positions,
                        dots::Index channels, const float* gradient, const float* const* maps,
                        const float* factors, const float* slopes, const float* shifts,
                        float* const* out, dots::Index threads) {
    using namespace dots;
    const Periods periods(positions, channels);
    const Buffer factor = periods.repeated(factors, terms), slope = periods.repeated(slopes, terms),
                 shift = periods.repeated(shifts, terms);
    parallel(images, threads, [&](Index first, Index last) {
        for (Index b = first; b < last; ++b)
            for (Index t = 0; t < terms; ++t) {
                if (!out[t]) continue;
                const float* g = gradient + b * periods.count;
                const float* z = maps[t] + b * periods.count;
                float* to = out[t] + b * periods.count;
                const float* f = factor.data() + t * periods.length;
                const float* s = slope.data() + t * periods.length;
                const float* o = shift.data() + t * periods.length;
                Index i = 0;
                for (Index p = 0; p < periods.whole; ++p)
                    for (Index c = 0; c < periods.length; c += L, i += L)
                        store(to + i,
                              load(f + c) * load(g + i) + load(s + c) * load(z + i) + load(o + c));
                for (; i < periods.count; ++i) {
                    const Index c = i % channels;
                    to[i] = f[c] * g[i] + s[c] * z[i] + o[c];
                }
            }
    });
}

// Mean and variance [channels] of a map.
void dots_moments(dots::Index images, dots::Index positions, dots::Index channels, const float* map,
                  double* mean, double* variance, dots::Index threads) {
    using namespace dots;
    const Periods periods(positions, channels);
    std::vector<double> means(images * channels), squares(images * channels);
    parallel(images, threads, [&](Index first, Index last) {
        Buffer centre(periods.length);
        for (Index b = first; b < last; ++b) {
            const float* z = map + b * periods.count;
            std::vector<double> sums(channels), distances(channels), products(channels);
            add_channels(
                periods, sums.data(), [=](Index i) { return load(z + i); },
                [=](Index i) { return z[i]; });
            float* near = centre.data();
            const Index length = periods.length;
            for (Index i = 0; i < length; ++i)
                near[i] = float(sums[i % channels] / double(positions));
            const auto distance = [=](Index i) { return load(z + i) - load(near + i % length); };
            const auto single = [=](Index i) { return z[i] - near[i % length]; };
            add_channels(periods, distances.data(), distance, single);
            add_channels(
                periods, products.data(), [=](Index i) { return distance(i) * distance(i); },
                [=](Index i) { return single(i) * single(i); });
            for (Index c = 0; c < channels; ++c)
                correct(positions, near[c], distances[c], products[c], means[b * channels + c],
                        squares[b * channels + c]);
        }
    });
    merge(means, squares, images, channels, positions, mean, variance);
}
}
