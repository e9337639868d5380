/* The hot path of the benchmark's sinks, as a shared library: drink request bodies and data sets, and count truly.
 *
 * build: cc -O2 -shared -fPIC -o drain.so drain.c -lz -lpthread     (sinks/draining.py does it)
 *
 * HTTP: `conn_serve` keeps a connection and answers every POST to /services/import itself; any other request it hands to
 * the caller. Of each instance only the first bytes are copied to user space and read (UIDs, series number); the rest is
 * dropped in the kernel (MSG_TRUNC). A tar is walked header by header; a zip is kept until its central directory is
 * there, and of each entry only the beginning is inflated; a gzip is inflated whole, as a server would have to.
 * DICOM: `store_serve` drinks the data sets of one association after the caller has negotiated it. */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#define HEAD 4096
#define UID 68

typedef struct { char study[UID], series[UID], instance[UID], number[16]; int session; long size; } Record;
typedef struct { char project[80], subject[80], label[80], study[UID]; int direct; } Session;

static struct { double rate; int delay_us, close_after; } conf;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Record *records;
static long n_records, cap_records;
static Session sessions[4096];
static int n_sessions;
static long n_requests, n_body, n_connections, n_unreadable, n_pdus;

void sink_configure(double rate, int delay_us, int close_after) {
    conf.rate = rate; conf.delay_us = delay_us; conf.close_after = close_after;
}
void sink_reset(void) {
    pthread_mutex_lock(&lock);
    n_records = n_sessions = n_requests = n_body = n_connections = n_unreadable = n_pdus = 0;
    pthread_mutex_unlock(&lock);
}
/* requests, body bytes, connections, records, bytes of the instances, instances that could not be read, PDUs */
void sink_counts(long out[7]) {
    pthread_mutex_lock(&lock);
    long size = 0;
    for (long i = 0; i < n_records; i++) size += records[i].size;
    long all[7] = { n_requests, n_body, n_connections, n_records, size, n_unreadable, n_pdus };
    memcpy(out, all, sizeof all);
    pthread_mutex_unlock(&lock);
}
int sink_sessions(void) { return n_sessions; }
const Session *sink_session(int i) { return &sessions[i]; }
long sink_listing(char *out, long size) {             /* a line for each instance; returns the length, 0 without room */
    pthread_mutex_lock(&lock);
    long n = 0;
    for (long i = 0; i < n_records && n >= 0; i++) {
        Record *r = &records[i];
        if (size - n < (long)sizeof *r + 64) n = -1;
        else n += sprintf(out + n, "%d\t%s\t%s\t%s\t%s\t%ld\n", r->session, r->study, r->series, r->number, r->instance, r->size);
    }
    pthread_mutex_unlock(&lock);
    return n < 0 ? 0 : n;
}
static void add(const Record *r) {
    pthread_mutex_lock(&lock);
    if (n_records == cap_records) records = realloc(records, (cap_records = cap_records ? 2 * cap_records : 1024) * sizeof *records);
    records[n_records++] = *r;
    pthread_mutex_unlock(&lock);
}

/* the link */

static void throttle(long n) {
    static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER; static double due;
    if (conf.rate <= 0) return;
    struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t);
    double now = t.tv_sec + t.tv_nsec / 1e9, wait;
    pthread_mutex_lock(&m);
    if (due < now) due = now;
    due += n / conf.rate; wait = due - now;
    pthread_mutex_unlock(&m);
    if (wait > 0.0005) usleep(wait * 1e6);
}
static long step(long n) { long most = conf.rate > 0 ? 1 << 16 : 1 << 22; return n < most ? n : most; }

typedef struct { int fd, served; char *buf; long cap, pos, end; } Conn;

