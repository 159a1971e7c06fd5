#include "wire/http1.h"

#include <llhttp.h>
#include <string.h>

#include <berth/err.h>

#include "base/num.h"

enum {
    EXTRA_BYTES_MAX = 16 * 1024, /* chunk extensions and trailers, together */
    CHUNK_DIGITS_MAX = 15,       /* hexadecimal: below 2^60 */
    LEADING_CRLF_MAX = 2,        /* empty lines before a request that old clients send */
};

static int
fault(struct berth_http1_fault *f, uint16_t status, const char *why)
{
    *f = (struct berth_http1_fault){.status = status, .why = why};
    return -BERTH_EINVAL;
}

/* One line of the head ends at at[lf].  Returns 0, or BERTH_HTTP1_END when it is the empty one. */
static int
end_line(struct berth_http1_find *f, const struct berth_http1_limits *limits, const char *at,
         size_t lf, struct berth_http1_fault *ret_fault)
{
    if (lf == f->line_start || at[lf - 1] != '\r')
        return fault(ret_fault, 400, "a line of the head ends without CR");
    bool empty = lf == f->line_start + 1;
    f->scanned = f->line_start = lf + 1;
    if (empty && f->lines == 0)
        return lf + 1 <= (size_t)2 * LEADING_CRLF_MAX
                   ? 0
                   : fault(ret_fault, 400, "empty lines where a request should begin");
    f->lines++;
    if (empty)
        return BERTH_HTTP1_END;
    if (f->lines > limits->header_count_max + 1)
        return fault(ret_fault, 431, "too many header lines");
    return 0;
}

int
berth_http1_find_head(struct berth_http1_find *f, const struct berth_http1_limits *limits,
                      const char *at, size_t len, size_t *ret_len,
                      struct berth_http1_fault *ret_fault)
{
    size_t end = len < limits->head_bytes_max ? len : limits->head_bytes_max;

    while (f->scanned < end) {
        const char *lf = memchr(at + f->scanned, '\n', end - f->scanned);
        size_t pos = lf != NULL ? (size_t)(lf - at) : end;
        if (f->line_start < pos && f->lines > 0 &&
            (at[f->line_start] == ' ' || at[f->line_start] == '\t'))
            return fault(ret_fault, 400, "a header line begins with a blank (folded lines)");
        if (lf == NULL) {
            f->scanned = end;
            break;
        }
        int r = end_line(f, limits, at, pos, ret_fault);
        if (r < 0)
            return r;
        if (r == BERTH_HTTP1_END) {
            *ret_len = pos + 1;
            return 0;
        }
    }
    if (f->lines == 0 && end - f->line_start > limits->url_bytes_max + 32)
        return fault(ret_fault, 414, "the URL is too long");
    if (len >= limits->head_bytes_max)
        return fault(ret_fault, f->lines == 0 ? 414 : 431, "the request's head is too long");
    return BERTH_HTTP1_MORE;
}

/* What llhttp's callbacks fill. */
struct parse {
    struct berth_http1_head *head;
    struct berth_slice url, name, value;
    char *at; /* the caller's bytes, which may be changed */
    bool complete;
};

static void
extend(struct berth_slice *s, const char *at, size_t len)
{
    if (s->at == NULL)
        s->at = at;
    s->len = (size_t)(at + len - s->at);
}

static int
on_url(llhttp_t *p, const char *at, size_t len)
{
    extend(&((struct parse *)p->data)->url, at, len);
    return 0;
}

static int
on_method(llhttp_t *p, const char *at, size_t len)
{
    extend(&((struct parse *)p->data)->head->method, at, len);
    return 0;
}

static int
on_name(llhttp_t *p, const char *at, size_t len)
{
    extend(&((struct parse *)p->data)->name, at, len);
    return 0;
}

static int
on_value(llhttp_t *p, const char *at, size_t len)
{
    extend(&((struct parse *)p->data)->value, at, len);
    return 0;
}

static int
on_value_complete(llhttp_t *p)
{
    struct parse *s = p->data;
    struct berth_slice v = s->value;

    if (s->head->header_count == s->head->header_room || s->name.len == 0)
        return HPE_USER;
    char *name = s->at + (s->name.at - s->at); /* the caller's bytes, which we may change */
    for (size_t i = 0; i < s->name.len; i++)
        if (name[i] >= 'A' && name[i] <= 'Z')
            name[i] = (char)(name[i] + ('a' - 'A'));
    while (v.len > 0 && (v.at[0] == ' ' || v.at[0] == '\t')) {
        v.at++;
        v.len--;
    }
    while (v.len > 0 && (v.at[v.len - 1] == ' ' || v.at[v.len - 1] == '\t'))
        v.len--;
    if (v.at == NULL)
        v.at = "";
    s->head->headers[s->head->header_count++] = (struct berth_header){s->name, v};
    s->name = s->value = (struct berth_slice){0};
    return 0;
}

