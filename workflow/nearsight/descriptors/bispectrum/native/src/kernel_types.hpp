// Types of a kernel. Included by the generated header, inside the anonymous namespace of kernel.cpp: kernels of
// several instruction sets live in one library, and the linker must not mix their functions.

template <class Real>
struct LanesOf {
    static constexpr int count = VECTOR_BYTES / int(sizeof(Real));
    typedef Real type __attribute__((vector_size(VECTOR_BYTES)));
};

// One register: one number of each of the group's grid points.
template <class Real>
using Vector = typename LanesOf<Real>::type;

// Neighbours that are summed together: their functions stay in the first cache.
constexpr int chunk_size = 8;

template <class Real>
struct Chunk {
    Vector<Real> a[chunk_size][2 * twojmax + 1];  // a^p: 1, Re a, Im a, Re a², ...; the first one is never read
    Vector<Real> b[chunk_size][2 * twojmax + 1];  // weight · fc · b^q
    Vector<Real> t[chunk_size][twojmax / 2 + 1];  // T_k(|a|² - |b|²)
    Vector<Real> row[chunk_size][twojmax + 1];    // b^q T_k of one group
};

// u[j] of all j in three real planes (generator/wigner.py)
template <class Real>
struct Planes {
    Vector<Real> factor[3][plane_size];
    Vector<Real> last[3][half_plane_size];
};

// Keeps the compiler from loading all weights of a tile into registers in front of its loop.
template <class Pointer>
inline void keep_in_memory(Pointer& pointer) {
    asm volatile("" : "+r"(pointer));
}
