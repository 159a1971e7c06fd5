#ifndef BERTH_CONF_PRIV_H
#define BERTH_CONF_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "conf/conf.h"

/* A row of the table: one setting. */
enum berth_conf_type {
    BERTH_CONF_INT,     /* int64_t */
    BERTH_CONF_FLOAT,   /* double */
    BERTH_CONF_BOOL,    /* bool */
    BERTH_CONF_STRING,  /* const char * */
    BERTH_CONF_STRINGS, /* struct berth_conf_strings */
    BERTH_CONF_INTS,    /* struct berth_conf_ints */
    BERTH_CONF_MAP,     /* const struct berth_json *, an object */
    BERTH_CONF_MODELS,  /* struct berth_conf_models */
};

enum {
    BERTH_CONF_LIVE = 1u << 0,   /* takes effect at SIGHUP */
    BERTH_CONF_SECRET = 1u << 1, /* never shown */
    BERTH_CONF_NULL = 1u << 2,   /* null is a value: no string, or the number 0 */
    BERTH_CONF_INERT = 1u << 3,  /* accepted for the sake of existing files, without effect yet */
    BERTH_CONF_MAIN = 1u << 4,   /* its flag is shown by --help */
};

struct berth_conf_row {
    const char *key;
    enum berth_conf_type type;
    size_t offset;       /* in struct berth_conf */
    const char *dflt;    /* as the environment would say it; NULL: null */
    double min, max;     /* of numbers, inclusive; of texts: min 1 forbids the empty one */
    const char *choices; /* "a|b|c", or NULL */
    uint32_t bits;
    const char *flag; /* "host ADDRESS", a switch "tls", or NULL */
    const char *help;
};

extern const struct berth_conf_row berth_conf_rows[];
extern const size_t berth_conf_row_count;
enum { BERTH_CONF_ROWS_MAX = 128 };

/* Where else a setting may come from: variables and keys of other programs. */
struct berth_conf_alias {
    const char *name, *key;
};
extern const struct berth_conf_alias berth_conf_env_aliases[]; /* name NULL ends */
extern const struct berth_conf_alias berth_conf_key_aliases[]; /* name NULL ends; a name ending in
                                                                  a dot stands for all below it */

enum berth_conf_origin { BERTH_FROM_DEFAULT, BERTH_FROM_FILE, BERTH_FROM_ENV, BERTH_FROM_FLAG };

/* A configuration with all that belongs to it. */
struct berth_conf_full {
    struct berth_conf conf; /* first: the public part */
    struct berth_arena arena;
    struct {
        enum berth_conf_origin from;
        const char *where; /* "FILE:3", the variable's name, the flag */
        const char *dflt;  /* of inert rows: the default's text */
    } origins[BERTH_CONF_ROWS_MAX];
};

/* Index of the row with that key (aliases of keys included), or SIZE_MAX. */
size_t berth_conf_find(const char *key);
/* "BERTH_SERVER_PORT"; room holds at least 80 bytes. */
enum { BERTH_CONF_ENV_MAX = 80 };
void berth_conf_env_name(const struct berth_conf_row *row, char room[BERTH_CONF_ENV_MAX]);

/* Set a value from text (environment, flags) or from a file's tree.  add: lists grow instead of
 * starting anew.  Errors name neither key nor place: the caller puts them in front. */
int berth_conf_set_text(struct berth_conf_full *c, const struct berth_conf_row *row,
                        const char *text, bool add, struct berth_err *e);
int berth_conf_set_json(struct berth_conf_full *c, const struct berth_conf_row *row,
                        const struct berth_json *v, struct berth_err *e);
/* Append the value as JSON (which is YAML). */
void berth_conf_value_put(const struct berth_conf *c, const struct berth_conf_row *row,
                          struct berth_buf *out);
/* The same as text of its own, in the arena; "" without memory. */
const char *berth_conf_value_text(struct berth_conf_full *c, const struct berth_conf_row *row);

/* Set what a file, or its text, says.  path is kept. */
int berth_conf_text_read(struct berth_conf_full *c, const char *path, struct berth_slice text,
                         struct berth_err *e);
int berth_conf_file_read(struct berth_conf_full *c, const char *path, struct berth_err *e);
/* What no single value can be checked for. */
int berth_conf_check(struct berth_conf_full *c, struct berth_err *e);
/* Add the lines of a file of keys to security.api_keys; line is kept. */
int berth_conf_keys_read(struct berth_conf_full *c, const char *path, struct berth_err *e);
int berth_conf_key_add(struct berth_conf_full *c, const char *line, struct berth_err *e);
/* Remember something to tell the operator. */
__attribute__((format(printf, 2, 3))) void berth_conf_note(struct berth_conf_full *c,
                                                           const char *fmt, ...);

#endif
