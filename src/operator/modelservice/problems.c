#include "operator/modelservice/problems.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <berth/err.h>

#include "base/arena.h"
#include "base/assert.h"
#include "merge/limits.h"
#include "merge/shape.h"
#include "wire/yaml.h"

enum { TEXT_MIB = 16 /* of wire/yaml.h and merge/shape.h */ };

/* Room for an error where there are warnings. */
static void
drop_warning(struct berth_msvc_problems *p)
{
    for (size_t i = p->count; i-- > 0;) {
        if (!p->at[i].warning)
            continue;
        memmove(&p->at[i], &p->at[i + 1], (p->count - i - 1) * sizeof p->at[0]);
        p->count--;
        return;
    }
}

static size_t
room(const struct berth_msvc_problems *p)
{
    return p->of_files ? BERTH_MSVC_PROBLEMS_ROOM : BERTH_MSVC_PROBLEMS_MAX;
}

/* May it be chosen again who is kept? */
static bool
may_choose(const struct berth_msvc_problems *p)
{
    return p->of_files && p->choices < BERTH_MSVC_CHOICES_MAX &&
           p->choosing_bytes < BERTH_MSVC_CHOOSING_BYTES;
}

bool
berth_msvc_has_room(const struct berth_msvc_problems *p, bool warning)
{
    if (warning && p->last[true].path != NULL)
        return false;
    if (p->count < room(p) || may_choose(p))
        return true;
    for (size_t i = 0; i < p->count && !warning; i++) {
        if (p->at[i].warning)
            return true;
    }
    return false;
}

static void
choose(struct berth_msvc_problems *p)
{
    size_t errors = 0;

    p->choices++;
    for (size_t i = 0; i < p->text_count; i++)
        p->choosing_bytes += p->texts[i].read.len + p->texts[i].written.len;
    berth_msvc_locate(p);
    berth_msvc_in_files(p);
    for (size_t i = 0; i < p->count; i++) {
        p->last[!p->at[i].warning].in = p->at[i].in;
        p->last[!p->at[i].warning].path = p->at[i].path;
        errors += !p->at[i].warning;
    }
    if (errors < BERTH_MSVC_PROBLEMS_MAX)
        p->last[true].path = NULL; /* one more takes the room of a warning */
}

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Of two elements of a list, or what is in them, the one that comes later. */
static bool
is_later(const char *path, const char *than)
{
    size_t i = 0;

    while (path[i] != '\0' && path[i] == than[i])
        i++;
    while (i > 0 && is_digit(path[i - 1]))
        i--;
    return i > 0 && path[i - 1] == '[' && is_digit(path[i]) && is_digit(than[i]) &&
           strtoul(path + i, NULL, 10) > strtoul(than + i, NULL, 10);
}

/* Is it behind all that are kept?  What is found in the order of its file is told apart so. */
static bool
is_too_late(const struct berth_msvc_problems *p, bool warning, const char *in, const char *path)
{
    return p->last[!warning].path != NULL && strcmp(p->last[!warning].in, in) == 0 &&
           is_later(path, p->last[!warning].path);
}

void
berth_msvc_one_more(struct berth_msvc_problems *p, bool warning)
{
    p->errors += !warning;
    p->warnings += warning;
}

/* text and path live as long as p. */
static struct berth_msvc_problem *
put(struct berth_msvc_problems *p, bool warning, const char *in, const char *path, const char *text)
{
    berth_msvc_one_more(p, warning);
    if (p->count == room(p) && may_choose(p))
        choose(p);
    if (p->count == room(p) && !warning)
        drop_warning(p);
    if (p->count == room(p))
        return NULL;
    struct berth_msvc_problem *ret = &p->at[p->count++];
    *ret = (struct berth_msvc_problem){
        .in = in, .path = path, .text = text, .warning = warning, .is_wrong = !warning};
    return ret;
}

