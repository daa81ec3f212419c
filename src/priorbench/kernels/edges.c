/* Edge layers of the three networks, forward and backward, a block of edges at a time.
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

/* y (m, n) = beta y + x (m, k) w^T, w (n, k) with rows `stride` apart */
static void times_transposed(integer m, integer n, integer k, const real *x, const real *w, integer stride, real beta,
                             real *y) {
    const int M = m, N = n, K = k, S = stride;
    const real one = 1;
    blas_gemm("T", "N", &N, &M, &K, &one, w, &S, x, &K, &beta, y, &N);
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

/* Ask for a row that a product or a later loop of the block will read, or write: products do not wait for memory then. */
static inline void soon(const real *row, integer n) {
    for (integer k = 0; k < n; k += 64 / (integer)sizeof(real)) __builtin_prefetch(row + k, 0, 2);
}
static inline void soon_written(real *row, integer n) {
    for (integer k = 0; k < n; k += 64 / (integer)sizeof(real)) __builtin_prefetch(row + k, 1, 2);
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
            memcpy(row, bias, F * sizeof(real));
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
#define END if (blas_serial) blas_serial(before);
#define BLOCKS(start, n)                                                                       \
    for (integer start = o->offsets[first], n;                                                 \
         start < o->offsets[last] && (n = start + BLOCK < o->offsets[last] ? BLOCK : o->offsets[last] - start, 1); \
         start += n)

/* ---------------------------------------------------------------------------------------------------------- GNS */

/* m = LayerNorm(MLP(h_i, h_j, e)); sums (N, F) of w m at the receivers; new_e = e + m.  Without a table (the encoder)
 * new_e = m and no sums.  z1, z2, normed (E, F) and scale (E) are kept for the backward pass where z1 is given. */
void gns_forward(const Order *o, integer F, integer K, int threads, real *work, integer stride, const real *table,
                 const real *bias, const real *e, const real *w, const real *w1, integer w1_stride, const real *w2,
                 const real *b2, const real *w3, const real *b3, const real *gain, const real *shift, real *z1,
                 real *z2, real *normed, real *scale, real *sums, real *new_e) {
    PARALLEL {
        BEGIN
        if (sums) zero(sums + first * F, (last - first) * F);
        BLOCKS(start, n) {
            real *x1 = own, *x2 = own + BLOCK * F, *y = own + 2 * BLOCK * F;
            ROWS(r, n) soon(e + (start + r) * K, K);
            gather(o, start, n, F, table, bias, x1);
            times_transposed(n, F, K, e + start * K, w1, w1_stride, 1, x1);
            ROWS(r, n) {
                real *row = x1 + r * F;
                EACH(k, F) row[k] = row[k] > 0 ? row[k] : row[k] != row[k] ? row[k] : 0;
                if (z1) keep(z1 + (start + r) * F, row, F);
            }
            times_transposed(n, F, F, x1, w2, F, 0, x2);
            ROWS(r, n) {
                real *row = x2 + r * F;
                EACH(k, F) {
                    const real v = row[k] + b2[k];
                    row[k] = v > 0 ? v : v != v ? v : 0;
                }
                if (z1) keep(z2 + (start + r) * F, row, F);
            }
            times_transposed(n, F, F, x2, w3, F, 0, y);
            ROWS(r, n) {
                real *row = y + r * F, *out = new_e + (start + r) * F, mean = 0, square = 0;
                const real *old = e + (start + r) * K, weight = w ? w[start + r] : 1;
                _Pragma("omp simd reduction(+ : mean)") for (integer k = 0; k < F; k++) mean += row[k] += b3[k];
                mean /= F;
                _Pragma("omp simd reduction(+ : square)") for (integer k = 0; k < F; k++) {
                    row[k] -= mean;
                    square += row[k] * row[k];
                }
                const real rate = 1 / sqrt(square / F + (real)1e-5);
                if (z1) scale[start + r] = rate;
                EACH(k, F) row[k] *= rate;
                if (z1) keep(normed + (start + r) * F, row, F);
                if (!sums) {
                    EACH(k, F) out[k] = gain[k] * row[k] + shift[k];
                    continue;
                }
                real *sum = sums + o->receivers[start + r] * F;
                EACH(k, F) {
                    const real m = gain[k] * row[k] + shift[k];
                    sum[k] += weight * m;
                    row[k] = old[k] + m;
                }
                keep(out, row, F);
            }
        }
        END
    }
}

/* work: for each thread BLOCK F rows twice, then the gradients w1 (F, K), w2, w3 (F, F), b1, b2, b3, gain, shift (F),
 * which are reduced into `grads` in that order, and with g_table N F for what goes to senders.  g_sums, g_new and g_e may be null. */
void gns_backward(const Order *o, integer F, integer K, int threads, real *work, integer stride, int encoder,
                  const real *e, const real *w, const real *w1, integer w1_stride, const real *w2, const real *w3,
                  const real *gain, const real *z1, const real *z2, const real *normed, const real *scale,
                  const real *g_sums, const real *g_new, real *g_table, real *g_e, real *grads) {
    const integer count = F * K + 2 * F * F + 5 * F;
    PARALLEL {
        BEGIN
        real *a = own, *b = a + BLOCK * F, *g1 = b + BLOCK * F, *g2 = g1 + F * K, *g3 = g2 + F * F;
        real *d1 = g3 + F * F, *d2 = d1 + F, *d3 = d2 + F, *d_gain = d3 + F, *d_shift = d_gain + F;
        real *sent = g1 + count;
        zero(g1, g_table ? count + o->atoms * F : count);
        if (g_table)
            for (integer i = first; i < last; i++) zero(g_table + i * 2 * F, F);
        BLOCKS(start, n) {
            const real *x1 = z1 + start * F, *x2 = z2 + start * F;
            ROWS(r, n) {
                const real *y = normed + (start + r) * F, weight = w ? w[start + r] : 1, rate = scale[start + r];
                const real *sum = g_sums ? g_sums + o->receivers[start + r] * F : 0;
                const real *old = g_new ? g_new + (start + r) * F : 0;
                real *row = a + r * F, mean = 0, along = 0;
                soon(x2 + r * F, F);
                soon(x1 + r * F, F);
                soon(e + (start + r) * K, K);
                if (g_e) soon_written(g_e + (start + r) * K, K);
                if (sum && old) EACH(k, F) row[k] = weight * sum[k] + old[k];
                else if (sum) EACH(k, F) row[k] = weight * sum[k];
                else if (old) memcpy(row, old, F * sizeof(real));
                else zero(row, F);
                _Pragma("omp simd reduction(+ : mean, along)") for (integer k = 0; k < F; k++) {
                    const real g = row[k];
                    d_gain[k] += g * y[k];
                    d_shift[k] += g;
                    row[k] = g * gain[k];
                    mean += row[k];
                    along += row[k] * y[k];
                }
                mean /= F, along /= F;
                EACH(k, F) {
                    row[k] = rate * (row[k] - mean - along * y[k]);
                    d3[k] += row[k];
                }
            }
            add_outer(n, F, F, a, x2, g3);
            times(n, F, F, a, w3, F, 0, b);
            ROWS(r, n) EACH(k, F) {
                b[r * F + k] = x2[r * F + k] > 0 ? b[r * F + k] : 0;
                d2[k] += b[r * F + k];
            }
            add_outer(n, F, F, b, x1, g2);
            times(n, F, F, b, w2, F, 0, a);
            ROWS(r, n) {
                EACH(k, F) {
                    a[r * F + k] = x1[r * F + k] > 0 ? a[r * F + k] : 0;
                    d1[k] += a[r * F + k];
                }
            }
            if (g_table) {
                add_rows(o->receivers + start, n, F, a, g_table, 2 * F);
                add_rows(o->senders + start, n, F, a, sent, F);
            }
            add_outer(n, F, K, a, e + start * K, g1);
            if (!g_e) continue;
            const real *old = encoder ? 0 : g_new;
            if (old) memcpy(g_e + start * K, old + start * K, n * K * sizeof(real));
            times(n, F, K, a, w1, w1_stride, old ? 1 : 0, g_e + start * K);
        }
#pragma omp barrier
        if (g_table) reduce_rows(work + 2 * BLOCK * F + count, stride, o->atoms, F, g_table + F, 2 * F);
        reduce(work + 2 * BLOCK * F, stride, count, grads);
        END
    }
}

/* ----------------------------------------------------------------------------------------------------- ForceNet */

/* filters p = MLP(h_i, h_j, f); sums (N, F) of w p source_j at the receivers.  z2 and p (E, F) are kept where given. */
void forcenet_forward(const Order *o, integer F, integer K, int threads, real *work, integer stride, const real *table,
                      const real *f, const real *w, const real *source, const real *w1, const real *w2, const real *b2,
                      const real *w3, const real *b3, real *z2, real *filters, real *sums) {
    PARALLEL {
        BEGIN
        zero(sums + first * F, (last - first) * F);
        BLOCKS(start, n) {
            real *a = own, *b = own + BLOCK * F;
            gather(o, start, n, F, table, 0, a);
            times_transposed(n, F, K, f + start * K, w1, K, 1, a);
            EACH(k, n * F) a[k] = silu(a[k]);
            times_transposed(n, F, F, a, w2, F, 0, b);
            ROWS(r, n) {
                real *row = b + r * F;
                EACH(k, F) row[k] += b2[k];
                if (z2) keep(z2 + (start + r) * F, row, F);
                EACH(k, F) row[k] = silu(row[k]);
            }
            times_transposed(n, F, F, b, w3, F, 0, a);
            ROWS(r, n) {
                const real weight = w[start + r], *from = source + o->senders[start + r] * F;
                real *row = a + r * F, *sum = sums + o->receivers[start + r] * F;
                EACH(k, F) {
                    row[k] += b3[k];
                    sum[k] += weight * row[k] * from[k];
                }
                if (z2) keep(filters + (start + r) * F, row, F);
            }
        }
        END
    }
}

/* work: for each thread BLOCK F rows four times, then the gradients w1 (F, K), w2, w3 (F, F), b2, b3 (F), reduced into
 * `grads`, and twice N F for what goes to senders.  g_f may be null. */
void forcenet_backward(const Order *o, integer F, integer K, int threads, real *work, integer stride,
                       const real *table, const real *f, const real *w, const real *source, const real *w1,
                       const real *w2, const real *w3, const real *z2, const real *filters, const real *g_sums, real *g_table,
                       real *g_f, real *g_source, real *grads) {
    const integer count = F * K + 2 * F * F + 2 * F;
    PARALLEL {
        BEGIN
        real *a = own, *b = a + BLOCK * F, *c = b + BLOCK * F, *d = c + BLOCK * F, *g1 = d + BLOCK * F;
        real *g2 = g1 + F * K, *g3 = g2 + F * F, *d2 = g3 + F * F, *d3 = d2 + F, *sent = g1 + count;
        real *source_sent = sent + o->atoms * F;
        zero(g1, count + 2 * o->atoms * F);
        for (integer i = first; i < last; i++) zero(g_table + i * 2 * F, F);
        BLOCKS(start, n) {
            const real *x2 = z2 + start * F, *p = filters + start * F;
            gather(o, start, n, F, table, 0, d);
            times_transposed(n, F, K, f + start * K, w1, K, 1, d);
            ROWS(r, n) {
                const real weight = w[start + r], *from = source + o->senders[start + r] * F;
                const real *sum = g_sums + o->receivers[start + r] * F;
                real *to = source_sent + o->senders[start + r] * F;
                EACH(k, F) {
                    const real g = weight * sum[k];
                    b[r * F + k] = g * from[k];
                    d3[k] += g * from[k];
                    to[k] += g * p[r * F + k];
                }
            }
            times(n, F, F, b, w3, F, 0, a);
            ROWS(r, n) EACH(k, F) {
                const real v = x2[r * F + k], t = sigmoid(v);
                a[r * F + k] *= silu_slope(v, t);
                d2[k] += a[r * F + k];
                c[r * F + k] = v * t;
            }
            add_outer(n, F, F, b, c, g3);
            times(n, F, F, a, w2, F, 0, b);
            EACH(k, n * F) {
                const real v = d[k], t = sigmoid(v);
                b[k] *= silu_slope(v, t);
                c[k] = v * t;
            }
            add_outer(n, F, F, a, c, g2);
            add_rows(o->receivers + start, n, F, b, g_table, 2 * F);
            add_rows(o->senders + start, n, F, b, sent, F);
            add_outer(n, F, K, b, f + start * K, g1);
            if (g_f) times(n, F, K, b, w1, K, 0, g_f + start * K);
        }
#pragma omp barrier
        reduce_rows(work + 4 * BLOCK * F + count, stride, o->atoms, F, g_table + F, 2 * F);
        reduce_rows(work + 4 * BLOCK * F + count + o->atoms * F, stride, o->atoms, F, g_source, F);
        reduce(work + 4 * BLOCK * F, stride, count, grads);
        END
    }
}

/* --------------------------------------------------------------------------------------------------------- EGNN */

/* x = table + f w1^T, z = silu(x) w2^T + b2, messages m = w silu(z), y = m w3^T + b3, φ = silu(y) · w4; sums (N, F) of m
 * at the receivers, and moves (N, 3), the mean of -u φ with u (E, 3).  Without w3 (the last layer) no y, no φ and no
 * moves.  x, z, y (E, F) are kept where x is given. */
void egnn_forward(const Order *o, integer F, integer K, int threads, real *work, integer stride, const real *table,
                  const real *f, const real *w, const real *w1, integer w1_stride, const real *w2, const real *b2,
                  const real *w3, const real *b3, const real *w4, const real *u, real *x, real *z, real *y, real *phi,
                  real *sums, real *moves) {
    PARALLEL {
        BEGIN
        zero(sums + first * F, (last - first) * F);
        if (w3) zero(moves + first * 3, (last - first) * 3);
        BLOCKS(start, n) {
            real *a = own, *b = own + BLOCK * F;
            gather(o, start, n, F, table, 0, a);
            times_transposed(n, F, K, f + start * K, w1, w1_stride, 1, a);
            ROWS(r, n) {
                real *row = a + r * F;
                if (x) keep(x + (start + r) * F, row, F);
                EACH(k, F) row[k] = silu(row[k]);
            }
            times_transposed(n, F, F, a, w2, F, 0, b);
            ROWS(r, n) {
                const real weight = w ? w[start + r] : 1;
                real *row = b + r * F, *sum = sums + o->receivers[start + r] * F;
                EACH(k, F) row[k] += b2[k];
                if (x) keep(z + (start + r) * F, row, F);
                EACH(k, F) {
                    row[k] = weight * silu(row[k]);
                    sum[k] += row[k];
                }
            }
            if (!w3) continue;
            times_transposed(n, F, F, b, w3, F, 0, a);
            ROWS(r, n) {
                real move = 0, *row = a + r * F;
                EACH(k, F) row[k] += b3[k];
                if (x) keep(y + (start + r) * F, row, F);
                _Pragma("omp simd reduction(+ : move)") for (integer k = 0; k < F; k++) move += w4[k] * silu(row[k]);
                phi[start + r] = move;
                const real share = -move / neighbours(o, o->receivers[start + r]);
                for (int c = 0; c < 3; c++) moves[o->receivers[start + r] * 3 + c] += share * u[(start + r) * 3 + c];
            }
        }
        END
    }
}

/* Gradient with respect to table, f, w and u from g_sums (N, F) | null and g_moves (N, 3) | null, and with cx, cz, cy
 * (E, F) | null and c_phi (E) | null, further gradients of x, z, y and φ.  gm, gs (E, F), where given, keep the gradients of m and silu(x).  With `grads`
 * (w1, w2, w3, b2, b3, w4) the weights' gradients as well.  g_w may be null.  work: as in forcenet_backward, once N F. */
void egnn_backward(const Order *o, integer F, integer K, int threads, real *work, integer stride, const real *f,
                   const real *w, const real *w1, integer w1_stride, const real *w2, const real *w3, const real *w4,
                   const real *u, const real *x, const real *z, const real *y, const real *phi, const real *g_sums,
                   const real *g_moves, const real *cx, const real *cz, const real *cy, const real *c_phi, real *gm,
                   real *gs, real *g_table, real *g_f, real *g_w, real *g_u, real *grads) {
    const integer count = F * K + 2 * F * F + 3 * F;
    PARALLEL {
        BEGIN
        real *a = own, *b = a + BLOCK * F, *c = b + BLOCK * F, *e = c + BLOCK * F, *g1 = e + BLOCK * F;
        real *g2 = g1 + F * K, *g3 = g2 + F * F, *d2 = g3 + F * F, *d3 = d2 + F, *d4 = d3 + F;
        real *sent = g1 + count;
        zero(g1, count + o->atoms * F);
        for (integer i = first; i < last; i++) zero(g_table + i * 2 * F, F);
        BLOCKS(start, n) {
            const real *xs = x + start * F, *zs = z + start * F, *ys = y ? y + start * F : 0;
            real *m = e, *s = e;
            const int moves = w3 && (g_moves || c_phi || cy);
            ROWS(r, n) {
                real *row = m + r * F;
                if (g_sums) memcpy(row, g_sums + o->receivers[start + r] * F, F * sizeof(real));
                else zero(row, F);
            }
            if (moves) {
                ROWS(r, n) {
                    const integer i = o->receivers[start + r];
                    const real *more = cy ? cy + (start + r) * F : 0;
                    real *row = a + r * F, g = c_phi ? c_phi[start + r] : 0;
                    if (g_moves)
                        for (int c = 0; c < 3; c++) {
                            const real q = -g_moves[i * 3 + c] / neighbours(o, i);
                            g += q * u[(start + r) * 3 + c];
                            g_u[(start + r) * 3 + c] = phi[start + r] * q;
                        }
                    EACH(k, F) {
                        const real v = ys[r * F + k], t = sigmoid(v);
                        row[k] = g * w4[k] * silu_slope(v, t);
                        if (grads) d4[k] += g * v * t;
                    }
                    if (more) EACH(k, F) row[k] += more[k];
                    if (grads) EACH(k, F) d3[k] += row[k];
                }
                times(n, F, F, a, w3, F, 1, m);
            }
            ROWS(r, n) {
                const real weight = w ? w[start + r] : 1, *more = cz ? cz + (start + r) * F : 0;
                const real *row = m + r * F;
                if (gm) keep(gm + (start + r) * F, row, F);
                real *out = b + r * F, *message = c + r * F, along = 0;
                _Pragma("omp simd reduction(+ : along)") for (integer k = 0; k < F; k++) {
                    const real v = zs[r * F + k], t = sigmoid(v);
                    along += row[k] * v * t;
                    out[k] = row[k] * weight * silu_slope(v, t);
                    message[k] = weight * v * t;
                }
                if (g_w) g_w[start + r] = along;
                if (more) EACH(k, F) out[k] += more[k];
                if (grads) EACH(k, F) d2[k] += out[k];
            }
            if (grads && moves) add_outer(n, F, F, a, c, g3);
            times(n, F, F, b, w2, F, 0, s);
            if (gs) ROWS(r, n) keep(gs + (start + r) * F, s + r * F, F);
            EACH(k, n * F) {
                const real v = xs[k], t = sigmoid(v);
                a[k] = s[k] * silu_slope(v, t);
                c[k] = v * t;
            }
            if (grads) add_outer(n, F, F, b, c, g2);
            if (cx) EACH(k, n * F) a[k] += cx[start * F + k];
            add_rows(o->receivers + start, n, F, a, g_table, 2 * F);
            add_rows(o->senders + start, n, F, a, sent, F);
            if (grads) add_outer(n, F, K, a, f + start * K, g1);
            if (g_f) times(n, F, K, a, w1, w1_stride, 0, g_f + start * K);
        }
#pragma omp barrier
        reduce_rows(work + 4 * BLOCK * F + count, stride, o->atoms, F, g_table + F, 2 * F);
        if (grads) reduce(work + 4 * BLOCK * F, stride, count, grads);
        END
    }
}

/* Backward of the gradient above: u_table (N, 2F), u_f (E, K) | null, u_w (E) | null and u_u (E, 3) | null are the
 * gradients of g_table, g_f, g_w and g_u.  cx, cz, cy (E, F), c_phi, c_w (E), c_u (E, 3): what flows back into x, z, y, φ,
 * w and u; c_sums (N, F) and c_moves (N, 3) into g_sums and g_moves; `grads` as above, those of the biases zero.  cx may
 * lie over gs and cz over gm. */
void egnn_second(const Order *o, integer F, integer K, int threads, real *work, integer stride, const real *w,
                 const real *w1, integer w1_stride, const real *w2, const real *w3, const real *w4, const real *u,
                 const real *x, const real *z, const real *y, const real *phi, const real *gm, const real *gs,
                 const real *g_moves, const real *u_table, const real *u_f, const real *u_w, const real *u_u, real *cx,
                 real *cz, real *cy, real *c_phi, real *c_w, real *c_u, real *c_sums, real *c_moves, real *grads) {
    const integer count = F * K + 2 * F * F + 3 * F;
    PARALLEL {
        BEGIN
        real *a = own, *b = a + BLOCK * F, *c = b + BLOCK * F, *g1 = c + BLOCK * F, *g2 = g1 + F * K, *g3 = g2 + F * F;
        real *d4 = g3 + F * F + 2 * F;
        zero(g1, count);
        zero(c_sums + first * F, (last - first) * F);
        if (w3) zero(c_moves + first * 3, (last - first) * 3);
        BLOCKS(start, n) {
            const real *xs = x + start * F, *zs = z + start * F, *ys = y ? y + start * F : 0;
            gather(o, start, n, F, u_table, 0, a);
            if (u_f) times_transposed(n, F, K, u_f + start * K, w1, w1_stride, 1, a);
            EACH(k, n * F) {
                const real v = xs[k], t = sigmoid(v), slope = silu_slope(v, t), g = gs[start * F + k], u = a[k];
                c[k] = g * slope;
                cx[start * F + k] = u * g * silu_curvature(v, t);
                a[k] = u * slope;
            }
            if (u_f) add_outer(n, F, K, c, u_f + start * K, g1);
            times_transposed(n, F, F, a, w2, F, 0, b);
            ROWS(r, n) {
                const real weight = w ? w[start + r] : 1, uw = u_w ? u_w[start + r] : 0;
                real *row = b + r * F, *sum = c_sums + o->receivers[start + r] * F, along = 0;
                _Pragma("omp simd reduction(+ : along)") for (integer k = 0; k < F; k++) {
                    const real v = zs[r * F + k], t = sigmoid(v), slope = silu_slope(v, t);
                    const real g = gm[(start + r) * F + k], u = row[k];
                    along += u * g * slope;
                    c[r * F + k] = g * weight * slope;
                    cz[(start + r) * F + k] = u * g * weight * silu_curvature(v, t) + uw * g * slope;
                    row[k] = u * weight * slope + uw * v * t;
                    sum[k] += row[k];
                }
                if (c_w) c_w[start + r] = along;
            }
            add_outer(n, F, F, c, a, g2);
            if (!w3) continue;
            times_transposed(n, F, F, b, w3, F, 0, a);
            ROWS(r, n) {
                const integer i = o->receivers[start + r];
                const real count = neighbours(o, i), *at = u + (start + r) * 3, *q = g_moves + i * 3;
                const real *uu = u_u ? u_u + (start + r) * 3 : 0;
                const real g = -(q[0] * at[0] + q[1] * at[1] + q[2] * at[2]) / count;
                real along = 0;
                _Pragma("omp simd reduction(+ : along)") for (integer k = 0; k < F; k++) {
                    const real v = ys[r * F + k], t = sigmoid(v), slope = silu_slope(v, t), u = a[r * F + k];
                    along += u * w4[k] * slope;
                    d4[k] += u * g * slope;
                    c[r * F + k] = g * w4[k] * slope;
                    cy[(start + r) * F + k] = u * g * w4[k] * silu_curvature(v, t);
                }
                c_phi[start + r] = uu ? -(q[0] * uu[0] + q[1] * uu[1] + q[2] * uu[2]) / count : 0;
                for (int c = 0; c < 3; c++) {
                    c_u[(start + r) * 3 + c] = -along * q[c] / count;
                    c_moves[i * 3 + c] -= (along * at[c] + (uu ? phi[start + r] * uu[c] : 0)) / count;
                }
            }
            add_outer(n, F, F, c, b, g3);
        }
#pragma omp barrier
        reduce(work + 3 * BLOCK * F, stride, count, grads);
        END
    }
}

/* ------------------------------------------------------------------------------------------------------ geometry */

/* What the distance d gives: Bessel functions f_n = sqrt(2) sin(n π d / cutoff) / d, n = 1 … K, and the envelope w, each
 * with two derivatives.  Recurrences in double, so that many functions are as exact as few. */
static void radial(integer K, double cutoff, double d, double *f, double *f1, double *f2) {
    const double turn = M_PI / cutoff, s1 = sin(turn * d), c1 = cos(turn * d);
    double s = s1, c = c1;
    for (integer n = 1; n <= K; n++) {
        const double a = n * turn, v = M_SQRT2 * s / d, slope = M_SQRT2 * a * c / d - v / d;
        f[n - 1] = v;
        if (f1) f1[n - 1] = slope;
        if (f2) f2[n - 1] = -a * a * v - 2 * slope / d;
        const double next = s * c1 + c * s1;
        c = c * c1 - s * s1;
        s = next;
    }
}
static double envelope(double cutoff, double d, double *w1, double *w2) {
    const double x = d / cutoff, x4 = x * x * x * x;
    *w1 = *w2 = 0;
    if (x >= 1) return 0;
    *w1 = x4 * x * (-168 + 336 * x - 168 * x * x) / cutoff;
    *w2 = x4 * (-840 + 2016 * x - 1176 * x * x) / (cutoff * cutoff);
    return 1 + x4 * x * x * (-28 + 48 * x - 21 * x * x);
}

#define MOST 256 /* radial functions */

/* f (E, K), w (E) | null, unit vectors u (E, 3) and distances d (E) of r_sender + shift - r_receiver */
void geometry_forward(const Order *o, integer F, integer K, int threads, real *work, integer stride, double cutoff,
                      const real *r, const real *shifts, real *f, real *w, real *u, real *d) {
    (void)F;
    PARALLEL {
        BEGIN
        (void)own;
        double value[MOST], w1, w2;
        for (integer e = o->offsets[first]; e < o->offsets[last]; e++) {
            real v[3], square = 0;
            for (int c = 0; c < 3; c++) {
                v[c] = r[o->senders[e] * 3 + c] - r[o->receivers[e] * 3 + c] + shifts[e * 3 + c];
                square += v[c] * v[c];
            }
            d[e] = sqrt(square);
            for (int c = 0; c < 3; c++) u[e * 3 + c] = v[c] / d[e];
            radial(K, cutoff, d[e], value, 0, 0);
            for (integer n = 0; n < K; n++) f[e * K + n] = value[n];
            if (w) w[e] = envelope(cutoff, d[e], &w1, &w2);
        }
        END
    }
}

/* add v to the sender's row of `sent` (N, 3) and take it from the receiver's row of g_r (N, 3) */
static void pull(const Order *o, integer e, const double *v, real *sent, real *g_r) {
    for (int c = 0; c < 3; c++) {
        sent[o->senders[e] * 3 + c] += v[c];
        g_r[o->receivers[e] * 3 + c] -= v[c];
    }
}

/* g_r (N, 3) from g_f, g_w | null, g_u | null.  work: 3 N for each thread. */
void geometry_backward(const Order *o, integer F, integer K, int threads, real *work, integer stride, double cutoff,
                       const real *u, const real *d, const real *g_f, const real *g_w, const real *g_u, real *g_r) {
    (void)F;
    PARALLEL {
        BEGIN
        double f[MOST], f1[MOST], w1, w2;
        zero(own, o->atoms * 3);
        zero(g_r + first * 3, (last - first) * 3);
        for (integer e = o->offsets[first]; e < o->offsets[last]; e++) {
            const real *a = u + e * 3, *g = g_u ? g_u + e * 3 : 0;
            double along = 0, v[3];
            if (g_f) {
                radial(K, cutoff, d[e], f, f1, 0);
                for (integer n = 0; n < K; n++) along += g_f[e * K + n] * f1[n];
            }
            if (g_w) {
                envelope(cutoff, d[e], &w1, &w2);
                along += g_w[e] * w1;
            }
            const double ag = g ? a[0] * g[0] + a[1] * g[1] + a[2] * g[2] : 0;
            for (int c = 0; c < 3; c++) v[c] = along * a[c] + (g ? (g[c] - a[c] * ag) / d[e] : 0);
            pull(o, e, v, own, g_r);
        }
#pragma omp barrier
        add_reduced(work, stride, o->atoms * 3, g_r);
        END
    }
}

/* Backward of the gradient above: c_r (N, 3) is the gradient of g_r.  What flows back into g_f, g_w, g_u and r. */
void geometry_second(const Order *o, integer F, integer K, int threads, real *work, integer stride, double cutoff,
                     const real *u, const real *d, const real *g_f, const real *g_w, const real *g_u, const real *c_r,
                     real *c_f, real *c_w, real *c_u, real *h_r) {
    (void)F;
    PARALLEL {
        BEGIN
        double f[MOST], f1[MOST], f2[MOST], w1, w2;
        zero(own, o->atoms * 3);
        zero(h_r + first * 3, (last - first) * 3);
        for (integer e = o->offsets[first]; e < o->offsets[last]; e++) {
            const real *a = u + e * 3, *g = g_u ? g_u + e * 3 : 0;
            double c[3], v[3], ca = 0, along = 0, curve = 0;
            for (int k = 0; k < 3; k++) {
                c[k] = c_r[o->senders[e] * 3 + k] - c_r[o->receivers[e] * 3 + k];
                ca += c[k] * a[k];
            }
            if (g_f) {
                radial(K, cutoff, d[e], f, f1, f2);
                for (integer n = 0; n < K; n++) {
                    along += g_f[e * K + n] * f1[n];
                    curve += g_f[e * K + n] * f2[n];
                    c_f[e * K + n] = ca * f1[n];
                }
            }
            if (g_w) {
                envelope(cutoff, d[e], &w1, &w2);
                along += g_w[e] * w1;
                curve += g_w[e] * w2;
                c_w[e] = ca * w1;
            }
            const double ag = g ? a[0] * g[0] + a[1] * g[1] + a[2] * g[2] : 0;
            const double cg = g ? c[0] * g[0] + c[1] * g[1] + c[2] * g[2] : 0, d1 = 1. / d[e];
            for (int k = 0; k < 3; k++) {
                const double across = (c[k] - ca * a[k]) * d1;
                v[k] = ca * curve * a[k] + along * across;
                if (!g) continue;
                c_u[e * 3 + k] = across;
                v[k] -= d1 * ((cg - ca * ag) * d1 * a[k] + across * ag + ca * (g[k] - a[k] * ag) * d1);
            }
            pull(o, e, v, own, h_r);
        }
#pragma omp barrier
        add_reduced(work, stride, o->atoms * 3, h_r);
        END
    }
}
