#ifndef BERTH_ASSERT_H
#define BERTH_ASSERT_H

/* States what can never be false.  Stays on in every build: prints the place and aborts. */
#define berth_assert(x) ((x) ? (void)0 : berth_assert_failed(#x, __FILE__, __LINE__, __func__))

__attribute__((noreturn, cold)) void berth_assert_failed(const char *what, const char *file,
                                                         int line, const char *func);

#define BERTH_COUNT(array) (sizeof(array) / sizeof((array)[0]))

#endif
