// A 1×1 convolution of channels-last maps side by side, which are joined a band at a time: the
// whole of what they make together is never in main memory. See `dots.networks.kernels.joined`.

#include <numeric>

#include "moments.h"
#include "products.h"

namespace dots {
namespace {

struct Parts {
    Parts(Index count, const Index* channels, Index positions, Index outputs)
        : count(count), channels(channels), positions(positions), N(outputs), Np(padded(outputs)) {
        C = std::accumulate(channels, channels + count, Index(0));
        Cp = padded(C);
        band = band_of(Cp);
    }

    // Pixels of all maps from `pixel` on, into rows of Cp numbers.
    void join(const float* const* maps, Index pixel, Index pixels, float* rows) const {
        for (Index t = 0; t < count; rows += channels[t++])
            copy_rows(maps[t] + pixel * channels[t], channels[t], rows, Cp, pixels, channels[t]);
    }

    // The same backwards, to those that are wanted.
    void split(const float* rows, Index pixel, Index pixels, float* const* maps) const {
        for (Index t = 0; t < count; rows += channels[t++])
            if (maps[t])
                copy_rows(rows, Cp, maps[t] + pixel * channels[t], channels[t], pixels,
                          channels[t]);
    }

    Index count;
    const Index* channels;
    Index positions, N, Np, C, Cp, band;
};

}  // namespace
}  // namespace dots

extern "C" {

// out [images, positions, N], mean [N], variance [N] of maps [images, positions, channels_t] with
// pointwise [N, Σ channels].
void dots_joined_forward(dots::Index count, dots::Index images, dots::Index positions,
                         dots::Index outputs, const dots::Index* channels, const float* const* maps,
                         const float* pointwise, float* out, double* mean, double* variance,
                         dots::Index threads) {
    using namespace dots;
    const Parts parts(count, channels, positions, outputs);
    const Buffer w = transposed(pointwise, parts.N, parts.C);
    const bool direct = parts.N == parts.Np;
    std::vector<double> means(images * parts.N), squares(images * parts.N);
    parallel(images, threads, [&](Index first, Index last) {
        Buffer z(parts.band * parts.Cp), u(direct ? 0 : positions * parts.Np);
        for (Index b = first; b < last; ++b) {
            float* to = out + b * positions * parts.N;
            float* rows = direct ? to : u.data();
            for (Index p = 0; p < positions; p += parts.band) {
                const Index pixels = std::min(parts.band, positions - p);
                parts.join(maps, b * positions + p, pixels, z.data());
                multiply(z.data(), parts.Cp, w.data(), parts.Np, parts.C, rows + p * parts.Np,
                         parts.Np, pixels, parts.Np);
            }
            moments(rows, parts.Np, positions, parts.N, &means[b * parts.N], &squares[b * parts.N]);
            if (!direct) copy_rows(rows, parts.Np, to, parts.N, positions, parts.N);
        }
    });
    merge(means, squares, images, parts.N, positions, mean, variance);
}

// Gradients of the maps and of the pointwise, each null where it is not asked for.
void dots_joined_backward(dots::Index count, dots::Index images, dots::Index positions,
                          dots::Index outputs, const dots::Index* channels, const float* gradient,
                          const float* const* maps, const float* pointwise, float* const* by_maps,
                          float* by_pointwise, dots::Index threads) {
    using namespace dots;
    const Parts parts(count, channels, positions, outputs);
    Buffer w(parts.N * parts.Cp);
    copy_rows(pointwise, parts.C, w.data(), parts.Cp, parts.N, parts.C);
    const Index matrix = parts.N * parts.Cp;
    Buffer sums(by_pointwise ? CHUNKS * matrix : 0);
    const bool any = std::any_of(by_maps, by_maps + count, [](float* map) { return map; });
    parallel(CHUNKS, threads, [&](Index first, Index last) {
        Buffer z(parts.band * parts.Cp);
        for (Index chunk = first; chunk < last; ++chunk)
            for (Index b = chunk; b < images; b += CHUNKS)
                for (Index p = 0; p < positions; p += parts.band) {
                    const Index pixels = std::min(parts.band, positions - p);
                    const Index pixel = b * positions + p;
                    const float* g = gradient + pixel * parts.N;
                    if (by_pointwise) {
                        parts.join(maps, pixel, pixels, z.data());
                        add_outer(g, parts.N, parts.N, z.data(), parts.Cp, parts.Cp,
                                  sums.data() + chunk * matrix, parts.Cp, pixels);
                    }
                    if (!any) continue;
                    multiply(g, parts.N, w.data(), parts.Cp, parts.N, z.data(), parts.Cp, pixels,
                             parts.Cp);
                    parts.split(z.data(), pixel, pixels, by_maps);
                }
    });
    if (by_pointwise) sum_chunks(sums.data(), parts.N, parts.C, by_pointwise);
}
}
