#ifndef BERTH_MSVC_SELECTORS_H
#define BERTH_MSVC_SELECTORS_H

struct berth_msvc_problems;
struct berth_msvc_set;

/*
 * Do the pods that are wished for bear what is selected by?  A Deployment whose own pods do not is
 * an error: no API server takes it.  A Service or a pool that leads to none of the pods is a
 * warning: it is taken, and nobody answers behind it.
 */
void msvc_check_selectors(const struct berth_msvc_set *wish, struct berth_msvc_problems *p);

#endif
