/* What the edge layers share.  They compute forward and backward a block of edges at a time:
 *
 * A block's rows pass from one matrix product to the next while they lie in a core's cache, and everything between two
 * products is one loop over them.  Products are those of the BLAS that PyTorch brings (row-major here, so the
 * arguments are swapped).  Every thread takes a run of receivers with all their edges: sums at receivers need no
 * atomics, and all sums have a fixed order for a given number of threads.
 *
 * Shapes: N atoms, E edges, F features, K edge features; `table` (N, 2F) holds for each atom what it adds to the edges
 * that it receives, then what it adds to those that it sends.  Compiled once for float and once for double (REAL).
 */
#include <math.h>
#include <stdint.h>
#include <string.h>
#include <omp.h>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

#ifndef REAL
#define REAL float
#endif
typedef REAL real;
typedef int64_t integer;

#define BLOCK 256 /* edges: three tensors of 128 floats fit half of a 1 MiB cache */
#define EACH(k, n) _Pragma("omp simd") for (integer k = 0; k < (n); k++)
#define ROWS(r, n) for (integer r = 0; r < (n); r++)

typedef struct {
    integer atoms, edges;
    const integer *senders, *receivers, *offsets; /* (E), (E) ascending, (N + 1) first edge of each receiver */
} Order;

typedef void (*Gemm)(const char *, const char *, const int *, const int *, const int *, const real *, const real *,
                     const int *, const real *, const int *, const real *, real *, const int *);
static Gemm blas_gemm;
static int (*blas_serial)(int);

void use_blas(void *gemm, void *serial) {
    blas_gemm = (Gemm)gemm;
    blas_serial = (int (*)(int))serial;
}

/* w^T (k, n) of w (n, k) with rows `stride` apart */
static real *turned(integer n, integer k, const real *w, integer stride, real *place) {
    for (integer start = 0; start < k; start += 16)
        for (integer i = 0; i < n; i++)
            for (integer j = start; j < k && j < start + 16; j++) place[j * n + i] = w[i * stride + j];
    return place;
}

typedef struct {
    const real *w1, *w2, *w3; /* (K, F), (F, F), (F, F) */
} Turned;

/* Transposed weights, at the end of a thread's work: a product that turns its weights itself is a third slower. */
static Turned turned_weights(integer F, integer K, const real *w1, integer w1_stride, const real *w2, const real *w3,
                             real *end) {
    real *third = end - F * F, *second = third - F * F, *first = second - F * K;
    Turned t = {turned(F, K, w1, w1_stride, first), turned(F, F, w2, F, second), w3 ? turned(F, F, w3, F, third) : 0};
    return t;
}

/* y (m, k) = beta y + x (m, n) w, w (n, k) with rows `stride` apart */
static void times(integer m, integer n, integer k, const real *x, const real *w, integer stride, real beta, real *y) {
    const int M = m, N = n, K = k, S = stride;
    const real one = 1;
    blas_gemm("N", "N", &K, &M, &N, &one, w, &S, x, &N, &beta, y, &K);
}

/* g (n, k) += y^T x of y (m, n), x (m, k) */
static void add_outer(integer m, integer n, integer k, const real *y, const real *x, real *g) {
    const int M = m, N = n, K = k;
    const real one = 1;
    blas_gemm("N", "T", &K, &N, &M, &one, x, &K, y, &N, &one, g, &K);
}

/* exp, for float in a form that compilers vectorise: 2^n times a polynomial of the rest */
static inline real exponential(real x) {
    if (sizeof(real) == 8) return exp(x);
    const float y = x < -87 ? -87 : x > 88 ? 88 : x;
    const float n = floorf(y * 1.44269504f + 0.5f);
    const float r = y - n * 0.693359375f + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1;
    union { int32_t i; float f; } scale = {((int32_t)n + 127) << 23};
    const float value = p * scale.f;
    return x != x ? x : value; /* clamping would turn a NaN into a number */
}

static inline real sigmoid(real x) { return 1 / (1 + exponential(-x)); }
static inline real silu(real x) { return x * sigmoid(x); }
static inline real silu_slope(real x, real s) { return s * (1 + x * (1 - s)); }
static inline real silu_curvature(real x, real s) { return s * (1 - s) * (2 + x * (1 - 2 * s)); }

