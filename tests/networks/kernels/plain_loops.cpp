// The kernels beside plain loops in float64: for processors of which there is only an emulation.
// Exits with 1, and names the function, where they differ.

#include <cmath>
#include <cstddef>
#include <cstdio>
#include <functional>
#include <random>
#include <vector>

using Index = std::ptrdiff_t;
using Floats = std::vector<float>;
using Doubles = std::vector<double>;

extern "C" {
struct DotsBlock {
    Index images, height, width, channels, outputs, kernel, stride, dilation;
};
Index dots_lanes();
void dots_block_forward(const DotsBlock*, const float*, const float*, const float*, const float*,
                        const float*, float*, double*, double*, Index);
void dots_block_backward(const DotsBlock*, const float*, const float*, const float*, const float*,
                         const float*, const float*, const float*, const float*, const float*,
                         const float*, const float*, float*, float*, float*, double*, Index);
void dots_joined_forward(Index, Index, Index, Index, const Index*, const float* const*,
                         const float*, float*, double*, double*, Index);
void dots_joined_backward(Index, Index, Index, Index, const Index*, const float*,
                          const float* const*, const float*, float* const*, float*, Index);
void dots_moments(Index, Index, Index, const float*, double*, double*, Index);
void dots_sum(Index, Index, Index, Index, const float* const*, const float*, const float*,
              const float*, float*, Index);
void dots_sum_gradients(Index, Index, Index, Index, const float*, const float* const*, double*,
                        Index);
void dots_map_gradients(Index, Index, Index, Index, const float*, const float* const*,
                        const float*, const float*, const float*, float* const*, Index);
}

std::mt19937 source(0);
int failures = 0;

Floats drawn(Index count) {
    std::normal_distribution<float> normal;
    Floats result(count);
    for (auto& x : result) x = normal(source);
    return result;
}

template <class Found>
void compare(const char* name, const Found& found, const Doubles& expected) {
    double size = 1, distance = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
        size = std::max(size, std::abs(expected[i]));
        const double gap = std::abs(found[i] - expected[i]);
        distance = gap <= distance ? distance : gap;  // and so NaN
    }
    if (found.size() == expected.size() && distance <= 1e-5 * size) return;
    std::printf("%s: %g of %g apart\n", name, distance, size);
    ++failures;
}

// Mean and variance of each channel of [rows, channels].
void compare_moments(const char* name, const Doubles& values, Index channels, const Doubles& mean,
                     const Doubles& variance) {
    const Index rows = values.size() / channels;
    Doubles means(channels), variances(channels);
    for (Index i = 0; i < rows * channels; ++i) means[i % channels] += values[i] / rows;
    for (Index i = 0; i < rows * channels; ++i)
        variances[i % channels] += std::pow(values[i] - means[i % channels], 2) / rows;
    compare(name, mean, means);
    compare(name, variance, variances);
}

void block(DotsBlock s, bool affine, Index threads) {
    const Index rows = (s.height + s.stride - 1) / s.stride, taps = s.kernel * s.kernel;
    const Index columns = (s.width + s.stride - 1) / s.stride, C = s.channels, N = s.outputs;
    const Index pixels = s.height * s.width, places = s.images * rows * columns;
    const Floats x = drawn(s.images * pixels * C), scale = drawn(C), shift = drawn(C),
                 centre = drawn(C), kernel = drawn(C * taps), w = drawn(N * C);
    Doubles f(x.begin(), x.end());
    for (std::size_t i = 0; affine && i < f.size(); ++i)
        f[i] = std::max(0.0, double(scale[i % C]) * x[i] + shift[i % C]);
    // Visits each product of the depthwise convolution: numbers of input, kernel and output.
    const auto visit = [&](const std::function<void(Index, Index, Index)>& product) {
        for (Index p = 0; p < places; ++p)
            for (Index t = 0; t < taps; ++t) {
                const Index b = p / (rows * columns), far = s.kernel / 2;
                const Index i = p / columns % rows * s.stride + (t / s.kernel - far) * s.dilation;
                const Index j = p % columns * s.stride + (t % s.kernel - far) * s.dilation;
                if (i < 0 || j < 0 || i >= s.height || j >= s.width) continue;
                for (Index c = 0; c < C; ++c)
                    product((b * pixels + i * s.width + j) * C + c, c * taps + t, p * C + c);
            }
    };
    Doubles z(places * C), u(places * N);
    visit([&](Index from, Index tap, Index to) { z[to] += f[from] * kernel[tap]; });
    for (Index i = 0; i < places * N; ++i)
        for (Index c = 0; c < C; ++c) u[i] += z[i / N * C + c] * w[i % N * C + c];
    Floats out(places * N);
    Doubles mean(N), variance(N);
    dots_block_forward(&s, x.data(), affine ? scale.data() : nullptr,
                       affine ? shift.data() : nullptr, kernel.data(), w.data(), out.data(),
                       mean.data(), variance.data(), threads);
    compare("block_forward", out, u);
    compare_moments("block_forward", u, N, mean, variance);

    const Floats given = drawn(places * N), factor = drawn(N), slope = drawn(N), offset = drawn(N);
    Doubles g(given.begin(), given.end());
    for (Index i = 0; affine && i < places * N; ++i)
        g[i] = factor[i % N] * g[i] + slope[i % N] * out[i] + offset[i % N];
    Doubles by_x(x.size()), by_kernel(kernel.size()), by_w(w.size()), by_z(z.size()), sums(2 * C);
    for (Index i = 0; i < places * N; ++i)
        for (Index c = 0; c < C; ++c) {
            by_w[i % N * C + c] += g[i] * z[i / N * C + c];
            by_z[i / N * C + c] += g[i] * w[i % N * C + c];
        }
    visit([&](Index from, Index tap, Index to) {
        by_kernel[tap] += by_z[to] * f[from];
        by_x[from] += by_z[to] * kernel[tap];
    });
    for (std::size_t i = 0; affine && i < f.size(); ++i) {
        if (f[i] == 0) by_x[i] = 0;
        sums[i % C] += by_x[i];
        sums[C + i % C] += by_x[i] * (x[i] - centre[i % C]);
    }
    Floats of_x(x.size()), of_kernel(kernel.size()), of_w(w.size());
    Doubles of_sums(2 * C);
    const auto lazy = [&](const Floats& value) { return affine ? value.data() : nullptr; };
    dots_block_backward(&s, given.data(), lazy(out), lazy(factor), lazy(slope), lazy(offset),
                        x.data(), lazy(scale), lazy(shift), lazy(centre), kernel.data(), w.data(),
                        of_x.data(), of_kernel.data(), of_w.data(), of_sums.data(), threads);
    compare("block_backward, map", of_x, by_x);
    compare("block_backward, kernel", of_kernel, by_kernel);
    compare("block_backward, pointwise", of_w, by_w);
    if (affine) compare("block_backward, sums", of_sums, sums);
}

