/* The bispectrum of LAMMPS's compute sna/grid on a grid or on a part of it. Plain C, no global state. */
#ifndef NEARSIGHT_GRID_H
#define NEARSIGHT_GRID_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    NS_OK = 0,
    NS_BAD_ARGUMENT = 1, /* message says which */
    NS_NO_KERNEL = 2,    /* twojmax or instruction set that this build or this processor has not */
    NS_NO_MEMORY = 3,
    NS_CANCELLED = 4 /* poll said so */
} ns_status;

typedef struct {
    double cell[9];          /* lattice vectors, one per row, Å */
    int64_t atoms;           /* number of atoms; may be 0 */
    const double* positions; /* [atoms][3], Å, anywhere */
    const double* weights;   /* [atoms] */
    const double* cutoffs;   /* [atoms], Å: cutoff of each atom as a neighbour */
    int64_t shape[3];        /* points along the lattice vectors */
    int64_t start[3];        /* region: first point */
    int64_t stop[3];         /* region: one past the last point; equal to start: empty */
    int twojmax;             /* 2, 4, ..., 12 */
    double rfac0;
    int switching;           /* 0: every neighbour inside of the cutoff counts fully */
    int subtract_zero;       /* bzeroflag: subtract the components of an isolated point */
    double self_weight;
    int threads;
    const char* instruction_set; /* avx512, avx2, portable; NULL: the best one of this processor */
    /* called now and then by the calling thread with the finished part of the work; non-zero cancels; may be NULL */
    int (*poll)(void* context, double done);
    void* poll_context;
} ns_request;

/* Fills out, C order: [lx][ly][lz][components] of the region, float or double. message gets a text on failure. */
ns_status ns_bispectrum_float32(const ns_request* request, float* out, char* message, size_t message_size);
ns_status ns_bispectrum_float64(const ns_request* request, double* out, char* message, size_t message_size);

/* For the benchmark: what one kernel is made of, and the seconds of one vector multiply-add in a loop of them. */
typedef struct {
    int lanes, operations, neighbour_operations;
    double multiply_add_seconds;
} ns_facts;
ns_status ns_kernel_facts(const char* instruction_set, int twojmax, int bytes, ns_facts* facts);

/* Name of the instruction set that a request with this name (or NULL) runs on; NULL where there is none. */
const char* ns_instruction_set(const char* name);

#ifdef __cplusplus
}
#endif
#endif
