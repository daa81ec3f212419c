/* EGNN: messages and moves, with two derivatives. */

/* x = table + f w1^T, z = silu(x) w2^T + b2, messages m = w silu(z), y = m w3^T + b3, φ = silu(y) · w4; sums (N, F) of m
 * at the receivers, and moves (N, 3), the mean of -u φ with u (E, 3).  Without w3 (the last layer) no y, no φ and no
 * moves.  x, z, y (E, F) are kept where x is given. */
void egnn_forward(const Order *o, integer F, integer K, int threads, real *work, integer stride, const real *table,
                  const real *f, const real *w, const real *w1, integer w1_stride, const real *w2, const real *b2,
                  const real *w3, const real *b3, const real *w4, const real *u, real *x, real *z, real *y, real *phi,
                  real *sums, real *moves) {
    PARALLEL {
        BEGIN
        real *a = own, *b = own + BLOCK * F;
        const Turned turn = turned_weights(F, K, w1, w1_stride, w2, w3, own + stride);
        zero(sums + first * F, (last - first) * F);
        if (w3) zero(moves + first * 3, (last - first) * 3);
        BLOCKS(start, n) {
            gather(o, start, n, F, table, 0, a);
            times(n, K, F, f + start * K, turn.w1, F, 1, a);
            ROWS(r, n) {
                real *row = a + r * F;
                if (x) keep(x + (start + r) * F, row, F);
                EACH(k, F) row[k] = silu(row[k]);
            }
            times(n, F, F, a, turn.w2, F, 0, b);
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
            times(n, F, F, b, turn.w3, F, 0, a);
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
        const Turned turn = turned_weights(F, K, w1, w1_stride, w2, w3, own + stride);
        zero(g1, count);
        zero(c_sums + first * F, (last - first) * F);
        if (w3) zero(c_moves + first * 3, (last - first) * 3);
        BLOCKS(start, n) {
            const real *xs = x + start * F, *zs = z + start * F, *ys = y ? y + start * F : 0;
            gather(o, start, n, F, u_table, 0, a);
            if (u_f) times(n, K, F, u_f + start * K, turn.w1, F, 1, a);
            EACH(k, n * F) {
                const real v = xs[k], t = sigmoid(v), slope = silu_slope(v, t), g = gs[start * F + k], u = a[k];
                c[k] = g * slope;
                cx[start * F + k] = u * g * silu_curvature(v, t);
                a[k] = u * slope;
            }
            if (u_f) add_outer(n, F, K, c, u_f + start * K, g1);
            times(n, F, F, a, turn.w2, F, 0, b);
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
            times(n, F, F, b, turn.w3, F, 0, a);
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