/* the run of receivers of one thread, by equal shares of the edges */
static void share(const Order *o, integer *first, integer *last) {
    const integer threads = omp_get_num_threads(), thread = omp_get_thread_num();
    integer bounds[2];
    for (int side = 0; side < 2; side++) {
        const integer wanted = o->edges * (thread + side) / threads;
        integer low = 0, high = o->atoms;
        while (low < high) {
            const integer middle = (low + high) / 2;
            if (o->offsets[middle] < wanted) low = middle + 1; else high = middle;
        }
        bounds[side] = thread + side == threads ? o->atoms : low;
    }
    *first = bounds[0];
    *last = bounds[1];
}

/* Copy n numbers past the caches: what is kept for the backward pass must not drive out what the next product reads. */
static inline void keep(real *to, const real *from, integer n) {
#ifdef __AVX512F__
    const integer vector = 64 / sizeof(real);
    if (!((uintptr_t)to % 64) && n % vector == 0) {
        for (integer k = 0; k < n; k += vector)
            _mm512_stream_si512((void *)(to + k), _mm512_loadu_si512((const void *)(from + k)));
        return;
    }
#endif
    memcpy(to, from, n * sizeof(real));
}

/* Ask for a row that a product or a later loop of the block will read: products do not wait for memory then. */
static inline void soon(const real *row, integer n) {
    for (integer k = 0; k < n; k += 64 / (integer)sizeof(real)) __builtin_prefetch(row + k, 0, 2);
}

static inline integer neighbours(const Order *o, integer i) {
    const integer n = o->offsets[i + 1] - o->offsets[i];
    return n ? n : 1;
}

static void zero(real *x, integer n) { memset(x, 0, n * sizeof(real)); }

static void gather(const Order *o, integer start, integer n, integer F, const real *table, const real *bias, real *x) {
    ROWS(r, n) {
        real *row = x + r * F;
        if (!table) {
            EACH(k, F) row[k] = bias[k];
            continue;
        }
        const real *at = table + o->receivers[start + r] * 2 * F, *from = table + o->senders[start + r] * 2 * F + F;
        EACH(k, F) row[k] = at[k] + from[k];
    }
}

/* add the rows of x (n, F) to their receivers' rows of `sums`, or their senders', rows `stride` apart */
static void add_rows(const integer *atoms, integer n, integer F, const real *x, real *sums, integer stride) {
    ROWS(r, n) {
        real *sum = sums + atoms[r] * stride;
        EACH(k, F) sum[k] += x[r * F + k];
    }
}

/* out (n) = sum over threads of parts (threads, stride), in their order */
static void reduce(real *parts, integer stride, integer n, real *out) {
    const integer threads = omp_get_num_threads();
#pragma omp for schedule(static)
    for (integer k = 0; k < n; k++) {
        real sum = 0;
        for (integer t = 0; t < threads; t++) sum += parts[t * stride + k];
        out[k] = sum;
    }
}

/* the same, added to what is in out */
static void add_reduced(real *parts, integer stride, integer n, real *out) {
    const integer threads = omp_get_num_threads();
#pragma omp for schedule(static)
    for (integer k = 0; k < n; k++)
        for (integer t = 0; t < threads; t++) out[k] += parts[t * stride + k];
}

/* the same for rows (N, F) of each thread, to rows of out that are `step` apart */
static void reduce_rows(real *parts, integer stride, integer rows, integer F, real *out, integer step) {
    const integer threads = omp_get_num_threads();
#pragma omp for schedule(static)
    for (integer r = 0; r < rows; r++) {
        memcpy(out + r * step, parts + r * F, F * sizeof(real));
        for (integer t = 1; t < threads; t++) EACH(k, F) out[r * step + k] += parts[t * stride + r * F + k];
    }
}

#define PARALLEL _Pragma("omp parallel num_threads(threads)")
#define BEGIN                                                                                  \
    const int before = blas_serial ? blas_serial(1) : 0;                                       \
    integer first, last;                                                                       \
    share(o, &first, &last);                                                                   \
    real *own = work + omp_get_thread_num() * stride;
#ifdef __AVX512F__
#define SETTLE _mm_sfence(); /* what was written past the caches is seen by the other threads */
#else
#define SETTLE
#endif
#define END                                                                                    \
    SETTLE                                                                                     \
    if (blas_serial) blas_serial(before);
#define BLOCKS(start, n)                                                                       \
    for (integer start = o->offsets[first], n;                                                 \
         start < o->offsets[last] && (n = start + BLOCK < o->offsets[last] ? BLOCK : o->offsets[last] - start, 1); \
         start += n)