static long take(Conn *c, void *p, long n) {          /* at most n bytes, from the buffer first */
    long have = c->end - c->pos;
    if (have) {
        if (have > n) have = n;
        memcpy(p, c->buf + c->pos, have); c->pos += have;
        return have;
    }
    long k = recv(c->fd, p, step(n), 0);
    if (k > 0) throttle(k);
    return k;
}
static long drop(Conn *c, long n) {                   /* at most n bytes, unseen */
    long have = c->end - c->pos;
    if (have) { if (have > n) have = n; c->pos += have; return have; }
    long k = recv(c->fd, NULL, step(n), MSG_TRUNC);
    if (k > 0) throttle(k);
    return k;
}
static int send_all(int fd, const char *p, long n) {
    while (n) { long k = send(fd, p, n, MSG_NOSIGNAL); if (k <= 0) return 0; p += k; n -= k; }
    return 1;
}
static int fill(Conn *c) {
    if (c->pos == c->end) c->pos = c->end = 0;
    if (c->end == c->cap) { memmove(c->buf, c->buf + c->pos, c->end - c->pos); c->end -= c->pos; c->pos = 0; }
    if (c->end == c->cap) return 0;
    long k = recv(c->fd, c->buf + c->end, c->cap - c->end, 0);
    if (k <= 0) return 0;
    c->end += k;
    return 1;
}

/* a request body: of known length, or chunked */

typedef struct Body Body;
struct Body { Conn *c; int chunked, ended; long left, total; };

static char *line(Conn *c) {
    for (long off = 0;;) {
        char *s = c->buf + c->pos, *e = memchr(s + off, '\n', c->end - c->pos - off);
        if (e) { c->pos = e + 1 - c->buf; *e = 0; if (e > s && e[-1] == '\r') e[-1] = 0; return s; }
        off = c->end - c->pos;
        if (!fill(c)) return NULL;
    }
}
static int more(Body *b) {                            /* is there something left to read? */
    if (b->left) return 1;
    if (!b->chunked || b->ended) return 0;
    char *l = line(b->c);
    if (l && !*l) l = line(b->c);                     /* the end of the chunk before */
    b->left = l ? strtol(l, NULL, 16) : 0;
    if (!b->left) { b->ended = 1; while ((l = line(b->c)) && *l); }
    return b->left > 0;
}
static long body_get(Body *b, void *p, long n) {      /* exactly n, unless the body ends */
    long got = 0;
    while (got < n && more(b)) {
        long k = take(b->c, (char *)p + got, n - got < b->left ? n - got : b->left);
        if (k <= 0) { b->left = 0; b->ended = 1; b->chunked = 1; return -1; }
        got += k; b->left -= k; b->total += k;
    }
    return got;
}
static int body_skip(Body *b, long n) {
    while (n && more(b)) {
        long k = drop(b->c, n < b->left ? n : b->left);
        if (k <= 0) { b->left = 0; b->ended = 1; b->chunked = 1; return 0; }
        n -= k; b->left -= k; b->total += k;
    }
    return n == 0;
}

/* what stands in the beginning of an instance: explicit little endian, which is what the benchmark generates */

