#ifndef BERTH_CONF_NEAR_H
#define BERTH_CONF_NEAR_H

#include <stddef.h>

/* The name nearest to word when they are near enough to be a slip of the finger; else NULL. */
const char *berth_near_miss(const char *word, const char *const *names, size_t count);

#endif
