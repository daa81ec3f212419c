/* PaiNN: messages.
 *
 * An edge's share of Σ_i ⟨cs_i, Δs_i⟩ + ⟨cv_i, Δv_i⟩ is linear in each of the sender's table P (N, 3F), the filters
 * Q (E, 3F), the directions d (E, 3), the sender's vectors v (N, 3, F), cs (N, F) and cv (N, 3, F):
 *
 *     cs P1 Q1 + ⟨cv, d⟩ P2 Q2 + ⟨cv, v⟩ P3 Q3
 *
 * The gradients are this with one factor left out, and the gradients of those with two.  v is null where it is zero. */

/* sums (N, F) and vectors (N, 3, F) at the receivers */
void painn_forward(const Order *o, integer F, integer K, int threads, real *work, integer stride, const real *P,
                   const real *Q, const real *d, const real *v, real *sums, real *vectors) {
    (void)K;
    PARALLEL {
        BEGIN
        (void)own;
        zero(sums + first * F, (last - first) * F);
        zero(vectors + first * 3 * F, (last - first) * 3 * F);
        for (integer e = o->offsets[first]; e < o->offsets[last]; e++) {
            const integer i = o->receivers[e], j = o->senders[e];
            const real *p = P + j * 3 * F, *q = Q + e * 3 * F, *vj = v + j * 3 * F;
            const real dx = d[e * 3], dy = d[e * 3 + 1], dz = d[e * 3 + 2];
            real *s = sums + i * F, *x = vectors + i * 3 * F, *y = x + F, *z = y + F;
            EACH(k, F) {
                s[k] += p[k] * q[k];
                const real along = p[F + k] * q[F + k];
                x[k] += dx * along;
                y[k] += dy * along;
                z[k] += dz * along;
            }
            if (v) EACH(k, F) {
                const real scale = p[2 * F + k] * q[2 * F + k];
                x[k] += scale * vj[k];
                y[k] += scale * vj[F + k];
                z[k] += scale * vj[2 * F + k];
            }
        }
        END
    }
}

/* Gradients of P, Q, d and v.  work: for each thread 3 N F, and with v twice that, for what goes to senders. */
void painn_backward(const Order *o, integer F, integer K, int threads, real *work, integer stride, const real *P,
                    const real *Q, const real *d, const real *v, const real *cs, const real *cv, real *gP, real *gQ,
                    real *gd, real *gv) {
    (void)K;
    const integer size = o->atoms * 3 * F;
    PARALLEL {
        BEGIN
        zero(own, v ? 2 * size : size);
        for (integer e = o->offsets[first]; e < o->offsets[last]; e++) {
            const integer i = o->receivers[e], j = o->senders[e];
            const real *p = P + j * 3 * F, *q = Q + e * 3 * F, *vj = v + j * 3 * F;
            const real dx = d[e * 3], dy = d[e * 3 + 1], dz = d[e * 3 + 2];
            const real *s = cs + i * F, *x = cv + i * 3 * F, *y = x + F, *z = y + F;
            real *to = own + j * 3 * F, *to_v = own + size + j * 3 * F, *g = gQ + e * 3 * F;
            real gx = 0, gy = 0, gz = 0;
            _Pragma("omp simd reduction(+ : gx, gy, gz)")
            for (integer k = 0; k < F; k++) {
                to[k] += s[k] * q[k];
                g[k] = s[k] * p[k];
                const real a = x[k] * dx + y[k] * dy + z[k] * dz, along = p[F + k] * q[F + k];
                to[F + k] += a * q[F + k];
                g[F + k] = a * p[F + k];
                gx += x[k] * along;
                gy += y[k] * along;
                gz += z[k] * along;
            }
            gd[e * 3] = gx;
            gd[e * 3 + 1] = gy;
            gd[e * 3 + 2] = gz;
            if (!v) {
                zero(g + 2 * F, F);
                continue;
            }
            EACH(k, F) {
                const real b = x[k] * vj[k] + y[k] * vj[F + k] + z[k] * vj[2 * F + k];
                const real scale = p[2 * F + k] * q[2 * F + k];
                to[2 * F + k] += b * q[2 * F + k];
                g[2 * F + k] = b * p[2 * F + k];
                to_v[k] += x[k] * scale;
                to_v[F + k] += y[k] * scale;
                to_v[2 * F + k] += z[k] * scale;
            }
        }
#pragma omp barrier
        reduce_rows(work, stride, o->atoms, 3 * F, gP, 3 * F);
        if (v) reduce_rows(work + size, stride, o->atoms, 3 * F, gv, 3 * F);
        END
    }
}

