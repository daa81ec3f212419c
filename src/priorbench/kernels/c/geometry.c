/* Distances and what is made of them, with two derivatives. */

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
#define COSINE 1 /* the other kind is the polynomial; as in ../geometry.py */
static double envelope(integer kind, double cutoff, double d, double *w1, double *w2) {
    const double x = d / cutoff, x4 = x * x * x * x, turn = M_PI / cutoff;
    *w1 = *w2 = 0;
    if (x >= 1) return 0;
    if (kind == COSINE) {
        *w1 = -turn * sin(turn * d) / 2;
        *w2 = -turn * turn * cos(turn * d) / 2;
        return (1 + cos(turn * d)) / 2;
    }
    *w1 = x4 * x * (-168 + 336 * x - 168 * x * x) / cutoff;
    *w2 = x4 * (-840 + 2016 * x - 1176 * x * x) / (cutoff * cutoff);
    return 1 + x4 * x * x * (-28 + 48 * x - 21 * x * x);
}

#define MOST 256 /* radial functions */

/* f (E, K), w (E) | null, unit vectors u (E, 3) and distances d (E) of r_sender + shift - r_receiver */
void geometry_forward(const Order *o, integer kind, integer K, int threads, real *work, integer stride, double cutoff,
                      const real *r, const real *shifts, real *f, real *w, real *u, real *d) {
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
            if (w) w[e] = envelope(kind, cutoff, d[e], &w1, &w2);
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
void geometry_backward(const Order *o, integer kind, integer K, int threads, real *work, integer stride, double cutoff,
                       const real *u, const real *d, const real *g_f, const real *g_w, const real *g_u, real *g_r) {
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
                envelope(kind, cutoff, d[e], &w1, &w2);
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
void geometry_second(const Order *o, integer kind, integer K, int threads, real *work, integer stride, double cutoff,
                     const real *u, const real *d, const real *g_f, const real *g_w, const real *g_u, const real *c_r,
                     real *c_f, real *c_w, real *c_u, real *h_r) {
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
                envelope(kind, cutoff, d[e], &w1, &w2);
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
