#include "cmd/cmd_priv.h"
#include "deploy/deploy.h"
#include "plugin/child.h"

int
berth_run_worker(const struct berth_args *args)
{
    return berth_child_main(args->word_count > 1 ? args->words[1] : NULL);
}

/* Noreturn in fact: the child tells its parent how it went, and ends. */
int
berth_run_probe(const struct berth_args *args)
{
    berth_deploy_trial(args->words[0], args->word_count > 1 ? args->words[1] : NULL);
}
