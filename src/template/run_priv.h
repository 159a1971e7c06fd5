#ifndef BERTH_TEMPLATE_RUN_PRIV_H
#define BERTH_TEMPLATE_RUN_PRIV_H

#include "base/arena.h"
#include "template/template.h"
#include "template/value.h"

/* One rendering: what it may still use, and where it writes. */
struct berth_trun {
    const struct berth_template *t;
    struct berth_slice text;
    struct berth_arena *a;
    struct berth_buf *out;
    size_t out_max; /* out->len may become that */
    uint64_t work_left;
    unsigned depth;
    uint32_t pos; /* in the text: of what is being computed, for messages */
    struct berth_err *e;
    const struct berth_ttemplate *templates;
    struct berth_tvar *vars;
    size_t var_len, var_cap, var_base;
    /* trace.c, where the template asks for it */
    uint32_t *line_starts; /* of the text */
    size_t line_count;
    struct berth_buf lines;   /* uint32_t each */
    bool in_line, blank_line; /* of the output */
};

enum {
    BERTH_TEMPLATE_DEPTH_MAX = 400, /* actions, parentheses and templates within each other */
    BERTH_TEMPLATE_NEST_MAX = 100,  /* lists and maps within each other, when walked */
};

/* A built-in function.  sig has a letter for each argument: s text, i whole number, f number,
 * b true or false, m map, t time, a anything; '*' behind the last: any number of those.  Of refused
 * ones call is NULL and sig says why. */
struct berth_tfn {
    const char *name, *sig;
    int (*call)(struct berth_trun *r, const struct berth_tvalue *argv, size_t argc,
                struct berth_tvalue *ret);
};

/* Each ends with an empty name. */
extern const struct berth_tfn berth_tfns_builtin[], berth_tfns_strings[], berth_tfns_case[],
    berth_tfns_words[], berth_tfns_snake[], berth_tfns_lists[], berth_tfns_dicts[],
    berth_tfns_numbers[], berth_tfns_floats[], berth_tfns_types[], berth_tfns_encode[],
    berth_tfns_json[], berth_tfns_paths[], berth_tfns_url[], berth_tfns_regex[],
    berth_tfns_semver[], berth_tfns_dates[], berth_tfns_refused[];
/* NULL: there is none. */
const struct berth_tfn *berth_tfn_find(struct berth_slice name);
/* Call f for each name of a built-in that is offered. */
void berth_tfn_each(void (*f)(void *arg, const char *name), void *arg);

/* Say what is wrong, without the place; -BERTH_EINVAL. */
__attribute__((format(printf, 2, 3))) int berth_trun_fail(struct berth_trun *r, const char *fmt,
                                                          ...);
/* The arena's limit. */
int berth_trun_nomem(struct berth_trun *r);
/* Count n units of work: 0, or -BERTH_ELIMIT when they are used up. */
int berth_trun_work(struct berth_trun *r, uint64_t n);

/* Text in the making, no longer than what work is left; to be ended with berth_trun_text(). */
void berth_trun_buf(struct berth_trun *r, struct berth_buf *b);
int berth_trun_text(struct berth_trun *r, struct berth_buf *b, struct berth_tvalue *ret);
/* Room for n values of a list, counted as work; NULL: see *ret_err. */
struct berth_tvalue *berth_trun_values(struct berth_trun *r, size_t n, int *ret_err);
int berth_trun_list(struct berth_trun *r, const struct berth_tvalue *at, size_t len,
                    enum berth_ttype type, struct berth_tvalue *ret);
/* An empty map. */
int berth_trun_map(struct berth_trun *r, enum berth_ttype type, struct berth_tvalue *ret);
int berth_trun_set(struct berth_trun *r, struct berth_tmap *m, struct berth_slice key,
                   const struct berth_tvalue *v);
/* A list of texts that grows. */
struct berth_tstrings {
    struct berth_tvalue *at;
    size_t len, cap;
};
int berth_trun_add(struct berth_trun *r, struct berth_tstrings *l, struct berth_tvalue v);
int berth_trun_added(struct berth_trun *r, const struct berth_tstrings *l, enum berth_ttype type,
                     struct berth_tvalue *ret);

/* v as sprig's strval has it: text as it is, all else as printed. */
int berth_trun_strval(struct berth_trun *r, const struct berth_tvalue *v, struct berth_slice *ret);
/* Go's reflect.DeepEqual. */
int berth_trun_equal(struct berth_trun *r, const struct berth_tvalue *x,
                     const struct berth_tvalue *y, unsigned depth, bool *ret);
int berth_trun_from_json(struct berth_trun *r, const struct berth_json *j, bool numbers_as_float,
                         struct berth_tvalue *ret);

/* trace.c: begin, then whatever is put out, then end; 0, or -BERTH_ENOMEM. */
int berth_ttrace_begin(struct berth_trun *r);
int berth_ttrace_put(struct berth_trun *r, const char *at, size_t len);
void berth_ttrace_end(struct berth_trun *r);
/* What r->e says failed at r->pos.  True: there is room for another failure. */
bool berth_ttrace_fail(struct berth_trun *r);

#endif
