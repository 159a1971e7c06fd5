#include "template/fn_priv.h"

/* sprig's questions about types. */

BERTH_TFN(type_of)
{
    *ret = berth_tv_text(berth_tv_type_name(&argv[0]));
    return 0;
}

BERTH_TFN(type_is)
{
    *ret = berth_tv_bool(berth_slice_is(argv[0].s, berth_tv_type_name(&argv[1])));
    return 0;
}

/* A pointer to the type counts too. */
BERTH_TFN(type_is_like)
{
    const char *name = berth_tv_type_name(&argv[1]);

    *ret = berth_tv_bool(berth_slice_is(argv[0].s, name) ||
                         (name[0] == '*' && berth_slice_is(argv[0].s, name + 1)));
    return 0;
}

BERTH_TFN(kind_of)
{
    *ret = berth_tv_text(berth_tv_kind_name(&argv[0]));
    return 0;
}

BERTH_TFN(kind_is)
{
    *ret = berth_tv_bool(berth_slice_is(argv[0].s, berth_tv_kind_name(&argv[1])));
    return 0;
}

BERTH_TFN(deep_equal)
{
    bool same;
    const int err = berth_trun_equal(r, &argv[0], &argv[1], 0, &same);

    if (err == 0)
        *ret = berth_tv_bool(same);
    return err;
}

/* clang-format off */
const struct berth_tfn berth_tfns_types[] = {
    {"typeOf", "a", type_of}, {"typeIs", "sa", type_is}, {"typeIsLike", "sa", type_is_like},
    {"kindOf", "a", kind_of}, {"kindIs", "sa", kind_is}, {"deepEqual", "aa", deep_equal},
    {0},
};
/* clang-format on */