static int
on_head_complete(llhttp_t *p)
{
    ((struct parse *)p->data)->complete = true;
    return HPE_PAUSED;
}

static const llhttp_settings_t parse_settings = {
    .on_url = on_url,
    .on_method = on_method,
    .on_header_field = on_name,
    .on_header_value = on_value,
    .on_header_value_complete = on_value_complete,
    .on_headers_complete = on_head_complete,
};

/* "/path?query", "http://host/path?query" or "*" into the head. */
static int
split_url(struct berth_slice url, struct berth_http1_head *head, struct berth_http1_fault *f)
{
    for (size_t i = 0; i < url.len; i++)
        if ((unsigned char)url.at[i] <= ' ' || (unsigned char)url.at[i] >= 0x7f)
            return fault(f, 400, "the URL holds a character that must be percent-encoded");
    const char *colon = memmem(url.at, url.len, "://", 3);
    if (url.len > 0 && url.at[0] != '/' && colon != NULL) {
        size_t skip = (size_t)(colon + 3 - url.at);
        struct berth_slice scheme = {url.at, skip - 3};
        if (!berth_slice_is_nocase(scheme, "http") && !berth_slice_is_nocase(scheme, "https"))
            return fault(f, 400, "the URL's scheme is neither http nor https");
        struct berth_slice rest = {url.at + skip, url.len - skip};
        size_t host = 0;
        while (host < rest.len && rest.at[host] != '/' && rest.at[host] != '?')
            host++;
        if (host == 0 || memchr(rest.at, '@', host) != NULL)
            return fault(f, 400, "the URL has no valid host");
        head->authority = (struct berth_slice){rest.at, host};
        url = (struct berth_slice){rest.at + host, rest.len - host};
        if (url.len == 0)
            url = BERTH_SLICE("/");
    } else if (url.len == 0 || (url.at[0] != '/' && !berth_slice_is(url, "*"))) {
        return fault(f, 400, "the URL must begin with a slash");
    }
    const char *hash = memchr(url.at, '#', url.len);
    if (hash != NULL)
        return fault(f, 400, "the URL holds a fragment");
    const char *mark = memchr(url.at, '?', url.len);
    head->path = (struct berth_slice){url.at, mark != NULL ? (size_t)(mark - url.at) : url.len};
    if (mark != NULL)
        head->query = (struct berth_slice){mark + 1, (size_t)(url.at + url.len - mark - 1)};
    if (head->path.len == 0)
        head->path = BERTH_SLICE("/");
    return 0;
}

/* Is the token in a comma-separated list? */
static bool
list_has(struct berth_slice list, const char *token)
{
    while (list.len > 0) {
        const char *comma = memchr(list.at, ',', list.len);
        struct berth_slice one = {list.at, comma != NULL ? (size_t)(comma - list.at) : list.len};
        list.at += one.len + (comma != NULL);
        list.len -= one.len + (comma != NULL);
        while (one.len > 0 && (one.at[0] == ' ' || one.at[0] == '\t')) {
            one.at++;
            one.len--;
        }
        while (one.len > 0 && (one.at[one.len - 1] == ' ' || one.at[one.len - 1] == '\t'))
            one.len--;
        if (berth_slice_is_nocase(one, token))
            return true;
    }
    return false;
}

/* What a host may consist of (RFC 3986): no blank, slash, at sign or comma that a proxy in front
 * could take for the end of the name. */
static bool
host_is_valid(struct berth_slice host)
{
    static const bool allowed[256] = {
        ['a' ... 'z'] = true, ['A' ... 'Z'] = true, ['0' ... '9'] = true, ['.'] = true,
        ['-'] = true,         [':'] = true,         ['['] = true,         [']'] = true,
        ['_'] = true,         ['%'] = true,         ['~'] = true,         ['!'] = true,
        ['$'] = true,         ['&'] = true,         ['\''] = true,        ['('] = true,
        [')'] = true,         ['*'] = true,         ['+'] = true,         [';'] = true,
        ['='] = true,
    };

    for (size_t i = 0; i < host.len; i++)
        if (!allowed[(unsigned char)host.at[i]])
            return false;
    return true;
}

/* How often the headers that frame a message were seen. */
struct framing {
    unsigned hosts, lengths, codings;
};

