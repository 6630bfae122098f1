/* One group of grid points: the interface between the grid (grid.cpp) and the kernels, one kernel per twojmax,
 * instruction set and precision. No state: everything a kernel touches is in its arguments. */
#ifndef NEARSIGHT_KERNEL_H
#define NEARSIGHT_KERNEL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { NS_DEGREE_FLOAT32 = 6, NS_DEGREE_FLOAT64 = 11 }; /* of the radial polynomials: errors 6e-9 and 1e-14 */

/* Atoms near one group; Real is float or double, as the kernel's. Lengths in Å, relative to the group's centre. */
typedef struct {
    int64_t atoms;
    const void* x; /* Real[atoms] */
    const void* y;
    const void* z;
    const void* inverse_cutoff; /* Real[atoms], 1/Å */
    const void* weight;         /* Real[atoms] */
    const void* points;         /* Real[3][lanes]: x, y, z of the grid points */
    const void* radial;         /* Real[3][degree + 1]: coefficients in u = 2 (r/cutoff)² - 1, constant first, of
                                   cos θ0, sin θ0 · cutoff/r and the switching function */
    double self_weight;
    double coincidence; /* Å²: neighbours whose squared distance is not above this are left out */
} ns_group;

typedef struct {
    /* out: Real[components][lanes]; workspace: workspace_bytes, aligned to 64 bytes */
    void (*run)(const ns_group* group, void* workspace, void* out);
    size_t workspace_bytes;
    int twojmax;
    int components;
    int lanes;
    /* for the benchmark: vector multiply-adds (or additions, or multiplications) of a group and of each neighbour,
     * and a loop of nothing but 16 * rounds independent ones */
    int operations;
    int neighbour_operations;
    void (*multiply_add)(int64_t rounds, void* workspace);
} ns_kernel;

#ifdef __cplusplus
}
#endif
#endif
