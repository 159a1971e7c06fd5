#ifndef BERTH_ERR_H
#define BERTH_ERR_H

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/*
 * Errors: a code to branch on, a message for the person who must act on it.
 *
 * A function that fails returns -CODE and fills the caller's struct berth_err; one that succeeds
 * leaves it alone.  The list is append-only: numbers are part of the plugin ABI.
 */
/*  name       what it means */
#define BERTH_ERRORS(X)                                                  \
    X(EINVAL, "the request or the file is wrong; do not retry as it is") \
    X(ENOMEM, "memory, or the limit set on it, ran out")                 \
    X(ENOENT, "no such thing")                                           \
    X(EIO, "reading or writing failed")                                  \
    X(EAGAIN, "a queue is full; try again later")                        \
    X(EDEADLINE, "the deadline passed")                                  \
    X(EABI, "a plugin does not fit this program")                        \
    X(EBACKEND, "the engine failed")                                     \
    X(ECANCELED, "the client gave up or the work was cut short")         \
    X(ETOOBIG, "a size limit was passed")                                \
    X(EEXIST, "there is one already")                                    \
    X(ENOTREADY, "known, but not able to serve now; try again")          \
    X(EAUTH, "no key, or not a valid one")                               \
    X(EPERM, "the key or the peer may not do this")                      \
    X(EUNSUPPORTED, "this model or program does not offer that")         \
    X(ELIMIT, "a configured maximum is reached; free something first")   \
    X(ENETWORK, "another server failed or could not be reached")         \
    X(ECONFIG, "the configuration is wrong")                             \
    X(EINTERNAL, "a fault of this program; please report it")            \
    X(ENOSPC, "the disk is full; nothing was changed, free some space")

enum berth_code {
    BERTH_OK = 0,
#define X(name, text) BERTH_##name,
    BERTH_ERRORS(X)
#undef X
};
#define X(name, text) +1                     /* NOLINT(bugprone-macro-parentheses): a sum */
enum { BERTH_CODE_MAX = 0 BERTH_ERRORS(X) }; /* the last of them */
#undef X

/* Lives on the caller's stack.  Outermost context first: "model iris: open model.onnx: ...". */
struct berth_err {
    char msg[480];
};

/* Write the message (e may be NULL) and return -code: `return berth_err_set(e, BERTH_EIO, ...);` */
__attribute__((format(printf, 3, 4))) static inline int
berth_err_set(struct berth_err *e, enum berth_code code, const char *fmt, ...)
{
    if (e != NULL) {
        va_list ap;

        va_start(ap, fmt);
        (void)vsnprintf(e->msg, sizeof e->msg, fmt, ap);
        va_end(ap);
    }
    return -(int)code;
}

/* Put "context: " in front of the message and return r unchanged. */
__attribute__((format(printf, 3, 4))) static inline int
berth_err_wrap(struct berth_err *e, int r, const char *fmt, ...)
{
    if (e != NULL) {
        struct berth_err inner = *e;
        va_list ap;
        int n;

        va_start(ap, fmt);
        n = vsnprintf(e->msg, sizeof e->msg, fmt, ap);
        va_end(ap);
        /* Cutting the end off is meant; gcc warns unless the length is looked at. */
        if (n >= 0 && (size_t)n < sizeof e->msg &&
            snprintf(e->msg + n, sizeof e->msg - (size_t)n, ": %s", inner.msg) < 0)
            e->msg[n] = '\0';
    }
    return r;
}

#endif
