#include <inttypes.h>
#include <string.h>

#include "base/num.h"
#include "wire/yaml_priv.h"

static bool
is_one_of(const char *text, const char *const names[], size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(text, names[i]) == 0)
            return true;
    return false;
}

/* JSON's grammar of numbers. */
static bool
is_number(const char *at)
{
    static const char digits[] = "0123456789";

    if (*at == '-')
        at++;
    const size_t whole = strspn(at, digits);
    if (whole == 0 || (whole > 1 && *at == '0'))
        return false;
    at += whole;
    if (*at == '.') {
        const size_t part = strspn(++at, digits);
        if (part == 0)
            return false;
        at += part;
    }
    if (*at == 'e' || *at == 'E') {
        at++;
        if (*at == '+' || *at == '-')
            at++;
        const size_t part = strspn(at, digits);
        if (part == 0)
            return false;
        at += part;
    }
    return *at == '\0';
}

/* ---- YAML 1.1's own ---- */

static bool
is_word_of(const char *text, bool *ret)
{
    static const char *const trues[] = {"yes", "Yes", "YES", "on", "On", "ON", "y", "Y"};
    static const char *const falses[] = {"no", "No", "NO", "off", "Off", "OFF", "n", "N"};

    *ret = is_one_of(text, trues, sizeof trues / sizeof trues[0]);
    return *ret || is_one_of(text, falses, sizeof falses / sizeof falses[0]);
}

/* The digits' base by what they begin with, which is stepped over. */
static unsigned
base_of(const char **at)
{
    const char *text = *at;

    if (text[0] != '0' || text[1] == '\0')
        return 10;
    *at += 2;
    if (text[1] == 'x' || text[1] == 'X')
        return 16;
    if (text[1] == 'o' || text[1] == 'O')
        return 8;
    if (text[1] == 'b' || text[1] == 'B')
        return 2;
    *at -= 1;
    return 8;
}

struct whole {
    bool negative, octal; /* octal: by a nought in front alone */
    uint64_t size;
};

static bool
is_whole(const char *text, struct whole *ret)
{
    const char *at = text + (*text == '-' || *text == '+');
    const char *sign_end = at;
    const unsigned base = base_of(&at);

    *ret = (struct whole){.negative = *text == '-', .octal = base == 8 && at == sign_end + 1};
    if (*at == '\0')
        return false;
    for (; *at != '\0'; at++) {
        const int digit = berth_hex_digit(*at);
        if (digit < 0 || (unsigned)digit >= base ||
            __builtin_mul_overflow(ret->size, base, &ret->size) ||
            __builtin_add_overflow(ret->size, (unsigned)digit, &ret->size))
            return false;
    }
    return !ret->negative || ret->size <= (uint64_t)INT64_MAX + 1;
}

static bool
is_real(const char *text, double *ret)
{
    static const char digits[] = "0123456789";
    const char *at = text + (*text == '-' || *text == '+');
    const size_t whole = strspn(at, digits);

    at += whole;
    const size_t part = *at == '.' ? strspn(at + 1, digits) : 0;
    if (whole + part == 0)
        return false;
    at += *at == '.' ? part + 1 : 0;
    if (*at == 'e' || *at == 'E') {
        at += at[1] == '-' || at[1] == '+' ? 2 : 1;
        if (*at == '\0')
            return false;
        at += strspn(at, digits);
    }
    text += *text == '+';
    return *at == '\0' && berth_float_parse(text, strlen(text), ret);
}

enum { NUMBER_BYTES_MAX = 64 };

/* text without the underscores that YAML 1.1 allows; false: it is too long, or no number begins so.
 */
static bool
number_text(const char *text, char room[NUMBER_BYTES_MAX])
{
    size_t len = 0;

    if (*text == '\0' || strchr("+-.0123456789", *text) == NULL)
        return false;
    for (; *text != '\0'; text++) {
        if (*text == '_')
            continue;
        if (len + 1 == NUMBER_BYTES_MAX)
            return false;
        room[len++] = *text;
    }
    room[len] = '\0';
    return true;
}