static int
take_host(struct berth_slice v, struct berth_http1_head *head, struct framing *seen,
          struct berth_http1_fault *f)
{
    if (seen->hosts++ > 0 || !host_is_valid(v))
        return fault(f, 400, "there must be one valid Host header");
    if (head->authority.len == 0)
        head->authority = v;
    return 0;
}

static int
take_expect(struct berth_slice v, struct berth_http1_head *head, struct framing *seen,
            struct berth_http1_fault *f)
{
    if (!berth_slice_is_nocase(v, "100-continue"))
        return fault(f, 417, "the only expectation that can be met is 100-continue");
    head->expect_continue = !head->http10;
    return 0;
}

static int
take_connection(struct berth_slice v, struct berth_http1_head *head, struct framing *seen,
                struct berth_http1_fault *f)
{
    if (list_has(v, "close"))
        head->keep_alive = false;
    else if (head->http10 && list_has(v, "keep-alive"))
        head->keep_alive = true;
    return 0;
}

static int
take_length(struct berth_slice v, struct berth_http1_head *head, struct framing *seen,
            struct berth_http1_fault *f)
{
    int64_t n;

    if (seen->lengths++ > 0 || v.len == 0 || v.at[0] == '-' ||
        !berth_int_parse(v.at, v.len, 0, INT64_MAX, &n))
        return fault(f, 400, "there must be one Content-Length, a decimal number");
    head->content_length = (uint64_t)n;
    return 0;
}

static int
take_coding(struct berth_slice v, struct berth_http1_head *head, struct framing *seen,
            struct berth_http1_fault *f)
{
    if (seen->codings++ > 0 || head->http10)
        return fault(f, 400, "Transfer-Encoding comes twice, or in HTTP/1.0");
    if (!berth_slice_is_nocase(v, "chunked"))
        return fault(f, 501, "the only transfer coding known is chunked");
    head->chunked = true;
    return 0;
}

/* The headers that say where a request ends and what becomes of the connection. */
static const struct {
    const char *name;
    size_t len;
    int (*take)(struct berth_slice v, struct berth_http1_head *head, struct framing *seen,
                struct berth_http1_fault *f);
} framing_headers[] = {
    {"host", 4, take_host},
    {"expect", 6, take_expect},
    {"connection", 10, take_connection},
    {"content-length", 14, take_length},
    {"transfer-encoding", 17, take_coding},
};

static int
take_header(const struct berth_header *h, struct berth_http1_head *head, struct framing *seen,
            struct berth_http1_fault *f)
{
    for (size_t i = 0; i < sizeof framing_headers / sizeof framing_headers[0]; i++)
        if (h->name.len == framing_headers[i].len &&
            memcmp(h->name.at, framing_headers[i].name, h->name.len) == 0)
            return framing_headers[i].take(h->value, head, seen, f);
    return 0;
}

static int
parse_fault(enum llhttp_errno err, struct berth_http1_fault *f)
{
    switch (err) {
    case HPE_INVALID_METHOD:
        return fault(f, 400, "the request does not begin with a known method");
    case HPE_INVALID_URL:
        return fault(f, 400, "the URL is malformed");
    case HPE_INVALID_VERSION:
        return fault(f, 505, "the version is not HTTP/1.0 or HTTP/1.1");
    case HPE_INVALID_CONTENT_LENGTH:
    case HPE_UNEXPECTED_CONTENT_LENGTH:
        return fault(f, 400, "Content-Length is malformed, repeated, or beside Transfer-Encoding");
    case HPE_INVALID_TRANSFER_ENCODING:
        return fault(f, 400, "Transfer-Encoding and Content-Length do not agree");
    default:
        return fault(f, 400, "the request's head is malformed");
    }
}

int
berth_http1_parse_head(char *at, size_t len, uint32_t url_bytes_max, struct berth_http1_head *head,
                       struct berth_http1_fault *ret_fault)
{
    struct parse s = {.head = head, .at = at};
    struct framing seen = {0};
    llhttp_t p;

    *head = (struct berth_http1_head){.headers = head->headers, .header_room = head->header_room};
    llhttp_init(&p, HTTP_REQUEST, &parse_settings);
    p.data = &s;
    enum llhttp_errno err = llhttp_execute(&p, at, len);
    if (s.url.len > url_bytes_max)
        return fault(ret_fault, 414, "the URL is too long");
    if (s.url.len > 0 && split_url(s.url, head, ret_fault) < 0)
        return -BERTH_EINVAL;
    if (err != HPE_PAUSED || !s.complete)
        return parse_fault(err, ret_fault);
    if (p.http_major != 1 || p.http_minor > 1)
        return fault(ret_fault, 505, "the version is not HTTP/1.0 or HTTP/1.1");
    if (p.method == HTTP_CONNECT)
        return fault(ret_fault, 501, "CONNECT is not offered");
    if (head->path.len == 0)
        return fault(ret_fault, 400, "the request has no URL");
    head->http10 = p.http_minor == 0;
    head->keep_alive = !head->http10;
    for (size_t i = 0; i < head->header_count; i++)
        if (take_header(&head->headers[i], head, &seen, ret_fault) < 0)
            return -BERTH_EINVAL;
    if (seen.hosts == 0 && !head->http10)
        return fault(ret_fault, 400, "there must be one valid Host header");
    if (seen.lengths > 0 && seen.codings > 0)
        return fault(ret_fault, 400, "Content-Length beside Transfer-Encoding");
    if (head->expect_continue && !head->chunked && head->content_length == 0)
        head->expect_continue = false;
    return 0;
}