static unsigned u16(const uint8_t *p) { return p[0] | p[1] << 8; }
static uint32_t u32(const uint8_t *p) { return u16(p) | (uint32_t)u16(p + 2) << 16; }
static void text(char *out, int cap, const uint8_t *v, uint32_t n) {
    if ((int)n >= cap) n = cap - 1;
    memcpy(out, v, n); out[n] = 0;
    while (n && (out[n - 1] == ' ' || !out[n - 1])) out[--n] = 0;
}
static int dicom(const uint8_t *b, long n, Record *r) {
    if (n < 140 || memcmp(b + 128, "DICM", 4)) return 0;
    for (long p = 132; p + 8 <= n;) {
        uint32_t tag = u16(b + p) << 16 | u16(b + p + 2), len;
        const uint8_t *vr = b + p + 4;
        int wide = memchr("OSU", vr[0], 3) && (!memcmp(vr, "OB", 2) || !memcmp(vr, "OW", 2) || !memcmp(vr, "SQ", 2) || !memcmp(vr, "UN", 2) || !memcmp(vr, "UT", 2));
        if (wide) { if (p + 12 > n) break; len = u32(b + p + 8); p += 12; } else { len = u16(b + p + 6); p += 8; }
        if (tag > 0x00200011 || len > n - p) break;
        if (tag == 0x00080018) text(r->instance, UID, b + p, len);
        else if (tag == 0x0020000D) text(r->study, UID, b + p, len);
        else if (tag == 0x0020000E) text(r->series, UID, b + p, len);
        else if (tag == 0x00200011) text(r->number, sizeof r->number, b + p, len);
        p += len;
    }
    return r->instance[0] && r->series[0] && r->study[0];
}
static int note(int session, const uint8_t *head, long n, long size) {
    Record r = { .session = session, .size = size };
    if (!dicom(head, n, &r)) { pthread_mutex_lock(&lock); n_unreadable++; pthread_mutex_unlock(&lock); return 0; }
    if (!sessions[session].study[0]) strcpy(sessions[session].study, r.study);
    add(&r);
    return 1;
}

/* tar, from the wire or through gzip */

typedef struct { Body *b; int gz; z_stream z; uint8_t in[1 << 16]; int done; } Source;

static long src_get(Source *s, void *p, long n) {
    if (!s->gz) return body_get(s->b, p, n);
    s->z.next_out = p; s->z.avail_out = n;
    while (s->z.avail_out && !s->done) {
        if (!s->z.avail_in) {
            long want = s->b->chunked ? (long)sizeof s->in : s->b->left, k;
            if (want > (long)sizeof s->in) want = sizeof s->in;
            if (want <= 0 || (k = body_get(s->b, s->in, want)) <= 0) break;
            s->z.next_in = s->in; s->z.avail_in = k;
        }
        int r = inflate(&s->z, Z_NO_FLUSH);
        if (r != Z_OK && r != Z_BUF_ERROR) s->done = 1;
    }
    return n - s->z.avail_out;
}
static int src_skip(Source *s, long n) {
    if (!s->gz) return body_skip(s->b, n);
    static __thread uint8_t waste[1 << 16];
    while (n > 0) { long k = src_get(s, waste, n < (long)sizeof waste ? n : (long)sizeof waste); if (k <= 0) return 0; n -= k; }
    return 1;
}
static int tar(Source *s, int session, uint8_t *first, long have) {
    uint8_t h[512], head[HEAD]; int files = 0;
    memcpy(h, first, have);
    if (src_get(s, h + have, 512 - have) != 512 - have) return files;
    while (h[0]) {
        long size = 0;
        if (h[124] & 0x80) for (int i = 125; i < 136; i++) size = size << 8 | h[i];
        else size = strtol((char *)h + 124, NULL, 8);
        long padded = (size + 511) / 512 * 512, n = size < HEAD ? size : HEAD;
        if ((h[156] == '0' || !h[156]) && size) {
            if (src_get(s, head, n) != n) return files;
            files += note(session, head, n, size);
            if (!src_skip(s, padded - n)) return files;
        } else if (!src_skip(s, padded)) return files;
        if (src_get(s, h, 512) != 512) return files;
    }
    return files;
}

/* zip: kept until its end is there, because only the central directory says where entries are */

