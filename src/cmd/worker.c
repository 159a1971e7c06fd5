#include "cmd/cmd_priv.h"
#include "plugin/child.h"

int
berth_run_worker(const struct berth_args *args)
{
    return berth_child_main(args->word_count > 1 ? args->words[1] : NULL);
}
