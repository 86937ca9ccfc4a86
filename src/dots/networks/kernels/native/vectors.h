// Vectors of LANES floats, aligned buffers, sums, and threads.
#pragma once

#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace dots {

using Index = std::ptrdiff_t;

constexpr Index L = LANES;

// GCC's and Clang's vector extension: arithmetic on it is that of the machine's registers.
typedef float Vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

inline Vec load(const float* from) {
    return *reinterpret_cast<const Vec*>(from);
}
inline void store(float* to, Vec value) {
    *reinterpret_cast<Vec*>(to) = value;
}
// NaN is left, so that it is found.
inline Vec rectified(Vec value) {
    return value < 0 ? Vec{} : value;
}

// Channels of a buffer: those of the map, and zeros up to whole vectors.
inline Index padded(Index channels) {
    return (channels + L - 1) / L * L;
}

// Zeroed floats. Aligned to cache lines: a vector that lies in two of them costs two loads.
class Buffer {
  public:
    explicit Buffer(Index count) : all_(count + LINE, 0.0f) {
        const auto at = reinterpret_cast<std::uintptr_t>(all_.data()) / sizeof(float);
        start_ = all_.data() + (LINE - at % LINE) % LINE;
    }
    Buffer(Buffer&&) = default;
    float* data() { return start_; }
    const float* data() const { return start_; }

  private:
    static constexpr Index LINE = 16;
    std::vector<float> all_;
    float* start_;
};

// work(c) for vectors that cover the channels of a map, at least L, which need not be whole
// vectors: the last one then overlaps the one before.
template <class Work>
[[gnu::always_inline]] inline void over_channels(Index channels, Work work) {
    for (Index c = 0; c + L <= channels; c += L) work(c);
    if (channels % L) work(channels - L);
}

// Rows of `channels` numbers between maps and buffers, whose rows may be longer.
inline void copy_rows(const float* from, Index from_row, float* to, Index to_row, Index rows,
                      Index channels) {
    for (Index row = 0; row < rows; ++row, from += from_row, to += to_row)
        over_channels(channels, [=](Index c) { store(to + c, load(from + c)); });
}

constexpr Index RUN = 512;  // numbers that are summed in float32; the sums are summed in float64

// to[l] += Σ value(i) over count positions. Four sums at a time hide the latency of additions.
template <class Value>
[[gnu::always_inline]] inline void add_sums(Index count, double* to, Index lanes, Value value) {
    for (Index start = 0; start < count; start += RUN) {
        const Index stop = std::min(count, start + RUN);
        Vec parts[4] = {};
        Index i = start;
        for (; i + 4 <= stop; i += 4)
            for (int part = 0; part < 4; ++part) parts[part] += value(i + part);
        for (; i < stop; ++i) parts[0] += value(i);
        const Vec sum = (parts[0] + parts[1]) + (parts[2] + parts[3]);
        for (Index lane = 0; lane < lanes; ++lane) to[lane] += sum[lane];
    }
}

// Runs f(data) on some threads at once: that of PyTorch's own OpenMP, since a second pool would
// fight with it for the processors. Found by its name, so that no compiler needs an OpenMP; null
// where PyTorch has none.
using Team = void (*)(void (*f)(void*), void* data, unsigned threads, unsigned flags);

inline Team team() {
    static const auto found = reinterpret_cast<Team>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
    return found;
}

// work(first, last) of `count` items on some threads. What is computed does not depend on them.
template <class Work>
inline void parallel(Index count, Index threads, Work work) {
    threads = std::max<Index>(1, std::min(threads, count));
    struct Shares {
        Work& work;
        Index count, threads;
        std::atomic<Index> next;
    } shares{work, count, threads, {0}};
    const auto take = [](void* all) {
        auto& [work, count, threads, next] = *static_cast<Shares*>(all);
        for (Index t; (t = next++) < threads;)
            work(count * t / threads, count * (t + 1) / threads);
    };
    if (threads > 1 && team())
        team()(take, &shares, unsigned(threads), 0);
    else
        take(&shares);
}

}  // namespace dots
