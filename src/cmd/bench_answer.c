#include "cmd/bench_answer.h"

#include <string.h>
#include <strings.h>

#include "base/num.h"

void
berth_answer_init(struct berth_answer *a)
{
    a->part = BERTH_ANSWER_STATUS;
    a->status = 0;
    a->closes = a->has_length = a->has_chunks = false;
    a->left_bytes = 0;
    a->line_len = a->head_bytes = 0;
    a->stages.count = 0;
}

bool
berth_answer_is_whole(const struct berth_answer *a)
{
    return a->part == BERTH_ANSWER_WHOLE;
}

/* ---- lines ---- */

/* "HTTP/1.1 200 OK" */
static enum berth_answer_part
status_line(struct berth_answer *a)
{
    int64_t status;

    if (a->line_len < 12 || memcmp(a->line, "HTTP/1.", 7) != 0 || a->line[8] != ' ' ||
        (a->line_len > 12 && a->line[12] != ' ') ||
        !berth_int_parse(a->line + 9, 3, 100, 599, &status))
        return BERTH_ANSWER_WRONG;
    a->status = (uint16_t)status;
    a->closes = a->line[7] == '0';
    return BERTH_ANSWER_FIELDS;
}

/* Is word, in any case, one of a field's words between commas? */
static bool
has_word(const char *value, size_t len, const char *word)
{
    const size_t n = strlen(word);

    for (size_t at = 0; at < len;) {
        while (at < len && (value[at] == ' ' || value[at] == '\t' || value[at] == ','))
            at++;
        size_t end = at;
        while (end < len && value[end] != ',' && value[end] != ' ' && value[end] != '\t')
            end++;
        if (end - at == n && strncasecmp(value + at, word, n) == 0)
            return true;
        at = end;
    }
    return false;
}

/* What follows an empty line: by its fields, the body. */
static enum berth_answer_part
body_begin(struct berth_answer *a)
{
    if (a->status < 200) { /* an interim answer; the one that counts follows */
        const size_t head_bytes = a->head_bytes;
        berth_answer_init(a);
        a->head_bytes = head_bytes;
        return a->part;
    }
    if (a->status == 204 || a->status == 304)
        return BERTH_ANSWER_WHOLE;
    if (a->has_chunks)
        return BERTH_ANSWER_CHUNK_SIZE;
    if (a->has_length)
        return a->left_bytes > 0 ? BERTH_ANSWER_LENGTH : BERTH_ANSWER_WHOLE;
    a->closes = true;
    return BERTH_ANSWER_UNTIL_CLOSE;
}

static enum berth_answer_part
field_line(struct berth_answer *a)
{
    const char *colon = memchr(a->line, ':', a->line_len);

    if (a->line_len == 0)
        return body_begin(a);
    if (colon == NULL)
        return BERTH_ANSWER_WRONG;
    const size_t name_len = (size_t)(colon - a->line);
    const char *value = colon + 1;
    size_t len = a->line_len - name_len - 1;
    while (len > 0 && (*value == ' ' || *value == '\t')) {
        value++;
        len--;
    }
    while (len > 0 && (value[len - 1] == ' ' || value[len - 1] == '\t'))
        len--;
    if (name_len == 14 && strncasecmp(a->line, "content-length", 14) == 0) {
        int64_t n;
        if (!berth_int_parse(value, len, 0, INT64_MAX, &n))
            return BERTH_ANSWER_WRONG;
        a->has_length = true;
        a->left_bytes = (uint64_t)n;
    } else if (name_len == 17 && strncasecmp(a->line, "transfer-encoding", 17) == 0) {
        a->has_chunks = a->has_chunks || has_word(value, len, "chunked");
    } else if (name_len == 10 && strncasecmp(a->line, "connection", 10) == 0) {
        a->closes =
            (a->closes || has_word(value, len, "close")) && !has_word(value, len, "keep-alive");
    } else if (name_len == 13 && strncasecmp(a->line, "server-timing", 13) == 0) {
        berth_stages_parse(&a->stages, (struct berth_slice){value, len});
    }
    return BERTH_ANSWER_FIELDS;
}

