#ifndef BERTH_SETTINGS_H
#define BERTH_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/*
 * Reading berth_load.settings_json without a JSON library: one flat object whose keys, types and
 * ranges the host has already checked.  Unknown text never crashes these functions, it is only
 * not found.  Nothing is allocated; any thread.
 */

/* Four hex digits at s as a number, or -1. */
static inline int32_t
berth_json_hex4(const char *s)
{
    int32_t n = 0;

    for (size_t i = 0; i < 4; i++) {
        static const char digits[] = "0123456789abcdefABCDEF";
        const char *at = s[i] != '\0' ? strchr(digits, s[i]) : NULL;

        if (at == NULL)
            return -1;
        n = n * 16 + (int32_t)(at - digits < 16 ? at - digits : at - digits - 6);
    }
    return n;
}

/* The escape behind the backslash at s, as a code point; *ret_len gets its length in text. */
static inline uint32_t
berth_json_escape(const char *s, size_t *ret_len)
{
    static const char names[] = "bfnrt", meant[] = "\b\f\n\r\t";
    const char *at = strchr(names, s[1]);
    int32_t c = s[1] == 'u' ? berth_json_hex4(s + 2) : -1;

    *ret_len = c < 0 ? 2 : 6;
    if (c < 0)
        return at != NULL ? (uint32_t)meant[at - names] : (unsigned char)s[1];
    if (c >= 0xd800 && c < 0xdc00 && s[6] == '\\' && s[7] == 'u') {
        int32_t low = berth_json_hex4(s + 8);

        if (low >= 0xdc00 && low < 0xe000) {
            *ret_len = 12;
            return 0x10000u + ((uint32_t)(c - 0xd800) << 10) + (uint32_t)(low - 0xdc00);
        }
    }
    return c >= 0xd800 && c < 0xe000 ? 0xfffdu : (uint32_t)c; /* half a character */
}

/* The string at s (on its opening quote), decoded to UTF-8.  Writes at most cap - 1 bytes and a
 * NUL when cap > 0.  Returns the decoded length, which may be more than was written, and sets
 * *ret_end behind the closing quote (or on the NUL that ends unfinished text). */
static inline size_t
berth_json_string(const char *s, char *ret, size_t cap, const char **ret_end)
{
    static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    size_t n = 0, step;

    for (s++; *s != '\0' && *s != '"'; s += step) {
        uint32_t c = (unsigned char)*s;
        size_t len = 1;

        step = 1;
        if (*s == '\\' && s[1] != '\0') {
            c = berth_json_escape(s, &step);
            if (step > 2)
                len = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
        }
        for (size_t i = len; i-- > 0; n++) {
            uint32_t bits = c >> (6 * i);

            if (n + 1 >= cap)
                continue;
            if (i + 1 == len) /* lead[] has no bits for a byte that stands alone */
                ret[n] = (char)(len == 1 ? c : lead[len] | bits);
            else
                ret[n] = (char)(0x80 | (bits & 0x3f));
        }
    }
    if (cap > 0)
        ret[n < cap ? n : cap - 1] = '\0';
    *ret_end = *s == '"' ? s + 1 : s;
    return n;
}

/* Where the value of `key` (plain ASCII) begins in the flat object, or NULL. */
static inline const char *
berth_setting_find(const char *json, const char *key)
{
    const size_t key_len = strlen(key);

    for (const char *s = json; *s != '\0';) {
        const char *begin = s, *end;
        size_t n;

        if (*s != '"') {
            s++;
            continue;
        }
        n = berth_json_string(s, NULL, 0, &end);
        for (s = end; *s == ' ' || *s == '\t' || *s == '\n' || *s == '\r';)
            s++;
        if (*s != ':')
            continue; /* it was a value */
        for (s++; *s == ' ' || *s == '\t' || *s == '\n' || *s == '\r';)
            s++;
        if (n == key_len && memcmp(begin + 1, key, n) == 0)
            return s;
    }
    return NULL;
}

/* Integer or whole number, else dflt.  The host has checked that it is in the setting's range. */
static inline int64_t
berth_setting_int(const char *json, const char *key, int64_t dflt)
{
    const char *s = berth_setting_find(json, key);

    if (s == NULL || (*s != '-' && (*s < '0' || *s > '9')))
        return dflt;
    double d = strtod(s, NULL);
    return d >= -9.2e18 && d <= 9.2e18 ? (int64_t)d : dflt;
}

static inline bool
berth_setting_bool(const char *json, const char *key, bool dflt)
{
    const char *s = berth_setting_find(json, key);

    if (s == NULL || (strncmp(s, "true", 4) != 0 && strncmp(s, "false", 5) != 0))
        return dflt;
    return *s == 't';
}

/* Copies the string to ret[cap], cut to fit; dflt (may be NULL: then "") when it is not there.
 * Returns the whole length: >= cap means that it was cut. */
static inline size_t
berth_setting_string(const char *json, const char *key, const char *dflt, char *ret, size_t cap)
{
    const char *s = berth_setting_find(json, key), *end;

    if (s != NULL && *s == '"')
        return berth_json_string(s, ret, cap, &end);
    size_t n = dflt != NULL ? strlen(dflt) : 0;
    if (cap > 0) {
        size_t keep = n < cap ? n : cap - 1;

        if (keep > 0)
            memcpy(ret, dflt, keep);
        ret[keep] = '\0';
    }
    return n;
}

#endif
