#include "deploy/deploy.h"

/* Plugins from files.  Not offered yet: each of these says so. */

static int
unsupported(struct berth_err *e)
{
    return berth_err_set(e, BERTH_EUNSUPPORTED, "plugins cannot be loaded from files yet");
}

int
berth_deploy_load(struct berth_deploy *d, const struct berth_deploy_file *f, struct berth_arena *a,
                  struct berth_buf *out, struct berth_err *e)
{
    (void)d;
    (void)f;
    (void)a;
    (void)out;
    return unsupported(e);
}

int
berth_deploy_reload(struct berth_deploy *d, const char *type, const char *name,
                    struct berth_arena *a, struct berth_buf *out, struct berth_err *e)
{
    (void)d;
    (void)type;
    (void)name;
    (void)a;
    (void)out;
    return unsupported(e);
}

int
berth_deploy_unload(struct berth_deploy *d, const char *type, const char *name, struct berth_err *e)
{
    (void)d;
    (void)type;
    (void)name;
    return unsupported(e);
}

int
berth_deploy_load_folder(struct berth_deploy *d, bool strict, struct berth_err *e)
{
    (void)d;
    return strict ? unsupported(e) : 0;
}
