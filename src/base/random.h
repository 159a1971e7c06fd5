#ifndef BERTH_RANDOM_H
#define BERTH_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* Bytes from the kernel's generator: for keys and identities. */
void berth_random_bytes(void *at, size_t n);
uint64_t berth_random_u64(void);
/* A random UUID (version 4) as text. */
enum { BERTH_UUID_TEXT = 37 };
const char *berth_uuid_text(char buf[BERTH_UUID_TEXT]);

#endif