/* A number of YAML that no value has: ".inf", or a whole one that is too large to be held exactly.
 */
static bool
is_beyond(const char *number, const double *real)
{
    static const char *const names[] = {".inf", ".Inf", ".INF"};
    static const char *const nans[] = {".nan", ".NaN", ".NAN"};

    if (real != NULL)
        return (*real > 9e18 || *real < -9e18) && strpbrk(number, ".eE") == NULL;
    return is_one_of(number, nans, sizeof nans / sizeof nans[0]) ||
           is_one_of(number + (*number == '-' || *number == '+'), names,
                     sizeof names / sizeof names[0]);
}

/* As kubectl reads it.  1: written; 0: it is a string; < 0: an error. */
static int
put_told(struct reader *r, const yaml_event_t *ev, const char *text, struct berth_err *e)
{
    const size_t line = ev->start_mark.line + 1, column = ev->start_mark.column + 1;
    char number[NUMBER_BYTES_MAX];
    struct whole whole;
    double real;
    bool yes;
    int rc = 0;

    if (is_word_of(text, &yes)) {
        berth_jw_bool(&r->out, yes);
        rc = yaml_note(r, line, column, "%s is read as %s: write %s, or '%s' for the word", text,
                       yes ? "true" : "false", yes ? "true" : "false", text);
        return rc != 0 ? yaml_no_memory(e) : 1;
    }
    if (!number_text(text, number))
        return 0;
    if (is_whole(number, &whole)) {
        const char *sign = whole.negative ? "-" : "";

        if (whole.negative)
            berth_jw_int(&r->out, (int64_t)(0 - whole.size));
        else
            berth_jw_uint(&r->out, whole.size);
        if ((whole.octal && whole.size > 7) || strchr(text, '_') != NULL)
            rc = yaml_note(r, line, column, "%.64s is read as %s%" PRIu64 "%s", text, sign,
                           whole.size, whole.octal ? ": a nought in front makes it octal" : "");
        return rc != 0 ? yaml_no_memory(e) : 1;
    }
    const bool is = is_real(number, &real);
    if (is_beyond(number, is ? &real : NULL)) {
        rc = yaml_note(r, line, column, "%.64s is read as a string: Kubernetes has no such number",
                       text);
        return rc != 0 ? yaml_no_memory(e) : 0;
    }
    if (!is)
        return 0;
    berth_jw_double(&r->out, real);
    return 1;
}

int
yaml_scalar(struct reader *r, const yaml_event_t *ev, struct berth_err *e)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
    static const char *const trues[] = {"true", "True", "TRUE"};
    static const char *const falses[] = {"false", "False", "FALSE"};
    struct berth_jw *w = &r->out;
    const char *text = (const char *)ev->data.scalar.value;
    const size_t len = ev->data.scalar.length;
    const char *tag = (const char *)ev->data.scalar.tag;
    const bool typed = ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && strlen(text) == len &&
                       (tag == NULL || strcmp(tag, YAML_STR_TAG) != 0);
    int rc = 0;

    if (typed && is_one_of(text, nulls, sizeof nulls / sizeof nulls[0]))
        berth_jw_null(w);
    else if (typed && is_one_of(text, trues, sizeof trues / sizeof trues[0]))
        berth_jw_bool(w, true);
    else if (typed && is_one_of(text, falses, sizeof falses / sizeof falses[0]))
        berth_jw_bool(w, false);
    else if (typed && r->notes == NULL && is_number(text))
        berth_jw_raw(w, text, len);
    else if (!typed || r->notes == NULL || (rc = put_told(r, ev, text, e)) == 0)
        berth_jw_string_n(w, text, len);
    return rc < 0 ? rc : 0;
}
