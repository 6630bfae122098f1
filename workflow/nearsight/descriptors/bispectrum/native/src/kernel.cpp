// The bispectrum of one group of grid points, one point per SIMD lane. Compiled once for every twojmax, instruction
// set and precision, with REAL, VECTOR_BYTES, KERNEL_NAME and GENERATED_HEADER given by CMakeLists.txt.
//
// The density around a point lives on the unit 3-sphere: a neighbour at distance r in direction n is the quaternion
// (cos θ0, sin θ0 n), θ0 = rfac0 π r/cutoff, or the pair a = cos θ0 - i sin θ0 n_z, b = sin θ0 (n_y - i n_x) of
// LAMMPS's SNA. Its expansion is summed in the functions b^q T_k(|a|² - |b|²) a^p, which are products: all of them
// take one multiply-add each, and hardly more for the factors. One sparse linear map per point turns the sums into
// the Wigner matrices u, and the triple products of those are the components.
#include "kernel.h"

#if defined(__AVX__)
#include <immintrin.h>
#endif

namespace {

#include GENERATED_HEADER

template <class Real>
constexpr int degree = sizeof(Real) == 4 ? NS_DEGREE_FLOAT32 : NS_DEGREE_FLOAT64;

template <class Real>
struct Workspace {
    Vector<Real> sums[torus_size];
    Chunk<Real> chunk;
    Planes<Real> planes;
};

// Whether x < 1 in any lane.
template <class V>
inline bool any_below_one(const V& x) {
#if defined(__AVX512F__)
    if constexpr (sizeof(x[0]) == 4) {
        return _mm512_cmp_ps_mask((__m512)x, _mm512_set1_ps(1.0f), _CMP_LT_OQ) != 0;
    } else {
        return _mm512_cmp_pd_mask((__m512d)x, _mm512_set1_pd(1.0), _CMP_LT_OQ) != 0;
    }
#elif defined(__AVX2__)
    if constexpr (sizeof(x[0]) == 4) {
        return _mm256_movemask_ps(_mm256_cmp_ps((__m256)x, _mm256_set1_ps(1.0f), _CMP_LT_OQ)) != 0;
    } else {
        return _mm256_movemask_pd(_mm256_cmp_pd((__m256d)x, _mm256_set1_pd(1.0), _CMP_LT_OQ)) != 0;
    }
#else
    bool any = false;
    for (unsigned i = 0; i < sizeof(V) / sizeof(x[0]); i++) any |= x[i] < 1;
    return any;
#endif
}

// The factors of neighbour n: dx, dy, dz = (point - atom)/cutoff, square = their squared length.
template <class Real>
inline void set_neighbour(Chunk<Real>& chunk, int n, Vector<Real> dx, Vector<Real> dy, Vector<Real> dz,
                          Vector<Real> square, Real coincidence, Real weight, const Real* radial) {
    using V = Vector<Real>;
    constexpr int top = degree<Real>;
    // an atom on the point itself is left out, as in LAMMPS
    const auto inside = (square < Real(1)) & (square > coincidence);
    const V u = (square < Real(1) ? square : V{} + Real(1)) * Real(2) - Real(1);
    V cosine = V{} + radial[top], sine = V{} + radial[2 * top + 1], switching = V{} + radial[3 * top + 2];
    for (int k = top - 1; k >= 0; k--) {
        cosine = cosine * u + radial[k];
        sine = sine * u + radial[top + 1 + k];
        switching = switching * u + radial[2 * top + 2 + k];
    }
    const V ar = cosine, ai = -(dz * sine), br = dy * sine, bi = -(dx * sine);
    V* __restrict a = chunk.a[n];
    V* __restrict b = chunk.b[n];
    V* __restrict t = chunk.t[n];
    const V density = inside ? switching * weight : V{};
    a[1] = ar;
    a[2] = ai;
    b[0] = density;
    b[1] = br * density;
    b[2] = bi * density;
    // powers in steps of the square: half the latency
    const V a2r = ar * ar - ai * ai, a2i = Real(2) * ar * ai, b2r = br * br - bi * bi, b2i = Real(2) * br * bi;
    a[3] = a2r;
    a[4] = a2i;
    b[3] = b2r * density;
    b[4] = b2i * density;
#pragma GCC unroll 12
    for (int p = 3; p <= twojmax; p++) {
        a[2 * p - 1] = a[2 * p - 5] * a2r - a[2 * p - 4] * a2i;
        a[2 * p] = a[2 * p - 5] * a2i + a[2 * p - 4] * a2r;
        b[2 * p - 1] = b[2 * p - 5] * b2r - b[2 * p - 4] * b2i;
        b[2 * p] = b[2 * p - 5] * b2i + b[2 * p - 4] * b2r;
    }
    const V w = (ar * ar + ai * ai) - (br * br + bi * bi);
    t[1] = w;
    if (twojmax >= 4) {
        const V w2 = w + w;
        t[2] = w2 * w - Real(1);
        for (int k = 3; k <= twojmax / 2; k++) t[k] = w2 * t[k - 1] - t[k - 2];
    }
}

template <class Real>
void sum_neighbours(const ns_group& group, Chunk<Real>& chunk, Vector<Real>* __restrict sums) {
    using V = Vector<Real>;
    for (int i = 0; i < torus_size; i++) sums[i] = V{};
    const Real* x = static_cast<const Real*>(group.x);
    const Real* y = static_cast<const Real*>(group.y);
    const Real* z = static_cast<const Real*>(group.z);
    const Real* inverse_cutoff = static_cast<const Real*>(group.inverse_cutoff);
    const Real* weight = static_cast<const Real*>(group.weight);
    const Real* radial = static_cast<const Real*>(group.radial);
    const V* points = static_cast<const V*>(group.points);
    const V px = points[0], py = points[1], pz = points[2];
    const Real coincidence = Real(group.coincidence);
    int filled = 0;
    for (int64_t i = 0; i < group.atoms; i++) {
        const Real scale = inverse_cutoff[i];
        const V dx = (px - x[i]) * scale, dy = (py - y[i]) * scale, dz = (pz - z[i]) * scale;
        const V square = dx * dx + dy * dy + dz * dz;
        if (!any_below_one(square)) continue;
        set_neighbour<Real>(chunk, filled++, dx, dy, dz, square, coincidence * scale * scale, weight[i], radial);
        if (filled == chunk_size) {
            add_neighbours<Real>(chunk, filled, sums);
            filled = 0;
        }
    }
    if (filled > 0) add_neighbours<Real>(chunk, filled, sums);
    // the point itself: a = 1, b = 0, so that a^p = 1, T_k(1) = 1 and b^q = 0 but for q = 0
    const Real self = Real(group.self_weight);
    for (const int place : self_places) sums[place] += self;
}

template <class Real>
void run(const ns_group* group, void* workspace, void* out) {
    Workspace<Real>& work = *static_cast<Workspace<Real>*>(workspace);
    sum_neighbours<Real>(*group, work.chunk, work.sums);
    to_planes<Real>(work.sums, work.planes);
    triple_products<Real>(work.planes, static_cast<Vector<Real>*>(out));
}

// What the core can do at best: independent multiply-adds in registers.
template <class Real>
void multiply_add(int64_t rounds, void* workspace) {
    using V = Vector<Real>;
    constexpr int chains = VECTOR_BYTES == 64 ? 16 : 8;
    V* memory = static_cast<Workspace<Real>*>(workspace)->sums;
    const V factor = V{} + Real(0.999), term = V{} + Real(0.001);
    V x[chains];
    for (int i = 0; i < chains; i++) x[i] = V{} + Real(i);
    for (int64_t round = 0; round < rounds * (16 / chains); round++) {
#pragma GCC unroll 16
        for (int i = 0; i < chains; i++) x[i] = x[i] * factor + term;
    }
    for (int i = 1; i < chains; i++) x[0] += x[i];
    memory[0] = x[0];
}

// subtraction and scaling, the squared distance, three polynomials, powers, Chebyshev polynomials, rows, sums
template <class Real>
constexpr int neighbour_operations =
    6 + 3 + 2 + 3 * degree<Real> + 4 + 8 * (twojmax - 1) + 4 + twojmax / 2 + product_rows + torus_size;

}  // namespace

extern "C" const ns_kernel KERNEL_NAME = {
    run<REAL>,
    sizeof(Workspace<REAL>),
    twojmax,
    component_count,
    LanesOf<REAL>::count,
    map_operations + product_operations,
    neighbour_operations<REAL>,
    multiply_add<REAL>,
};
