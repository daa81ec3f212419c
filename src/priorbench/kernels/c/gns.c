/* GNS: messages that are MLPs with LayerNorm. */

/* The hidden values of the n edges from `start` on: x1, x2 (n, F), y (n, F) = LayerNorm before gain and shift, and what
 * it divides by, as rate (n) = 1 / it.  With z1 they are kept in z1, z2 and normed (E, F) as well. */
static void gns_hidden(const Order *o, integer start, integer n, integer F, integer K, const real *table,
                       const real *bias, const real *e, Turned t, const real *b2, const real *b3, real *x1, real *x2,
                       real *y, real *rate, real *z1, real *z2, real *normed) {
    ROWS(r, n) soon(e + (start + r) * K, K);
    gather(o, start, n, F, table, bias, x1);
    times(n, K, F, e + start * K, t.w1, F, 1, x1);
    ROWS(r, n) {
        real *row = x1 + r * F;
        EACH(k, F) row[k] = row[k] > 0 ? row[k] : row[k] != row[k] ? row[k] : 0;
        if (z1) keep(z1 + (start + r) * F, row, F);
    }
    times(n, F, F, x1, t.w2, F, 0, x2);
    ROWS(r, n) {
        real *row = x2 + r * F;
        EACH(k, F) {
            const real v = row[k] + b2[k];
            row[k] = v > 0 ? v : v != v ? v : 0;
        }
        if (z1) keep(z2 + (start + r) * F, row, F);
    }
    times(n, F, F, x2, t.w3, F, 0, y);
    ROWS(r, n) {
        real *row = y + r * F, mean = 0, square = 0;
        _Pragma("omp simd reduction(+ : mean)") for (integer k = 0; k < F; k++) mean += row[k] += b3[k];
        mean /= F;
        _Pragma("omp simd reduction(+ : square)") for (integer k = 0; k < F; k++) {
            row[k] -= mean;
            square += row[k] * row[k];
        }
        rate[r] = 1 / sqrt(square / F + (real)1e-5);
        EACH(k, F) row[k] *= rate[r];
        if (z1) keep(normed + (start + r) * F, row, F);
    }
}

/* m = LayerNorm(MLP(h_i, h_j, e)); sums (N, F) of w m at the receivers; new_e = e + m, without a table (the encoder) m.
 * sums and new_e may be null.  Hidden values z1, z2, normed (E, F) and scale (E) are kept where z1 is given.  work: for
 * each thread BLOCK F rows three times, BLOCK, and the turned weights. */
void gns_forward(const Order *o, integer F, integer K, int threads, real *work, integer stride, const real *table,
                 const real *bias, const real *e, const real *w, const real *w1, integer w1_stride, const real *w2,
                 const real *b2, const real *w3, const real *b3, const real *gain, const real *shift, real *z1,
                 real *z2, real *normed, real *scale, real *sums, real *new_e) {
    PARALLEL {
        BEGIN
        real *x1 = own, *x2 = x1 + BLOCK * F, *y = x2 + BLOCK * F, *rates = y + BLOCK * F;
        const Turned t = turned_weights(F, K, w1, w1_stride, w2, w3, own + stride);
        if (sums) zero(sums + first * F, (last - first) * F);
        BLOCKS(start, n) {
            gns_hidden(o, start, n, F, K, table, bias, e, t, b2, b3, x1, x2, y, z1 ? scale + start : rates, z1, z2,
                       normed);
            ROWS(r, n) {
                const real *row = y + r * F, *old = e + (start + r) * K, weight = w ? w[start + r] : 1;
                real *sum = sums ? sums + o->receivers[start + r] * F : 0, *out = new_e ? new_e + (start + r) * F : 0;
                if (sum && out) EACH(k, F) {
                    const real m = gain[k] * row[k] + shift[k];
                    sum[k] += weight * m;
                    out[k] = old[k] + m;
                }
                else if (sum) EACH(k, F) sum[k] += weight * (gain[k] * row[k] + shift[k]);
                else EACH(k, F) out[k] = (table ? old[k] : 0) + gain[k] * row[k] + shift[k];
            }
        }
        END
    }
}

/* With `again` the hidden values are not given but computed again, for which table, bias, b2 and b3 are needed.
 * work: for each thread BLOCK F rows twice (with `again` five times, and BLOCK), then the gradients w1 (F, K), w2, w3
 * (F, F), b1, b2, b3, gain, shift (F), which are reduced into `grads` in that order, with g_table N F for what goes to
 * senders, and with `again` the turned weights.  g_sums, g_new and g_e may be null; a g_e that is g_new is added to. */
void gns_backward(const Order *o, integer F, integer K, int threads, real *work, integer stride, int again,
                  const real *table, const real *bias, const real *e, const real *w, const real *w1, integer w1_stride,
                  const real *w2, const real *b2, const real *w3, const real *b3, const real *gain, const real *z1,
                  const real *z2, const real *normed, const real *scale, const real *g_sums, const real *g_new,
                  real *g_table, real *g_e, real *grads) {
    const integer count = F * K + 2 * F * F + 5 * F, before_grads = again ? 5 * BLOCK * F + BLOCK : 2 * BLOCK * F;
    PARALLEL {
        BEGIN
        real *a = own, *b = a + BLOCK * F, *g1 = own + before_grads, *g2 = g1 + F * K, *g3 = g2 + F * F;
        real *d1 = g3 + F * F, *d2 = d1 + F, *d3 = d2 + F, *d_gain = d3 + F, *d_shift = d_gain + F;
        real *sent = g1 + count;
        const Turned t = again ? turned_weights(F, K, w1, w1_stride, w2, w3, own + stride) : (Turned){0};
        zero(g1, g_table ? count + o->atoms * F : count);
        if (g_table)
            for (integer i = first; i < last; i++) zero(g_table + i * 2 * F, F);
        BLOCKS(start, n) {
            const real *x1 = z1 + start * F, *x2 = z2 + start * F, *ys = normed + start * F, *rates = scale + start;
            if (again) {
                real *z1 = b + BLOCK * F, *z2 = z1 + BLOCK * F, *y = z2 + BLOCK * F, *rate = y + BLOCK * F;
                gns_hidden(o, start, n, F, K, table, bias, e, t, b2, b3, z1, z2, y, rate, 0, 0, 0);
                x1 = z1, x2 = z2, ys = y, rates = rate;
            }
            ROWS(r, n) {
                const real *y = ys + r * F, weight = w ? w[start + r] : 1, rate = rates[r];
                const real *sum = g_sums ? g_sums + o->receivers[start + r] * F : 0;
                const real *old = g_new ? g_new + (start + r) * F : 0;
                real *row = a + r * F, mean = 0, along = 0;
                soon(x2 + r * F, F);
                soon(x1 + r * F, F);
                soon(e + (start + r) * K, K);
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
            if (g_e) times(n, F, K, a, w1, w1_stride, g_e == g_new, g_e + start * K);
        }
#pragma omp barrier
        if (g_table) reduce_rows(work + before_grads + count, stride, o->atoms, F, g_table + F, 2 * F);
        reduce(work + before_grads, stride, count, grads);
        END
    }
}