enum chunk_state { SIZE, EXTENSION, SIZE_LF, DATA, DATA_CR, DATA_LF, TRAILER, TRAILER_LF, ENDED };

static int
chunk_size_byte(struct berth_http1_chunks *c, char b, struct berth_http1_fault *f)
{
    int hex = berth_hex_digit(b);

    if (hex >= 0) {
        if (++c->digits > CHUNK_DIGITS_MAX)
            return fault(f, 400, "a chunk's size is too large");
        c->left = c->left * 16 + (uint64_t)hex;
        return 0;
    }
    if (c->digits == 0 || (b != '\r' && b != ';'))
        return fault(f, 400, "a chunk's size is not a hexadecimal number");
    c->state = b == '\r' ? SIZE_LF : EXTENSION;
    return 0;
}

/* A byte of an extension or a trailer: looked at only for what could hide a line's end. */
static int
chunk_extra_byte(struct berth_http1_chunks *c, char b, struct berth_http1_fault *f)
{
    if (++c->extra_bytes > EXTRA_BYTES_MAX)
        return fault(f, 400, "chunk extensions or trailers are too long");
    if (b == '\r')
        c->state = c->state == EXTENSION ? SIZE_LF : TRAILER_LF;
    else if (((unsigned char)b < ' ' && b != '\t') || b == 0x7f)
        return fault(f, 400, "a control character in a chunk extension or trailer");
    else
        c->line_bytes++;
    return 0;
}

static int
chunk_line_end(struct berth_http1_chunks *c, char b, struct berth_http1_fault *f)
{
    if (b != (c->state == DATA_CR ? '\r' : '\n'))
        return fault(f, 400, "a chunk does not end with CR LF");
    switch (c->state) {
    case SIZE_LF:
        c->state = c->left > 0 ? DATA : TRAILER;
        c->line_bytes = 0;
        break;
    case DATA_CR:
        c->state = DATA_LF;
        break;
    case DATA_LF:
        c->state = SIZE;
        c->digits = 0;
        break;
    default: /* TRAILER_LF */
        c->state = c->line_bytes == 0 ? ENDED : TRAILER;
        c->line_bytes = 0;
        break;
    }
    return 0;
}

int
berth_http1_chunks_next(struct berth_http1_chunks *c, const char *at, size_t len, size_t *ret_used,
                        struct berth_slice *ret_data, struct berth_http1_fault *ret_fault)
{
    size_t i = 0;
    int r = 0;

    while (i < len && c->state != ENDED) {
        if (c->state == DATA) {
            size_t n = len - i < c->left ? len - i : (size_t)c->left;
            c->left -= n;
            if (c->left == 0)
                c->state = DATA_CR;
            *ret_data = (struct berth_slice){at + i, n};
            *ret_used = i + n;
            return BERTH_HTTP1_DATA;
        }
        if (c->state == SIZE)
            r = chunk_size_byte(c, at[i], ret_fault);
        else if (c->state == EXTENSION || c->state == TRAILER)
            r = chunk_extra_byte(c, at[i], ret_fault);
        else
            r = chunk_line_end(c, at[i], ret_fault);
        if (r < 0)
            return r;
        i++;
    }
    *ret_used = i;
    return c->state == ENDED ? BERTH_HTTP1_END : BERTH_HTTP1_MORE;
}

const char *
berth_http1_reason(uint16_t status)
{
    static const struct {
        uint16_t status;
        const char *reason;
    } reasons[] = {
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {206, "Partial Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {303, "See Other"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {411, "Length Required"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {416, "Range Not Satisfiable"},
        {417, "Expectation Failed"},
        {421, "Misdirected Request"},
        {422, "Unprocessable Content"},
        {424, "Failed Dependency"},
        {426, "Upgrade Required"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {499, "Client Closed Request"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
        {507, "Insufficient Storage"},
    };

    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "Status";
}