static int zip(Body *b, int session, uint8_t *first, long have) {
    long cap = (b->chunked ? 1 << 22 : b->left) + have + 16, n = have, k; int files = 0;
    uint8_t *d = malloc(cap);
    memcpy(d, first, have);
    while ((k = body_get(b, d + n, cap - n)) > 0) { n += k; if (n == cap) d = realloc(d, cap *= 2); }
    for (long e = n - 22; e >= 0 && e > n - 66000; e--) {
        if (memcmp(d + e, "PK\5\6", 4)) continue;
        long p = u32(d + e + 16); int count = u16(d + e + 10);
        for (int i = 0; i < count && p + 46 <= n && !memcmp(d + p, "PK\1\2", 4); i++) {
            int method = u16(d + p + 10); uint32_t packed = u32(d + p + 20), size = u32(d + p + 24), at = u32(d + p + 42);
            p += 46 + u16(d + p + 28) + u16(d + p + 30) + u16(d + p + 32);
            if (!size || (long)at + 30 > n) continue;
            uint8_t *data = d + at + 30 + u16(d + at + 26) + u16(d + at + 28), head[HEAD];
            if (data + packed > d + n) continue;
            long got = size < HEAD ? size : HEAD;
            if (method == 0) memcpy(head, data, got);
            else {
                z_stream z = { .next_in = data, .avail_in = packed, .next_out = head, .avail_out = got };
                if (inflateInit2(&z, -15) != Z_OK) continue;
                inflate(&z, Z_SYNC_FLUSH); got -= z.avail_out; inflateEnd(&z);
            }
            files += note(session, head, got, size);
        }
        break;
    }
    free(d);
    return files;
}

/* one import */

static void parameter(const char *query, const char *name, char *out, int cap) {
    int n = strlen(name); out[0] = 0;
    for (const char *p = query; p && *p; p = strchr(p, '&') ? strchr(p, '&') + 1 : NULL) {
        if (strncmp(p, name, n) || p[n] != '=') continue;
        const char *v = p + n + 1; int k = strcspn(v, "& ");
        if (k >= cap) k = cap - 1;
        memcpy(out, v, k); out[k] = 0;
        return;
    }
}
static int session_for(const char *query) {
    Session s = { 0 }; char direct[8], dest[256], *p;
    parameter(query, "PROJECT_ID", s.project, sizeof s.project); parameter(query, "SUBJECT_ID", s.subject, sizeof s.subject);
    parameter(query, "EXPT_LABEL", s.label, sizeof s.label); parameter(query, "Direct-Archive", direct, sizeof direct);
    if (!s.project[0]) parameter(query, "project", s.project, sizeof s.project);
    if (!s.subject[0]) parameter(query, "subject", s.subject, sizeof s.subject);
    if (!s.label[0]) parameter(query, "session", s.label, sizeof s.label);
    parameter(query, "dest", dest, sizeof dest);
    if (!s.project[0] && (p = strstr(dest, "projects"))) snprintf(s.project, sizeof s.project, "%.*s", (int)strcspn(p + 9, "/%&"), p + 9);
    s.direct = !strcmp(direct, "true");
    pthread_mutex_lock(&lock);
    int i = 0;
    while (i < n_sessions && (strcmp(sessions[i].project, s.project) || strcmp(sessions[i].label, s.label))) i++;
    if (i == n_sessions && n_sessions < 4095) sessions[n_sessions++] = s;
    pthread_mutex_unlock(&lock);
    return i;
}
static int import(Conn *c, const char *query, Body *b) {
    int session = session_for(query), files = 0;
    uint8_t first[512]; long n = body_get(b, first, 512);
    if (n >= 4 && !memcmp(first, "PK\3\4", 4)) files = zip(b, session, first, n);
    else if (n >= 2 && first[0] == 0x1f && first[1] == 0x8b) {
        Source *s = calloc(1, sizeof *s); s->b = b; s->gz = 1;
        memcpy(s->in, first, n); s->z.next_in = s->in; s->z.avail_in = n;
        inflateInit2(&s->z, 31); files = tar(s, session, first, 0); inflateEnd(&s->z); free(s);
    } else if (n == 512 && !memcmp(first + 257, "ustar", 5)) {
        Source s; s.b = b; s.gz = 0; files = tar(&s, session, first, n);
    } else if (n > 0) {
        uint8_t head[HEAD]; memcpy(head, first, n);
        long k = n == 512 ? body_get(b, head + n, HEAD - n) : 0, had = n + (k > 0 ? k : 0);
        while (body_skip(b, 1L << 40) && more(b));
        files = note(session, head, had, b->total);
    }
    while (more(b)) body_skip(b, 1L << 40);
    pthread_mutex_lock(&lock); n_requests++; n_body += b->total; pthread_mutex_unlock(&lock);
    if (conf.delay_us) usleep((useconds_t)conf.delay_us * (files ? files : 1));
    Session *s = &sessions[session]; char uri[512] = "", answer[1024];
    if (files && s->direct) snprintf(uri, sizeof uri, "/xapi/direct-archive/%s/%s/%s\r\n", s->project, s->study, s->label);
    else if (files) snprintf(uri, sizeof uri, "/data/prearchive/projects/%s/20240105_%09d/%s\r\n", s->project, session, s->label);
    c->served++;
    int last = conf.close_after && c->served >= conf.close_after;
    int k = snprintf(answer, sizeof answer, "HTTP/1.1 200 OK\r\nContent-Type: text/uri-list\r\n%sContent-Length: %zu\r\n\r\n%s", last ? "Connection: close\r\n" : "", strlen(uri), uri);
    return send_all(c->fd, answer, k) && !last;
}
Conn *conn_new(int fd) {
    Conn *c = calloc(1, sizeof *c); int one = 1;
    c->fd = fd; c->cap = 1 << 17; c->buf = malloc(c->cap);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    pthread_mutex_lock(&lock); n_connections++; pthread_mutex_unlock(&lock);
    return c;
}
void conn_free(Conn *c) { free(c->buf); free(c); }

