#include <string.h>

#include "template/run_priv.h"

/* All groups; of one name the first counts. */
static const struct berth_tfn *const groups[] = {
    berth_tfns_builtin, berth_tfns_strings, berth_tfns_case,    berth_tfns_words,  berth_tfns_snake,
    berth_tfns_lists,   berth_tfns_dicts,   berth_tfns_numbers, berth_tfns_floats, berth_tfns_types,
    berth_tfns_encode,  berth_tfns_json,    berth_tfns_paths,   berth_tfns_regex,  berth_tfns_url,
    berth_tfns_semver,  berth_tfns_dates,   berth_tfns_refused,
};

const struct berth_tfn *
berth_tfn_find(struct berth_slice name)
{
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
        for (const struct berth_tfn *f = groups[i]; f->name != NULL; f++)
            if (berth_slice_is(name, f->name))
                return f;
    return NULL;
}

void
berth_tfn_each(void (*f)(void *arg, const char *name), void *arg)
{
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
        for (const struct berth_tfn *fn = groups[i]; fn->name != NULL; fn++)
            if (fn->call != NULL)
                f(arg, fn->name);
}
