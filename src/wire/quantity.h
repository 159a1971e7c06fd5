#ifndef BERTH_QUANTITY_H
#define BERTH_QUANTITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Kubernetes' quantities: a decimal number with a suffix (k M G T P E, their binary kin Ki ... Ei,
 * m u n for thousandths and less) or an exponent.  Exact: numbers are kept as integers of 10^-9,
 * and what is finer is rounded away from zero, as Kubernetes does.  At most 2^63 - 1, as there.
 */
struct berth_quantity {
    bool negative;
    unsigned __int128 nano;
    enum berth_quantity_form {
        BERTH_QUANTITY_DECIMAL,
        BERTH_QUANTITY_BINARY,
        BERTH_QUANTITY_EXPONENT,
    } form; /* as it was written */
};

/* The whole text; false: it is no quantity, or too large. */
bool berth_quantity_parse(const char *text, size_t len, struct berth_quantity *ret);
/* Is it written as one is, however large it may be? */
bool berth_quantity_is_form(const char *text, size_t len);
/* In units of 10^-(3 * thousandths) (0: whole ones, 1: milli), rounded up; false: negative. */
bool berth_quantity_units(const struct berth_quantity *q, unsigned thousandths, uint64_t *ret);
enum { BERTH_QUANTITY_TEXT_MAX = 48 };
/* As Kubernetes prints it: 1.5Gi is 1536Mi, 0.5 is 500m, 2000 is 2k. */
void berth_quantity_text(const struct berth_quantity *q, char ret[BERTH_QUANTITY_TEXT_MAX]);

#endif
