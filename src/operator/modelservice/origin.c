#include "operator/modelservice/origin.h"

#include <stdbool.h>
#include <string.h>

#include "wire/yaml.h"

static bool
begins_character(char c)
{
    return ((unsigned char)c & 0xc0) != 0x80;
}

static size_t
characters(const char *text, size_t len)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++)
        n += begins_character(text[i]);
    return n;
}

/* How many bytes the first `count` characters have; SIZE_MAX: there are fewer. */
static size_t
bytes_of(struct berth_slice line, size_t count)
{
    for (size_t i = 0; i <= line.len; i++) {
        if (i == line.len || begins_character(line.at[i])) {
            if (count == 0)
                return i;
            count--;
        }
    }
    return SIZE_MAX;
}

/* The first line of rest, without its end, and rest behind it. */
static struct berth_slice
take_line(struct berth_slice *rest)
{
    const char *end = rest->len > 0 ? memchr(rest->at, '\n', rest->len) : NULL;
    struct berth_slice line = {rest->at, end != NULL ? (size_t)(end - rest->at) : rest->len};

    rest->at += line.len + (end != NULL);
    rest->len -= line.len + (end != NULL);
    if (line.len > 0 && line.at[line.len - 1] == '\r')
        line.len--;
    return line;
}

static struct berth_slice
line_at(struct berth_slice text, size_t line)
{
    struct berth_slice got = {"", 0};

    for (size_t i = 0; i < line; i++) {
        if (text.len == 0)
            return (struct berth_slice){"", 0};
        got = take_line(&text);
    }
    return got;
}

static struct berth_slice
trimmed(struct berth_slice s)
{
    for (; s.len > 0 && (*s.at == ' ' || *s.at == '\t'); s.len--)
        s.at++;
    while (s.len > 0 && (s.at[s.len - 1] == ' ' || s.at[s.len - 1] == '\t'))
        s.len--;
    return s;
}

struct berth_msvc_spot
berth_msvc_spot_of(struct berth_slice text, size_t at)
{
    struct berth_msvc_spot ret = {1, 1};
    size_t begin = 0;

    if (at > text.len)
        at = text.len;
    for (size_t i = 0; i < at; i++) {
        if (text.at[i] == '\n') {
            ret.line++;
            begin = i + 1;
        }
    }
    ret.column += characters(text.at + begin, at - begin);
    return ret;
}

struct berth_msvc_spot
berth_msvc_spot_written(const struct berth_msvc_text *t, struct berth_msvc_spot read)
{
    if (t->lines == NULL || read.line == 0)
        return read;
    if (t->line_count == 0)
        return (struct berth_msvc_spot){0, 0};
    const bool behind = read.line > t->line_count;
    struct berth_msvc_spot ret = {t->lines[(behind ? t->line_count : read.line) - 1], 0};
    const struct berth_slice was = line_at(t->written, ret.line), is = line_at(t->read, read.line);
    const size_t before = read.column > 0 ? bytes_of(is, read.column - 1) : SIZE_MAX;
    if (!behind && before <= was.len && memcmp(was.at, is.at, before) == 0)
        ret.column = read.column;
    return ret;
}

/* ---- values within a document ---- */

/* Is this source line part of that line of the value: all of it, or its beginning? */
static bool
is_part(struct berth_slice source, struct berth_slice of)
{
    source = trimmed(source);
    if (source.len == 0)
        return false;
    if (source.len >= of.len)
        return memmem(source.at, source.len, of.at, of.len) != NULL;
    return memcmp(source.at, of.at, source.len) == 0;
}

/* Lines of a value that were folded or escaped are looked for among those of the document, one
 * after the other. */
static size_t
search_line(struct berth_slice document, const struct berth_yaml_place *at,
            struct berth_slice value, size_t line)
{
    enum { LOOKS_MAX = 100000 };
    struct berth_slice rest = document, source = {"", 0};
    size_t found = at->value_line, looks = 0;

    for (size_t i = 0; i < found; i++)
        source = take_line(&rest);
    for (size_t i = 0; i < line && value.len > 0; i++) {
        const struct berth_slice wanted = trimmed(take_line(&value));
        struct berth_slice ahead = rest, one = source;
        for (size_t at_line = found; wanted.len > 0; at_line++) {
            if (is_part(one, wanted)) {
                found = at_line;
                rest = ahead;
                source = one;
                break;
            }
            if (at_line >= at->value_end || ++looks > LOOKS_MAX)
                break;
            one = take_line(&ahead);
        }
    }
    return found;
}

/* Where in its source line a line of the value begins, in characters from 0 and not before `from`
 * bytes; SIZE_MAX: it is written otherwise there. */
static size_t
begins_at(struct berth_slice source, struct berth_slice line, size_t from)
{
    const char *found;

    if (line.len == 0 || from > source.len || line.len > source.len - from)
        return SIZE_MAX;
    if (memcmp(source.at + source.len - line.len, line.at, line.len) == 0)
        return characters(source.at, source.len - line.len);
    found = memmem(source.at + from, source.len - from, line.at, line.len);
    return found != NULL ? characters(source.at, (size_t)(found - source.at)) : SIZE_MAX;
}

/* A line of the value that was folded: follow it over its source lines as far as the spot is. */
static struct berth_msvc_spot
follow_folds(struct berth_slice document, const struct berth_yaml_place *at,
             struct berth_slice line, struct berth_msvc_spot spot, size_t column)
{
    const size_t off = bytes_of(line, column - 1);
    size_t done = line.len - trimmed(line).len;

    while (off != SIZE_MAX && off >= done) {
        const struct berth_slice whole = line_at(document, spot.line);
        const size_t from = spot.line == at->value_line ? bytes_of(whole, at->value_column)
                                                        : 0; /* past the quote */
        if (from > whole.len)
            break;
        const struct berth_slice source =
            trimmed((struct berth_slice){whole.at + from, whole.len - from});
        if (source.len > line.len - done || memcmp(source.at, line.at + done, source.len) != 0)
            break;
        if (off < done + source.len) {
            spot.column = characters(whole.at, (size_t)(source.at - whole.at) + off - done) + 1;
            break;
        }
        if (spot.line == at->value_end)
            break;
        done += source.len + 1;
        spot.line++;
    }
    return spot;
}

struct berth_msvc_spot
berth_msvc_spot_in_value(struct berth_slice document, const struct berth_yaml_place *at,
                         struct berth_slice value, struct berth_msvc_spot in)
{
    if (in.line == 0 || at->value_line == 0)
        return (struct berth_msvc_spot){at->line, at->column};
    struct berth_msvc_spot ret = {.line = at->literal ? at->value_line + in.line
                                          : at->value_line == at->value_end
                                              ? at->value_line
                                              : search_line(document, at, value, in.line)};
    const struct berth_slice source = line_at(document, ret.line), line = line_at(value, in.line);
    const size_t from = ret.line == at->value_line ? bytes_of(source, at->value_column - 1) : 0;
    const size_t before = begins_at(source, line, from);
    if (in.column > 0 && before != SIZE_MAX)
        ret.column = before + in.column;
    else if (in.column > 0 && !at->literal)
        ret = follow_folds(document, at, line, ret, in.column);
    return ret;
}
