#ifndef BERTH_MSVC_ORIGIN_H
#define BERTH_MSVC_ORIGIN_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct berth_yaml_place;

/*
 * From what was read back to what a person wrote: lines and columns for problems.  Pure; texts are
 * borrowed.  Lines and columns (of characters) are from 1; 0: not known.
 */
struct berth_msvc_spot {
    size_t line, column;
};

/* A text in which problems are found. */
struct berth_msvc_text {
    const char *in;             /* whose, as a problem has it */
    struct berth_slice written; /* by the person */
    struct berth_slice read;    /* what paths lead through: with its templates rendered */
    const uint32_t *lines;      /* for each line of read that of written; NULL: they are the same */
    size_t line_count;
};

/* The spot of a byte. */
struct berth_msvc_spot berth_msvc_spot_of(struct berth_slice text, size_t at);
/* A spot of t->read as one of t->written; the column is kept where the line says the same before
 * it. */
struct berth_msvc_spot berth_msvc_spot_written(const struct berth_msvc_text *t,
                                               struct berth_msvc_spot read);
/*
 * A spot within the text `value`, which stands at a place of the YAML document, as one of that
 * document: exact in what "|" begins and in what is on one line, else as near as can be.  With
 * in.line 0 that of the place itself.
 */
struct berth_msvc_spot berth_msvc_spot_in_value(struct berth_slice document,
                                                const struct berth_yaml_place *at,
                                                struct berth_slice value,
                                                struct berth_msvc_spot in);

#endif