static struct berth_msvc_problem *
add(struct berth_msvc_problems *p, bool warning, const char *in, const char *path, const char *fmt,
    va_list ap)
{
    char text[1024];

    if (p->is_full)
        return NULL;
    if (!berth_msvc_has_room(p, warning) || is_too_late(p, warning, in, path)) {
        berth_msvc_one_more(p, warning);
        return NULL;
    }
    (void)vsnprintf(text, sizeof text, fmt, ap);
    const char *kept = berth_arena_strdup(p->arena, text);
    const char *where = berth_arena_strdup(p->arena, path);
    if (kept != NULL && where != NULL)
        return put(p, warning, in, where, kept);
    berth_msvc_no_room(p, in, path);
    return NULL;
}

struct berth_msvc_problem *
berth_msvc_problem(struct berth_msvc_problems *p, bool warning, const char *in, const char *path,
                   const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    struct berth_msvc_problem *ret = add(p, warning, in, path, fmt, ap);
    va_end(ap);
    return ret;
}

void
berth_msvc_invalid(struct berth_msvc_problems *p, const char *in, const char *path, const char *fmt,
                   ...)
{
    va_list ap;

    va_start(ap, fmt);
    struct berth_msvc_problem *one = add(p, p->is_preview, in, path, fmt, ap);
    va_end(ap);
    if (one != NULL)
        one->is_wrong = true;
}

/* ---- the end of memory ---- */

static void
put_room(const struct berth_arena *a, char ret[static BERTH_MSVC_FULL_BYTES])
{
    const bool small = a->max_bytes < 1u << 20;

    (void)snprintf(
        ret, BERTH_MSVC_FULL_BYTES,
        "it takes more memory than there is for a ModelService and its base "
        "configuration (%zu %s in all, %d MiB for one document as text): make it smaller",
        small ? a->max_bytes : a->max_bytes >> 20, small ? "bytes" : "MiB", TEXT_MIB);
}

void
berth_msvc_no_room(struct berth_msvc_problems *p, const char *in, const char *path)
{
    if (p->is_full)
        return;
    const char *where = berth_arena_strdup(p->arena, path);
    put_room(p->arena, p->full);
    if (!berth_msvc_has_room(p, false))
        p->count--; /* of the others it is known how many there are */
    (void)put(p, false, in, where != NULL ? where : "", p->full);
    p->is_full = true;
}

int
berth_msvc_no_memory(const struct berth_arena *a, const char *what, struct berth_err *e)
{
    char text[BERTH_MSVC_FULL_BYTES];

    put_room(a, text);
    return berth_err_set(e, BERTH_ENOMEM, "%s%s%s", what, what[0] != '\0' ? ": " : "", text);
}

/* ---- the texts ---- */

const struct berth_msvc_text *
berth_msvc_find_text(const struct berth_msvc_problems *p, const char *in)
{
    for (size_t i = 0; i < p->text_count; i++) {
        if (strcmp(p->texts[i].in, in) == 0)
            return &p->texts[i];
    }
    return NULL;
}

struct berth_msvc_text *
berth_msvc_text_of(struct berth_msvc_problems *p, const char *in, struct berth_slice written)
{
    size_t i = 0;

    while (i < p->text_count && strcmp(p->texts[i].in, in) != 0)
        i++;
    /* There is room for all the names that there are. */
    berth_assert(i < sizeof p->texts / sizeof p->texts[0]);
    p->text_count += i == p->text_count;
    p->texts[i] = (struct berth_msvc_text){.in = in, .written = written, .read = written};
    return &p->texts[i];
}

/* ---- reading ---- */

