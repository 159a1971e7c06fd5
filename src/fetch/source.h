#ifndef BERTH_FETCH_SOURCE_H
#define BERTH_FETCH_SOURCE_H

#include <stddef.h>

#include <berth/err.h>

#include "net/digest.h"

/* Where a model file comes from, understood from its text.  No I/O, any thread. */
enum berth_source_kind { BERTH_SOURCE_PATH, BERTH_SOURCE_HTTP, BERTH_SOURCE_HUB };

struct berth_source {
    enum berth_source_kind kind;
    char *at;    /* the path or the URL to ask */
    char *label; /* for messages: without a password or a query, which may be secret */
    char *name;  /* file name it would get; NULL: the source names none (or a path) */
    char sha256[BERTH_DIGEST_HEX]; /* from #sha256=HEX; empty: none */
};

enum { BERTH_SOURCE_BYTES_MAX = 4096, BERTH_SOURCE_NAME_MAX = 200 };

/*
 * Understand text.  hub is the address that hf:// stands for, without a slash at its end.  0 and
 * *ret, for berth_source_fini(), or
 *   -BERTH_EINVAL  with one example of each form
 *   -BERTH_ENOMEM
 */
int berth_source_parse(const char *text, const char *hub, struct berth_source *ret,
                       struct berth_err *e);
void berth_source_fini(struct berth_source *s);

/* May a file be called that: no slash, no control characters, not "." or "..", not too long. */
int berth_source_name_check(const char *name, struct berth_err *e);

#endif