void joined(const std::vector<Index>& channels, Index images, Index positions, Index N,
            Index threads) {
    const Index count = channels.size(), rows = images * positions;
    Index C = 0;
    for (Index part : channels) C += part;
    const Floats w = drawn(N * C), g = drawn(rows * N);
    std::vector<Floats> maps, by_maps;
    std::vector<const float*> from;
    std::vector<float*> to;
    for (Index part : channels) {
        maps.push_back(drawn(rows * part));
        by_maps.emplace_back(rows * part);
    }
    for (Index t = 0; t < count; ++t) {
        from.push_back(maps[t].data());
        to.push_back(by_maps[t].data());
    }
    Doubles expected(rows * N), by_w(N * C), mean(N), variance(N);
    Floats out(rows * N), of_w(N * C);
    std::vector<Doubles> by_expected;
    Index start = 0;
    for (Index t = 0; t < count; start += channels[t++]) {
        by_expected.emplace_back(rows * channels[t]);
        for (Index i = 0; i < rows * N; ++i)
            for (Index c = 0; c < channels[t]; ++c) {
                const Index one = i / N * channels[t] + c, weight = i % N * C + start + c;
                expected[i] += double(maps[t][one]) * w[weight];
                by_w[weight] += double(maps[t][one]) * g[i];
                by_expected[t][one] += double(g[i]) * w[weight];
            }
    }
    dots_joined_forward(count, images, positions, N, channels.data(), from.data(), w.data(),
                        out.data(), mean.data(), variance.data(), threads);
    compare("joined_forward", out, expected);
    compare_moments("joined_forward", expected, N, mean, variance);
    dots_joined_backward(count, images, positions, N, channels.data(), g.data(), from.data(),
                         w.data(), to.data(), of_w.data(), threads);
    compare("joined_backward, pointwise", of_w, by_w);
    for (Index t = 0; t < count; ++t)
        compare("joined_backward, map", by_maps[t], by_expected[t]);
}

void sums(Index images, Index positions, Index C, Index threads) {
    const Index count = images * positions * C;
    const Floats total = drawn(count), a = drawn(count), b = drawn(count), factors = drawn(2 * C),
                 slopes = drawn(2 * C), offset = drawn(2 * C);
    const float* maps[] = {a.data(), b.data()};
    Doubles wanted(count), first(count), second(count), products(3 * C), mean(C), variance(C);
    for (Index i = 0; i < count; ++i) {
        const Index c = i % C;
        const double g = total[i];
        wanted[i] = g + double(factors[c]) * a[i] + double(factors[C + c]) * b[i] + offset[c];
        first[i] = factors[c] * g + double(slopes[c]) * a[i] + offset[c];
        second[i] = factors[C + c] * g + double(slopes[C + c]) * b[i] + offset[C + c];
        products[c] += g;
        products[C + c] += g * a[i];
        products[2 * C + c] += g * b[i];
    }
    Floats out = total, by_a(count), by_b(count);
    dots_sum(2, images, positions, C, maps, factors.data(), offset.data(), out.data(), out.data(),
             threads);
    compare("sum", out, wanted);
    float* by_maps[] = {by_a.data(), by_b.data()};
    dots_map_gradients(2, images, positions, C, total.data(), maps, factors.data(), slopes.data(),
                       offset.data(), by_maps, threads);
    compare("map_gradients", by_a, first);
    compare("map_gradients", by_b, second);
    Doubles parts(images * 3 * C), added(3 * C);
    dots_sum_gradients(2, images, positions, C, total.data(), maps, parts.data(), threads);
    for (Index i = 0; i < images * 3 * C; ++i) added[i % (3 * C)] += parts[i];
    compare("sum_gradients", added, products);
    dots_moments(images, positions, C, a.data(), mean.data(), variance.data(), threads);
    compare_moments("moments", Doubles(a.begin(), a.end()), C, mean, variance);
}

int main() {
    const Index lanes = dots_lanes();
    for (Index threads : {1, 3})
        for (Index C : {lanes, lanes + 1, 3 * lanes}) {
            for (Index kernel : {3, 5, 7})
                for (Index stride : {1, 2})
                    for (Index dilation : {1, 2})
                        for (bool affine : {false, true})
                            block({5, 9, 11, C, 2 * lanes + 3, kernel, stride, dilation}, affine,
                                  threads);
            joined({C, lanes, lanes + 2}, 5, 37, C, threads);
            sums(5, 41, C, threads);
        }
    sums(3, 7, 1, 2);
    std::printf("%d lanes, %d differences\n", int(lanes), failures);
    return failures > 0;
}