/* The place that a parser's message begins with, "line 3, column 14: ...", and the rest. */
static const char *
take_place(const char *msg, struct berth_msvc_spot *ret)
{
    char *end = NULL;

    *ret = (struct berth_msvc_spot){0, 0};
    if (strncmp(msg, "line ", 5) != 0)
        return msg;
    const size_t line = strtoul(msg + 5, &end, 10);
    if (strncmp(end, ", column ", 9) != 0)
        return msg;
    const size_t column = strtoul(end + 9, &end, 10);
    if (strncmp(end, ": ", 2) != 0)
        return msg;
    *ret = (struct berth_msvc_spot){line, column};
    return end + 2;
}

/* What is missing at the end of a text is told of the line behind it: of its last one, then. */
static struct berth_msvc_spot
within(struct berth_slice text, struct berth_msvc_spot at)
{
    size_t lines = text.len > 0 && text.at[text.len - 1] != '\n';

    for (size_t i = 0; i < text.len; i++)
        lines += text.at[i] == '\n';
    return at.line > lines && lines > 0 ? (struct berth_msvc_spot){lines, 0} : at;
}

static void
set_spot(const struct berth_msvc_problems *p, struct berth_msvc_problem *to,
         struct berth_msvc_spot read)
{
    const struct berth_msvc_text *t = to != NULL ? berth_msvc_find_text(p, to->in) : NULL;

    if (to == NULL)
        return;
    const struct berth_msvc_spot at = t != NULL ? berth_msvc_spot_written(t, read) : read;
    to->line = at.line;
    to->column = at.column;
}

bool
berth_msvc_parse(struct berth_msvc_problems *p, const char *in, struct berth_slice text,
                 const struct berth_json **ret)
{
    struct berth_yaml_notes notes = {0};
    struct berth_msvc_spot at;
    struct berth_err why = {""};

    const int r = berth_yaml_parse_told(p->arena, text.at, text.len, ret, &notes, &why);
    if (r == -BERTH_ENOMEM) {
        berth_msvc_no_room(p, in, "");
        return false;
    }
    if (r < 0) {
        const char *msg = take_place(why.msg, &at);
        set_spot(p, berth_msvc_problem(p, false, in, "", "%s", msg), within(text, at));
        return false;
    }
    for (size_t i = 0; i < notes.count; i++)
        set_spot(p, berth_msvc_problem(p, true, in, "", "%s", notes.at[i].text),
                 (struct berth_msvc_spot){notes.at[i].line, notes.at[i].column});
    p->warnings += notes.beyond;
    return true;
}

const struct berth_json *
berth_msvc_shaped(struct berth_msvc_problems *p, const char *in, const struct berth_shape *shape,
                  const char *at, const struct berth_json *v)
{
    const bool of_service = strcmp(in, BERTH_MSVC_IN_SERVICE) == 0;
    const struct berth_shape_how how = {
        .prefix = at, .prunes = of_service, .is_whole = !of_service, .is_typed = of_service};
    struct berth_shape_problems found;
    const struct berth_json *ret = NULL;
    struct berth_err e;
    size_t told = 0;

    if (berth_shape_check(shape, v, &how, p->arena, &ret, &found, &e) < 0)
        return NULL;
    for (size_t i = 0; i < found.count; i++) {
        told += found.at[i].is_error;
        if (found.at[i].is_refused)
            berth_msvc_invalid(p, in, found.at[i].path, "%s", found.at[i].text);
        else
            berth_msvc_problem(p, !found.at[i].is_error, in, found.at[i].path, "%s",
                               found.at[i].text);
    }
    p->errors += found.errors - told;
    p->warnings += found.beyond - (found.errors - told);
    return ret;
}

/* What is wrong there, or with what it is in. */
static bool
is_told(const struct berth_msvc_problems *p, const char *in, const char *path)
{
    size_t within = strlen(path);

    while (within > 0 && path[within] != '.' && path[within] != '[')
        within--;
    for (size_t i = 0; i < p->count; i++) {
        const struct berth_msvc_problem *one = &p->at[i];
        if (one->is_wrong && strcmp(one->in, in) == 0 &&
            (strcmp(one->path, path) == 0 ||
             (strlen(one->path) == within && strncmp(one->path, path, within) == 0)))
            return true;
    }
    return false;
}

