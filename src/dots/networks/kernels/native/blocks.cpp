// Depthwise convolution, then 1×1 convolution, of channels-last maps, image by image.
//
// An image and what is computed of it stay in the caches; of whole maps only inputs, outputs and
// their gradients are in main memory. See `dots.networks.kernels.blocks`, which calls this.

#include "depthwise.h"
#include "moments.h"
#include "products.h"

extern "C" {

// Sizes of a block; `BlockShape` in Python.
struct DotsBlock {
    dots::Index images, height, width, channels, outputs, kernel, stride, dilation;
};
}

namespace dots {
namespace {

struct Plan {
    explicit Plan(const DotsBlock& block)
        : images(block.images),
          height(block.height),
          width(block.width),
          C(block.channels),
          N(block.outputs),
          kernel(block.kernel),
          taps(kernel * kernel),
          Cp(padded(C)),
          Np(padded(N)),
          margin(block.dilation * (kernel / 2)) {
        const Index s = block.stride;
        grid = {(height + s - 1) / s, (width + s - 1) / s, width + 2 * margin, Cp, s,
                block.dilation};
        back = {height, width, grid.frame, Cp, 1, block.dilation};
        positions = grid.rows * grid.columns;
        framed = (height + 2 * margin) * grid.frame * Cp;
        band = std::max<Index>(1, band_of(Cp) / grid.columns);
    }

    Index images, height, width, C, N, kernel, taps, Cp, Np, margin, positions, framed, band;
    Grid grid;  // from input to output
    Grid back;  // from the spread gradient of the output to that of the input

    // Where a row of the image itself starts in a framed one.
    template <class Number>
    Number* inside(Number* framed, Index row) const {
        return framed + ((row + margin) * grid.frame + margin) * Cp;
    }
};

// [C, taps] -> [taps, Cp], and the same with the kernel turned around.
Buffer taps_of(const Plan& plan, const float* kernel, bool turned) {
    Buffer result(plan.taps * plan.Cp);
    for (Index c = 0; c < plan.C; ++c)
        for (Index t = 0; t < plan.taps; ++t)
            result.data()[(turned ? plan.taps - 1 - t : t) * plan.Cp + c] =
                kernel[c * plan.taps + t];
    return result;
}

// An image into the middle of a frame: as it is, or relu(scale · image + shift).
void fill(const Plan& plan, const float* image, const float* scale, const float* shift,
          float* framed) {
    for (Index i = 0; i < plan.height; ++i) {
        const float* from = image + i * plan.width * plan.C;
        float* to = plan.inside(framed, i);
        if (!scale) {
            copy_rows(from, plan.C, to, plan.Cp, plan.width, plan.C);
            continue;
        }
        for (Index j = 0; j < plan.width; ++j, from += plan.C, to += plan.Cp)
            over_channels(plan.C, [=](Index c) {
                store(to + c, rectified(load(from + c) * load(scale + c) + load(shift + c)));
            });
    }
}

// factor · g + slope · u + offset, into rows of Np numbers.
void lazy_gradient(const Plan& plan, Index positions, const float* g, const float* u,
                   const float* factor, const float* slope, const float* offset, float* out) {
    for (Index i = 0; i < positions; ++i, g += plan.N, u += plan.N, out += plan.Np)
        over_channels(plan.N, [=](Index n) {
            const Vec rest = load(slope + n) * load(u + n) + load(offset + n);
            store(out + n, load(factor + n) * load(g + n) + rest);
        });
}

// The gradient of the depthwise convolution's output, wᵀ g, spread at the stride in a frame.
void spread_product(const Plan& plan, Index rows, const float* g, Index g_row, const float* w,
                    float* flat, float* framed) {
    const Index columns = plan.grid.columns, stride = plan.grid.stride;
    const Index step = stride * plan.grid.frame * plan.Cp;
    if (stride == 1 && columns % TALL == 0) {
        for (Index i = 0; i < rows; ++i)
            multiply(g + i * columns * g_row, g_row, w, plan.Cp, plan.N, framed + i * step, plan.Cp,
                     columns, plan.Cp);
        return;
    }
    multiply(g, g_row, w, plan.Cp, plan.N, flat, plan.Cp, rows * columns, plan.Cp);
    for (Index i = 0; i < rows; ++i)
        copy_rows(flat + i * columns * plan.Cp, plan.Cp, framed + i * step, stride * plan.Cp,
                  columns, plan.Cp);
}

// Where the rectified input is zero the gradient is none. Sums of it, and of its product with
// the distance of the input from centre, to sums [2, C].
void masked(const Plan& plan, const float* gradient, const float* framed, const float* input,
            const float* centre, float* out, double* sums) {
    const Index block = std::max<Index>(1, RUN / plan.width);  // rows summed in float32
    over_channels(plan.C, [&](Index c) {
        const Vec middle = load(centre + c);
        double totals[2][L] = {};
        for (Index start = 0; start < plan.height; start += block) {
            Vec sum = {}, product = {};
            for (Index i = start; i < std::min(plan.height, start + block); ++i) {
                const Index pixel = i * plan.width;
                const float* g = gradient + pixel * plan.Cp + c;
                const float* seen = plan.inside(framed, i) + c;
                const float* from = input + pixel * plan.C + c;
                float* to = out + pixel * plan.C + c;
                for (Index j = 0; j < plan.width; ++j) {
                    const Vec kept = load(seen + j * plan.Cp) <= 0 ? Vec{} : load(g + j * plan.Cp);
                    store(to + j * plan.C, kept);
                    sum += kept;
                    product += kept * (load(from + j * plan.C) - middle);
                }
            }
            for (Index lane = 0; lane < L; ++lane) {
                totals[0][lane] += sum[lane];
                totals[1][lane] += product[lane];
            }
        }
        for (Index lane = 0; lane < L; ++lane) {  // those of an overlap are the same again
            sums[c + lane] = totals[0][lane];
            sums[plan.C + c + lane] = totals[1][lane];
        }
    });
}

}  // namespace
}  // namespace dots

