#ifndef BERTH_MSVC_PULL_SECRETS_H
#define BERTH_MSVC_PULL_SECRETS_H

struct berth_arena;
struct berth_json;

/* The names that the operator itself put into a ServiceAccount, with commas between: the list is
 * one field to an API server, and others (OpenShift, for one) put names of theirs into it. */
#define BERTH_MSVC_PULL_NOTE "llm-d.ai/pull-secrets"

/* A ServiceAccount that is wished for, with that note where it has secrets.  NULL: no memory. */
const struct berth_json *berth_msvc_note_pull_secrets(const struct berth_json *wish,
                                                      struct berth_arena *a);
/*
 * A ServiceAccount to be applied, with the pull secrets that others put into the live one: those
 * that are neither wished for nor were ours before.  live: NULL for none.  The wish itself when
 * there is nothing to keep; NULL: no memory.
 */
const struct berth_json *berth_msvc_keep_pull_secrets(const struct berth_json *live,
                                                      const struct berth_json *wish,
                                                      struct berth_arena *a);

#endif
