#ifndef BERTH_JSON_PRIV_H
#define BERTH_JSON_PRIV_H

#include <stddef.h>

#include "base/buf.h"

struct berth_json;
struct berth_jw;

/* Room that any number's text fits into. */
enum { BERTH_JSON_NUMBER_MAX = 64 };

/* Append text as a JSON string with its quotes; bad UTF-8 becomes U+FFFD. */
void berth_json_quote(struct berth_buf *b, const char *text, size_t len);
/* text with quotes around it at `to`, which has room for len + 2 bytes; 0: something in it is not
 * ASCII or needs an escape, and what is at `to` is of no use. */
size_t berth_json_quote_plain(char *to, const char *text, size_t len);
/* The shortest text that reads back as the same float; v is finite.  Returns its length. */
size_t berth_json_float_text(float v, char *room);
/* Write one value that is neither array nor object. */
void berth_json_put_scalar(struct berth_jw *w, const struct berth_json *v);

#endif