extern "C" {

// From what this was built.
const char* dots_sources() {
    return SOURCES;
}

// Numbers of a vector: maps of fewer channels would leave registers empty, and are not taken.
dots::Index dots_lanes() {
    return dots::L;
}

// out [B, H', W', N], mean [N], variance [N]: of a map [B, H, W, C], or of what `fill` makes of
// it, with kernel [C, taps] and pointwise [N, C].
void dots_block_forward(const DotsBlock* block, const float* map, const float* scale,
                        const float* shift, const float* kernel, const float* pointwise, float* out,
                        double* mean, double* variance, dots::Index threads) {
    using namespace dots;
    const Plan plan(*block);
    const Buffer taps = taps_of(plan, kernel, false), w = transposed(pointwise, plan.N, plan.C);
    const bool direct = plan.N == plan.Np;
    const Index pixels = plan.height * plan.width, columns = plan.grid.columns;
    std::vector<double> means(plan.images * plan.N), squares(plan.images * plan.N);
    parallel(plan.images, threads, [&](Index first, Index last) {
        Buffer framed(plan.framed), z(plan.band * columns * plan.Cp),
            u(direct ? 0 : plan.positions * plan.Np);
        for (Index b = first; b < last; ++b) {
            float* to = out + b * plan.positions * plan.N;
            float* rows = direct ? to : u.data();
            fill(plan, map + b * pixels * plan.C, scale, shift, framed.data());
            for (Index i = 0; i < plan.grid.rows; i += plan.band) {
                const Grid band = plan.grid.band(std::min(plan.band, plan.grid.rows - i));
                convolve(plan.kernel, band, plan.grid.pixel(framed.data(), i * plan.grid.stride, 0),
                         taps.data(), z.data());
                multiply(z.data(), plan.Cp, w.data(), plan.Np, plan.C, rows + i * columns * plan.Np,
                         plan.Np, band.rows * columns, plan.Np);
            }
            moments(rows, plan.Np, plan.positions, plan.N, &means[b * plan.N],
                    &squares[b * plan.N]);
            if (!direct) copy_rows(rows, plan.Np, to, plan.N, plan.positions, plan.N);
        }
    });
    merge(means, squares, plan.images, plan.N, plan.positions, mean, variance);
}

// Gradients of the map (or, with scale, of scale · map + shift, and its two sums [2, C]), the
// kernel and the pointwise (null where unasked), given that of out: g, or with factor what
// `lazy_gradient` makes of it.
void dots_block_backward(const DotsBlock* block, const float* g, const float* u,
                         const float* factor, const float* slope, const float* offset,
                         const float* map, const float* scale, const float* shift,
                         const float* centre, const float* kernel, const float* pointwise,
                         float* by_map, float* by_kernel, float* by_pointwise, double* sums,
                         dots::Index threads) {
    using namespace dots;
    const Plan plan(*block);
    const Buffer taps = taps_of(plan, kernel, false), turned = taps_of(plan, kernel, true);
    Buffer w(plan.N * plan.Cp);
    copy_rows(pointwise, plan.C, w.data(), plan.Cp, plan.N, plan.C);
    const Index kernels = plan.taps * plan.Cp, matrix = plan.N * plan.Cp;
    Buffer kernel_sums(CHUNKS * kernels), matrix_sums(CHUNKS * matrix);
    std::vector<double> image_sums(scale ? plan.images * 2 * plan.C : 0);
    const bool direct = plan.C == plan.Cp && !scale;
    const Index pixels = plan.height * plan.width, columns = plan.grid.columns,
                stride = plan.grid.stride;
    parallel(CHUNKS, threads, [&](Index first, Index last) {
        Buffer framed(plan.framed), spread(plan.framed), z(plan.band * columns * plan.Cp);
        Buffer given(factor ? plan.band * columns * plan.Np : 0),
            flat(plan.band * columns * plan.Cp);
        Buffer by_image(direct ? 0 : pixels * plan.Cp);
        for (Index chunk = first; chunk < last; ++chunk)
            for (Index b = chunk; b < plan.images; b += CHUNKS) {
                const float* input = map + b * pixels * plan.C;
                const Index start = b * plan.positions;
                fill(plan, input, scale, shift, framed.data());
                for (Index i = 0; i < plan.grid.rows; i += plan.band) {
                    const Grid band = plan.grid.band(std::min(plan.band, plan.grid.rows - i));
                    const Index positions = band.rows * columns;
                    const float* image = plan.grid.pixel(framed.data(), i * stride, 0);
                    const float* gradient = g + (start + i * columns) * plan.N;
                    Index row = plan.N;
                    if (factor) {
                        lazy_gradient(plan, positions, gradient, u + (start + i * columns) * plan.N,
                                      factor, slope, offset, given.data());
                        gradient = given.data();
                        row = plan.Np;
                    }
                    if (by_pointwise) {
                        convolve(plan.kernel, band, image, taps.data(), z.data());
                        add_outer(gradient, row, plan.N, z.data(), plan.Cp, plan.Cp,
                                  matrix_sums.data() + chunk * matrix, plan.Cp, positions);
                    }
                    float* inside = plan.inside(spread.data(), i * stride);
                    spread_product(plan, band.rows, gradient, row, w.data(), flat.data(), inside);
                    if (by_kernel)
                        correlate(plan.kernel, band, image, inside,
                                  kernel_sums.data() + chunk * kernels);
                }
                float* to = by_map + b * pixels * plan.C;
                float* rows = direct ? to : by_image.data();
                convolve(plan.kernel, plan.back, spread.data(), turned.data(), rows);
                if (scale)
                    masked(plan, rows, framed.data(), input, centre, to,
                           &image_sums[b * 2 * plan.C]);
                else if (!direct)
                    copy_rows(rows, plan.Cp, to, plan.C, pixels, plan.C);
            }
    });
    for (Index t = 0; by_kernel && t < plan.taps; ++t)
        for (Index c = 0; c < plan.C; ++c)
            by_kernel[c * plan.taps + t] = summed(kernel_sums.data() + t * plan.Cp + c, kernels);
    if (by_pointwise) sum_chunks(matrix_sums.data(), plan.N, plan.C, by_pointwise);
    for (Index i = 0; scale && i < 2 * plan.C; ++i) {
        sums[i] = 0;
        for (Index b = 0; b < plan.images; ++b) sums[i] += image_sums[b * 2 * plan.C + i];
    }
}
}