int
berth_msvc_limited(struct berth_msvc_problems *p, const char *in, const struct berth_limit *limits,
                   size_t count, const struct berth_json *v, struct berth_err *e)
{
    struct berth_shape_problems found;
    const int r = berth_limits_check(limits, count, v, p->arena, &found, e);
    size_t told = 0;

    if (r < 0)
        return r;
    for (size_t i = 0; i < found.count; i++) {
        const struct berth_shape_problem *one = &found.at[i];
        told += one->is_error;
        if (is_told(p, in, one->path))
            continue;
        if (one->is_error)
            berth_msvc_problem(p, false, in, one->path, "%s", one->text);
        else
            berth_msvc_invalid(p, in, one->path, "%s", one->text);
    }
    /* Of those beyond the stricter ones are as berth_msvc_invalid() has them. */
    p->errors += found.errors - told;
    *(p->is_preview ? &p->warnings : &p->errors) += found.beyond - (found.errors - told);
    return 0;
}

/* ---- lines ---- */

/* Some of the problems, and where they are in a text. */
struct some {
    struct berth_msvc_problem *of[BERTH_MSVC_PROBLEMS_ROOM];
    const char *paths[BERTH_MSVC_PROBLEMS_ROOM];
    struct berth_yaml_place places[BERTH_MSVC_PROBLEMS_ROOM];
    size_t count;
};
static_assert((int)BERTH_MSVC_PROBLEMS_ROOM <= (int)BERTH_YAML_PATHS_MAX, "one reading finds all");

static void
take(struct some *s, struct berth_msvc_problem *one, const char *path)
{
    s->of[s->count] = one;
    s->paths[s->count++] = path;
}

static void
find_places(struct some *s, struct berth_slice in)
{
    berth_yaml_places_near(in.at, in.len, s->paths, s->count, s->places);
}

static void
put_spot(struct berth_msvc_problem *to, struct berth_msvc_spot at)
{
    to->line = at.line;
    to->column = at.column;
}

static void
locate_in(struct berth_msvc_problems *p, const struct berth_msvc_text *t)
{
    struct some these = {.count = 0};

    for (size_t i = 0; i < p->count; i++) {
        struct berth_msvc_problem *one = &p->at[i];
        if (one->line == 0 && one->path[0] != '\0' && strcmp(one->in, t->in) == 0)
            take(&these, one, one->path);
    }
    find_places(&these, t->read);
    for (size_t i = 0; i < these.count; i++) {
        struct berth_msvc_problem *one = these.of[i];
        const struct berth_yaml_place *at = &these.places[i];
        put_spot(one,
                 one->value.at != NULL
                     ? berth_msvc_spot_in_value(t->written, at, one->value, one->within)
                     : berth_msvc_spot_written(t, (struct berth_msvc_spot){at->line, at->column}));
    }
}

void
berth_msvc_locate(struct berth_msvc_problems *p)
{
    for (size_t i = 0; i < p->text_count; i++)
        locate_in(p, &p->texts[i]);
}

/* What a child without a base configuration comes from. */
static const char *
cause_of(const char *key)
{
    static const char *const causes[][2] = {{"prefill", "spec.prefill"},
                                            {"decode", "spec.decode"},
                                            {"epp", "spec.endpointPicker"},
                                            {"", "spec.routing"}};
    size_t i = 0;

    while (strncmp(key, causes[i][0], strlen(causes[i][0])) != 0)
        i++;
    return causes[i][1];
}

/* Problems of keys that are not there: they are made without the base configuration. */
static void
to_service(const struct berth_msvc_problems *p, struct some *s)
{
    const struct berth_msvc_text *t = berth_msvc_find_text(p, BERTH_MSVC_IN_SERVICE);

    if (t == NULL)
        return;
    find_places(s, t->read);
    for (size_t i = 0; i < s->count; i++) {
        put_spot(s->of[i], (struct berth_msvc_spot){s->places[i].line, s->places[i].column});
        s->of[i]->in_service = true;
    }
}