/* Answers imports until another request comes; copies its head to `out` and returns its length, 0 at the end. */
int conn_serve(Conn *c, char *out, int cap) {
    for (;;) {
        char *e;
        while (!(e = memmem(c->buf + c->pos, c->end - c->pos, "\r\n\r\n", 4))) if (!fill(c)) return 0;
        char *h = c->buf + c->pos; int n = e + 4 - h;
        if (n >= cap) return 0;
        memcpy(out, h, n); out[n] = 0; c->pos += n;
        char *path = strchr(out, ' ');
        char *at = path ? strstr(path, "/services/import") : NULL;
        if (strncmp(out, "POST ", 5) && strncmp(out, "PUT ", 4)) at = NULL;
        if (!at || at > strchr(out, '\n')) return n;
        Body b = { .c = c };
        for (char *l = strchr(out, '\n') + 1; *l; l = strchr(l, '\n') + 1) {
            if (!strncasecmp(l, "content-length:", 15)) b.left = atol(l + 15);
            else if (!strncasecmp(l, "transfer-encoding:", 18)) b.chunked = 1;
            else if (!strncasecmp(l, "content-type: multipart/", 24)) return n;
            else if (!strncasecmp(l, "expect:", 7) && !send_all(c->fd, "HTTP/1.1 100 Continue\r\n\r\n", 25)) return 0;
        }
        char *query = strchr(at, '?'), *end = strchr(at, ' ');
        if (!import(c, query && query < end ? query + 1 : "", &b)) return 0;
    }
}
long conn_read(Conn *c, char *out, long n) {
    long got = 0;
    while (got < n) { long k = take(c, out + got, n - got); if (k <= 0) break; got += k; }
    return got;
}
int conn_write(Conn *c, const char *p, long n) { return send_all(c->fd, p, n); }

/* DICOM: P-DATA of one negotiated association, until it is released */

static int need(Conn *c, long n) {
    if (c->pos + n > c->cap) { memmove(c->buf, c->buf + c->pos, c->end - c->pos); c->end -= c->pos; c->pos = 0; }
    while (c->end - c->pos < n) if (!fill(c)) return 0;
    return 1;
}
static uint32_t b32(const uint8_t *p) { return (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3]; }
static void p32(uint8_t *o, uint32_t v) { o[0] = v >> 24; o[1] = v >> 16; o[2] = v >> 8; o[3] = v; }
static uint8_t *element(uint8_t *o, unsigned e, const void *v, unsigned n) {
    unsigned pad = n & 1;
    o[0] = o[1] = 0; o[2] = e; o[3] = e >> 8; o[4] = n + pad; o[5] = (n + pad) >> 8; o[6] = o[7] = 0;
    memcpy(o + 8, v, n); if (pad) o[8 + n] = 0;
    return o + 8 + n + pad;
}
typedef struct { unsigned field, id, dataset, cn, in; char class[UID], instance[UID]; } Command;

