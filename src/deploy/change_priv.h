#ifndef BERTH_DEPLOY_CHANGE_PRIV_H
#define BERTH_DEPLOY_CHANGE_PRIV_H

#include "deploy/deploy_priv.h"

/* One change of a service: change.c says what, change_write.c how.  One thread. */

struct change {
    struct berth_deploy *d;
    struct service *s;
    const struct berth_actor *who;
    struct berth_arena a;
    struct pending pending;
    struct berth_store_op ops[16];
    size_t op_count;
    bool rewished; /* something else than before is wished for on the stable track */
};

/* What a change may touch, to be put back when it cannot be written. */
struct before {
    struct revision *wish[TRACK_COUNT];
    bool leaving, promoting, deleting, retry;
    uint32_t canary_percent;
    uint64_t last_revision, retry_wall_ns, changed_wall_ns, phase_wall_ns;
    enum berth_phase phase;
    char reason[REASON_MAX];
    char asker[OPERATOR_MAX];
    bool asker_known;
    uint32_t asker_scopes;
};

/* Without a service yet; berth_change_end() gives back what it took. */
void berth_change_init(struct change *c, struct berth_deploy *d, const struct berth_actor *who);
/* Find the service and hold its mu, until berth_change_end().  -BERTH_ENOENT */
int berth_change_begin(struct change *c, struct berth_deploy *d, const char *id,
                       const struct berth_actor *who, struct berth_err *e);
/* The same, and -BERTH_EEXIST when it is going. */
int berth_change_begin_alive(struct change *c, struct berth_deploy *d, const char *id,
                             const struct berth_actor *who, struct berth_err *e);
/* Let go; when r is 0, the routes know what is wished for, and it is looked at now.  Returns r. */
int berth_change_end(struct change *c, int r);

/* The audit: who did what.  Writes members up to "parameters", whose value the caller adds. */
void berth_change_audit(struct change *c, struct berth_buf *b, struct berth_jw *w, const char *type,
                        const char *action);
void berth_change_audit_number(struct change *c, const char *type, const char *action,
                               const char *key, uint64_t n);
/* What differs from `from`; NULL: the revision alone. */
void berth_change_audit_spec(struct change *c, const char *type, const char *action,
                             const struct berth_spec *from, const struct revision *to);
void berth_change_asker(struct change *c); /* who changed it last, and when */

/* A new revision of the service, to be written with the change. */
int berth_change_revision(struct change *c, const struct berth_spec *spec, struct revision **ret,
                          struct berth_err *e);
struct before berth_change_before(const struct service *s);
void berth_change_put_back(struct service *s, const struct before *b);
/* Write what was changed; when that fails all is as it was. */
int berth_change_write(struct change *c, const struct before *b, struct berth_err *e);

#endif
