#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

void
berth_assert_failed(const char *what, const char *file, int line, const char *func)
{
    (void)fprintf(stderr, "berth: %s:%d: %s: can never be false, but is: %s\n", file, line, func,
                  what);
    abort();
}