static int respond(Conn *c, int context, const Command *m) {
    uint8_t b[512], *d = b + 12, *o = d + 12, v[4] = { 0 };
    o = element(o, 0x0002, m->class, m->cn);
    v[0] = m->field; v[1] = 0x80; o = element(o, 0x0100, v, 2);
    v[0] = m->id; v[1] = m->id >> 8; o = element(o, 0x0120, v, 2);
    v[0] = v[1] = 1; o = element(o, 0x0800, v, 2);
    v[0] = v[1] = 0; o = element(o, 0x0900, v, 2);
    if (m->in) o = element(o, 0x1000, m->instance, m->in);
    uint32_t g = o - d - 12; v[0] = g; v[1] = g >> 8; element(d, 0x0000, v, 4);
    uint32_t n = o - d;
    b[0] = 4; b[1] = 0; p32(b + 2, n + 6); p32(b + 6, n + 2); b[10] = context; b[11] = 3;
    return send_all(c->fd, (char *)b, o - b);
}
static void command(Command *m, const uint8_t *p, long n) {
    memset(m, 0, sizeof *m); m->dataset = 0x101;
    for (const uint8_t *e = p + n; p + 8 <= e;) {
        unsigned tag = u16(p + 2); uint32_t k = u32(p + 4); const uint8_t *v = p + 8;
        if (tag == 0x0100) m->field = u16(v); else if (tag == 0x0110) m->id = u16(v); else if (tag == 0x0800) m->dataset = u16(v);
        else if (tag == 0x0002 && k < UID) memcpy(m->class, v, m->cn = k);
        else if (tag == 0x1000 && k < UID) memcpy(m->instance, v, m->in = k);
        p = v + k;
    }
}
/* 1 = released by the peer, 0 = broken off */
int store_serve(Conn *c) {
    uint8_t cmd[2048]; long have = 0, size = 0; Command m = { 0 };
    while (need(c, 6)) {
        uint8_t *h = (uint8_t *)c->buf + c->pos; unsigned type = h[0]; long left = b32(h + 2); c->pos += 6;
        if (type == 5) { if (!need(c, left)) return 0; c->pos += left; return send_all(c->fd, "\6\0\0\0\0\4\0\0\0\0", 10); }
        if (type != 4) return 0;
        pthread_mutex_lock(&lock); n_pdus++; pthread_mutex_unlock(&lock);
        while (left >= 6) {
            if (!need(c, 6)) return 0;
            uint8_t *p = (uint8_t *)c->buf + c->pos; long n = b32(p) - 2; int context = p[4], kind = p[5];
            c->pos += 6; left -= 6 + n;
            if (kind & 1) {
                if (have + n > (long)sizeof cmd || !need(c, n)) return 0;
                memcpy(cmd + have, c->buf + c->pos, n); c->pos += n; have += n;
                if (!(kind & 2)) continue;
                command(&m, cmd, have); have = size = 0;
                if (m.dataset == 0x101 && !respond(c, context, &m)) return 0;
            } else {
                for (long rest = n; rest;) { long k = drop(c, rest); if (k <= 0) return 0; rest -= k; }
                size += n;
                if (!(kind & 2)) continue;
                if (conf.delay_us) usleep(conf.delay_us);
                Record r = { .session = -1, .size = size };
                memcpy(r.instance, m.instance, UID);
                add(&r);
                if (!respond(c, context, &m)) return 0;
            }
        }
    }
    return 0;
}
