/* ForceNet: filters. */

/* filters p = MLP(h_i, h_j, f); sums (N, F) of w p source_j at the receivers.  z2 and p (E, F) are kept where given. */
void forcenet_forward(const Order *o, integer F, integer K, int threads, real *work, integer stride, const real *table,
                      const real *f, const real *w, const real *source, const real *w1, const real *w2, const real *b2,
                      const real *w3, const real *b3, real *z2, real *filters, real *sums) {
    PARALLEL {
        BEGIN
        real *a = own, *b = own + BLOCK * F;
        const Turned t = turned_weights(F, K, w1, K, w2, w3, own + stride);
        zero(sums + first * F, (last - first) * F);
        BLOCKS(start, n) {
            gather(o, start, n, F, table, 0, a);
            times(n, K, F, f + start * K, t.w1, F, 1, a);
            EACH(k, n * F) a[k] = silu(a[k]);
            times(n, F, F, a, t.w2, F, 0, b);
            ROWS(r, n) {
                real *row = b + r * F;
                EACH(k, F) row[k] += b2[k];
                if (z2) keep(z2 + (start + r) * F, row, F);
                EACH(k, F) row[k] = silu(row[k]);
            }
            times(n, F, F, b, t.w3, F, 0, a);
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
 * `grads`, twice N F for what goes to senders, and w1 turned.  g_f may be null. */
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
        const real *turned_w1 = turned(F, K, w1, K, own + stride - F * K);
        zero(g1, count + 2 * o->atoms * F);
        for (integer i = first; i < last; i++) zero(g_table + i * 2 * F, F);
        BLOCKS(start, n) {
            const real *x2 = z2 + start * F, *p = filters + start * F;
            gather(o, start, n, F, table, 0, d);
            times(n, K, F, f + start * K, turned_w1, F, 1, d);
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