/* Backward of those gradients: uP, uQ, ud, uv are the gradients of gP, gQ, gd, gv.  What flows back into P, Q, d, v,
 * cs and cv.  work as above. */
void painn_second(const Order *o, integer F, integer K, int threads, real *work, integer stride, const real *P,
                  const real *Q, const real *d, const real *v, const real *cs, const real *cv, const real *uP,
                  const real *uQ, const real *ud, const real *uv, real *hP, real *hQ, real *hd, real *hv, real *hs,
                  real *hx) {
    (void)K;
    const integer size = o->atoms * 3 * F;
    PARALLEL {
        BEGIN
        zero(own, v ? 2 * size : size);
        zero(hs + first * F, (last - first) * F);
        zero(hx + first * 3 * F, (last - first) * 3 * F);
        for (integer e = o->offsets[first]; e < o->offsets[last]; e++) {
            const integer i = o->receivers[e], j = o->senders[e];
            const real *p = P + j * 3 * F, *q = Q + e * 3 * F, *vj = v + j * 3 * F;
            const real *up = uP + j * 3 * F, *uq = uQ + e * 3 * F, *uvj = uv + j * 3 * F;
            const real dx = d[e * 3], dy = d[e * 3 + 1], dz = d[e * 3 + 2];
            const real ux = ud[e * 3], uy = ud[e * 3 + 1], uz = ud[e * 3 + 2];
            const real *s = cs + i * F, *x = cv + i * 3 * F, *y = x + F, *z = y + F;
            real *to = own + j * 3 * F, *to_v = own + size + j * 3 * F, *h = hQ + e * 3 * F;
            real *back_s = hs + i * F, *bx = hx + i * 3 * F, *by = bx + F, *bz = by + F;
            real gx = 0, gy = 0, gz = 0;
            EACH(k, F) {
                to[k] += s[k] * uq[k];
                h[k] = s[k] * up[k];
                back_s[k] += up[k] * q[k] + p[k] * uq[k];
            }
            p += F, q += F, up += F, uq += F;
            _Pragma("omp simd reduction(+ : gx, gy, gz)")
            for (integer k = 0; k < F; k++) {
                const real a = x[k] * dx + y[k] * dy + z[k] * dz, u = x[k] * ux + y[k] * uy + z[k] * uz;
                const real along = p[k] * q[k], turned = up[k] * q[k] + p[k] * uq[k];
                to[F + k] += u * q[k] + a * uq[k];
                h[F + k] = u * p[k] + a * up[k];
                gx += x[k] * turned;
                gy += y[k] * turned;
                gz += z[k] * turned;
                bx[k] += ux * along + dx * turned;
                by[k] += uy * along + dy * turned;
                bz[k] += uz * along + dz * turned;
            }
            hd[e * 3] = gx;
            hd[e * 3 + 1] = gy;
            hd[e * 3 + 2] = gz;
            if (!v) {
                zero(h + 2 * F, F);
                continue;
            }
            p += F, q += F, up += F, uq += F;
            EACH(k, F) {
                const real b = x[k] * vj[k] + y[k] * vj[F + k] + z[k] * vj[2 * F + k];
                const real u = x[k] * uvj[k] + y[k] * uvj[F + k] + z[k] * uvj[2 * F + k];
                const real scale = p[k] * q[k], turned = up[k] * q[k] + p[k] * uq[k];
                to[2 * F + k] += u * q[k] + b * uq[k];
                h[2 * F + k] = u * p[k] + b * up[k];
                to_v[k] += x[k] * turned;
                to_v[F + k] += y[k] * turned;
                to_v[2 * F + k] += z[k] * turned;
                bx[k] += uvj[k] * scale + vj[k] * turned;
                by[k] += uvj[F + k] * scale + vj[F + k] * turned;
                bz[k] += uvj[2 * F + k] * scale + vj[2 * F + k] * turned;
            }
        }
#pragma omp barrier
        reduce_rows(work, stride, o->atoms, 3 * F, hP, 3 * F);
        if (v) reduce_rows(work + size, stride, o->atoms, 3 * F, hv, 3 * F);
        END
    }
}