/* A chunk's size, with an extension that nobody needs. */
static enum berth_answer_part
chunk_size_line(struct berth_answer *a)
{
    uint64_t size = 0;
    size_t at = 0;

    for (int digit; at < a->line_len && (digit = berth_hex_digit(a->line[at])) >= 0; at++) {
        if (size > UINT64_MAX >> 4)
            return BERTH_ANSWER_WRONG;
        size = size << 4 | (uint64_t)digit;
    }
    if (at == 0 || (at < a->line_len && memchr("; \t", a->line[at], 3) == NULL))
        return BERTH_ANSWER_WRONG;
    a->left_bytes = size;
    a->head_bytes = 0; /* the limit is on each head, not on how many chunks there are */
    return size > 0 ? BERTH_ANSWER_CHUNK : BERTH_ANSWER_TRAILER;
}

static enum berth_answer_part
line_end(struct berth_answer *a)
{
    if (a->line_len > 0 && a->line[a->line_len - 1] == '\r')
        a->line_len--;
    switch (a->part) {
    case BERTH_ANSWER_STATUS:
        return status_line(a);
    case BERTH_ANSWER_FIELDS:
        return field_line(a);
    case BERTH_ANSWER_CHUNK_SIZE:
        return chunk_size_line(a);
    case BERTH_ANSWER_CHUNK_END:
        return a->line_len == 0 ? BERTH_ANSWER_CHUNK_SIZE : BERTH_ANSWER_WRONG;
    case BERTH_ANSWER_TRAILER:
        return a->line_len == 0 ? BERTH_ANSWER_WHOLE : BERTH_ANSWER_TRAILER;
    case BERTH_ANSWER_LENGTH:
    case BERTH_ANSWER_UNTIL_CLOSE:
    case BERTH_ANSWER_CHUNK:
    case BERTH_ANSWER_WHOLE:
    case BERTH_ANSWER_WRONG:
        break;
    }
    return BERTH_ANSWER_WRONG;
}

/* ---- pieces ---- */

/* Bytes of the line that is being read; returns how many were taken. */
static size_t
take_line(struct berth_answer *a, const char *bytes, size_t len)
{
    const char *end = memchr(bytes, '\n', len);
    const size_t n = end != NULL ? (size_t)(end - bytes) : len;

    a->head_bytes += n;
    if (n > sizeof a->line - a->line_len || a->head_bytes > BERTH_ANSWER_HEAD_MAX) {
        a->part = BERTH_ANSWER_WRONG;
        return len;
    }
    memcpy(a->line + a->line_len, bytes, n);
    a->line_len += n;
    if (end == NULL)
        return n;
    a->head_bytes++;
    a->part = line_end(a);
    a->line_len = 0;
    return n + 1;
}

bool
berth_answer_feed(struct berth_answer *a, const char *bytes, size_t len)
{
    while (len > 0 && a->part != BERTH_ANSWER_WRONG) {
        size_t n = len;

        if (a->part == BERTH_ANSWER_WHOLE) { /* nobody asked for more */
            a->part = BERTH_ANSWER_WRONG;
        } else if (a->part == BERTH_ANSWER_LENGTH || a->part == BERTH_ANSWER_CHUNK) {
            n = len < a->left_bytes ? len : (size_t)a->left_bytes;
            a->left_bytes -= n;
            if (a->left_bytes == 0)
                a->part =
                    a->part == BERTH_ANSWER_CHUNK ? BERTH_ANSWER_CHUNK_END : BERTH_ANSWER_WHOLE;
        } else if (a->part != BERTH_ANSWER_UNTIL_CLOSE) {
            n = take_line(a, bytes, len);
        }
        bytes += n;
        len -= n;
    }
    return a->part != BERTH_ANSWER_WRONG;
}

bool
berth_answer_end(struct berth_answer *a)
{
    if (a->part == BERTH_ANSWER_UNTIL_CLOSE)
        a->part = BERTH_ANSWER_WHOLE;
    return a->part == BERTH_ANSWER_WHOLE;
}
