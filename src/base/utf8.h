#ifndef BERTH_UTF8_H
#define BERTH_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Well-formed UTF-8 as RFC 3629 has it: no surrogates, no overlong forms, at most U+10FFFF. */
bool berth_utf8_valid(const char *text, size_t len);

#endif
