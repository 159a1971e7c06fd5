#ifndef BERTH_UTF8_H
#define BERTH_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Well-formed UTF-8 as RFC 3629 has it: no surrogates, no overlong forms, at most U+10FFFF. */
bool berth_utf8_valid(const char *text, size_t len);

/* A text was cut so that it fills its room, NUL included: it ends with a whole character and an
 * ellipsis then.  Room for the ellipsis is needed: 4 bytes at least. */
void berth_utf8_mark_cut(char *text, size_t room);

#endif