/* Of keys, with their values in the ConfigMap's file. */
static void
to_file(const struct berth_msvc_problems *p, const struct berth_msvc_text *file, struct some *s,
        struct some *ret_others)
{
    find_places(s, file->written);
    for (size_t i = 0; i < s->count; i++) {
        struct berth_msvc_problem *one = s->of[i];
        const struct berth_msvc_text *t = berth_msvc_find_text(p, one->in);
        put_spot(one, berth_msvc_spot_in_value(
                          file->written, &s->places[i],
                          t != NULL ? t->written : (struct berth_slice){"", 0},
                          (struct berth_msvc_spot){t != NULL ? one->line : 0, one->column}));
        if (one->line == 0)
            take(ret_others, one, cause_of(one->in));
    }
}

static bool
is_after(const struct berth_msvc_problem *a, const struct berth_msvc_problem *b)
{
    if (a->in_service != b->in_service)
        return b->in_service;
    return a->line != b->line ? a->line > b->line : a->column > b->column;
}

/* Insertion keeps the order of those of one place; there are few. */
static void
put_in_order(struct berth_msvc_problems *p)
{
    for (size_t i = 1; i < p->count; i++) {
        const struct berth_msvc_problem one = p->at[i];
        size_t to = i;
        for (; to > 0 && is_after(&p->at[to - 1], &one); to--)
            p->at[to] = p->at[to - 1];
        p->at[to] = one;
    }
}

/* The first ones, errors before warnings; that memory ended is always told. */
static void
keep_first(struct berth_msvc_problems *p)
{
    size_t errors = 0, kept = 0;

    for (size_t i = 0; i < p->count; i++)
        errors += !p->at[i].warning;
    errors = errors < BERTH_MSVC_PROBLEMS_MAX ? errors : BERTH_MSVC_PROBLEMS_MAX;
    size_t warnings = BERTH_MSVC_PROBLEMS_MAX - errors;
    errors -= p->is_full;
    for (size_t i = 0; i < p->count; i++) {
        const struct berth_msvc_problem one = p->at[i];
        size_t *left = one.warning ? &warnings : &errors;
        const bool is_end = one.text == p->full;
        if (*left == 0 && !is_end)
            continue;
        *left -= !is_end;
        p->at[kept++] = one;
    }
    p->count = kept;
}

void
berth_msvc_in_files(struct berth_msvc_problems *p)
{
    const struct berth_msvc_text *file = berth_msvc_find_text(p, BERTH_MSVC_IN_BASE);
    char paths[BERTH_MSVC_PROBLEMS_ROOM][64];
    struct some in_file = {.count = 0}, others = {.count = 0};

    for (size_t i = 0; i < p->count; i++) {
        struct berth_msvc_problem *one = &p->at[i];
        if (one->is_placed)
            continue;
        one->is_placed = true;
        one->in_service = strcmp(one->in, BERTH_MSVC_IN_SERVICE) == 0;
        if (one->in_service || p->base_in_cluster)
            continue;
        if (file == NULL) {
            take(&others, one, cause_of(one->in));
        } else if (strcmp(one->in, BERTH_MSVC_IN_BASE) != 0) {
            (void)snprintf(paths[i], sizeof paths[i], "data.%s", one->in);
            take(&in_file, one, paths[i]);
        }
    }
    if (file != NULL)
        to_file(p, file, &in_file, &others);
    to_service(p, &others);
    for (size_t i = 0; i < p->count; i++) {
        if (p->at[i].line == 0 && (p->at[i].in_service || !p->base_in_cluster))
            p->at[i].line = 1; /* of all of it */
    }
    put_in_order(p);
    keep_first(p);
}
