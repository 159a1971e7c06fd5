#include <string.h>

#include "base/arena.h"
#include "base/num.h"
#include "template/fn_priv.h"
#include "template/time_priv.h"

/* sprig's functions on dates that are given; none asks the clock. */

static struct berth_ttime
time_of(const struct berth_tobject *o)
{
    return (struct berth_ttime){o->sec, o->ns, o->offset_s, berth_slice_of(o->zone)};
}

/* A time as a value, with what can be asked of it. */
static int
made(struct berth_trun *r, const struct berth_ttime *t, struct berth_tvalue *ret)
{
    const struct berth_tcivil c = berth_tcivil_of(t);
    struct berth_tobject *o = BERTH_NEW(r->a, struct berth_tobject);
    struct berth_tvalue fields, text, json;
    struct berth_buf b;
    const struct {
        const char *name;
        int64_t value;
    } members[] = {{"Year", c.year},     {"Day", c.day},       {"Hour", c.hour},
                   {"Minute", c.minute}, {"Second", c.second}, {"YearDay", c.yday},
                   {"Nanosecond", t->ns}};
    int err = berth_trun_map(r, BERTH_TT_PLAIN, &fields);

    for (size_t i = 0; i < sizeof members / sizeof *members && err == 0; i++) {
        const struct berth_tvalue v = berth_tv_int(members[i].value);
        err = berth_trun_set(r, fields.map, berth_slice_of(members[i].name), &v);
    }
    const struct berth_tvalue epoch = berth_tv_int64(t->sec);
    const struct berth_tvalue month = berth_tv_text(berth_tmonths[c.month - 1]);
    const struct berth_tvalue weekday = berth_tv_text(berth_tweekdays[c.weekday]);
    err = err == 0 ? berth_trun_set(r, fields.map, BERTH_SLICE("Unix"), &epoch) : err;
    err = err == 0 ? berth_trun_set(r, fields.map, BERTH_SLICE("Month"), &month) : err;
    err = err == 0 ? berth_trun_set(r, fields.map, BERTH_SLICE("Weekday"), &weekday) : err;
    if (err < 0)
        return err;
    berth_trun_buf(r, &b);
    berth_ttime_put(&b, BERTH_SLICE("2006-01-02 15:04:05.999999999 -0700 MST"), t);
    err = berth_trun_text(r, &b, &text);
    berth_trun_buf(r, &b);
    berth_ttime_put(&b, BERTH_SLICE("2006-01-02T15:04:05.999999999Z07:00"), t);
    err = err == 0 ? berth_trun_text(r, &b, &json) : err;
    if (err < 0)
        return err;
    const char *zone = berth_arena_strndup(r->a, t->zone.at, t->zone.len);
    if (o == NULL || zone == NULL)
        return berth_trun_nomem(r);
    *o = (struct berth_tobject){.text = text.s,
                                .json = json.s,
                                .fields = fields.map,
                                .sec = t->sec,
                                .ns = t->ns,
                                .offset_s = t->offset_s,
                                .zone = zone};
    *ret = (struct berth_tvalue){.kind = BERTH_T_OBJECT, .type = BERTH_TT_TIME, .object = o};
    return 0;
}

static bool
in_reach(int64_t sec)
{
    return sec <= (int64_t)BERTH_TTIME_SEC_MAX * 1000 &&
           sec >= -(int64_t)BERTH_TTIME_SEC_MAX * 1000;
}

/* A time or seconds since 1970, in UTC. */
static int
as_date(struct berth_trun *r, const struct berth_tvalue *v, struct berth_ttime *ret)
{
    *ret = (struct berth_ttime){.zone = BERTH_SLICE("UTC")};
    if (v->kind == BERTH_T_OBJECT && v->type == BERTH_TT_TIME) {
        ret->sec = v->object->sec;
        ret->ns = v->object->ns;
        return 0;
    }
    if (v->kind != BERTH_T_INT || !in_reach(v->i))
        return berth_trun_fail(r, "a date is a time or seconds since 1970, not %s%s",
                               berth_tv_type_name(v),
                               v->kind == BERTH_T_INT ? " as large as this" : "");
    ret->sec = v->i;
    return 0;
}

static int
written(struct berth_trun *r, struct berth_slice layout, const struct berth_tvalue *date,
        const struct berth_tvalue *zone, struct berth_tvalue *ret)
{
    struct berth_ttime t;
    struct berth_buf b;
    const int err = as_date(r, date, &t);

    if (err < 0)
        return err;
    if (zone != NULL && zone->s.len > 0 && !berth_slice_is(zone->s, "UTC") &&
        !berth_slice_is(zone->s, "Local"))
        return berth_trun_fail(r, "the time zone \"%.*s\" is not offered: UTC is",
                               zone->s.len < 60 ? (int)zone->s.len : 60, zone->s.at);
    berth_trun_buf(r, &b);
    berth_ttime_put(&b, layout, &t);
    return berth_trun_text(r, &b, ret);
}

BERTH_TFN(date)
{
    return written(r, argv[0].s, &argv[1], NULL, ret);
}

BERTH_TFN(date_in_zone)
{
    return written(r, argv[0].s, &argv[1], &argv[2], ret);
}

BERTH_TFN(html_date)
{
    return written(r, BERTH_SLICE("2006-01-02"), &argv[0], NULL, ret);
}

BERTH_TFN(html_date_in_zone)
{
    return written(r, BERTH_SLICE("2006-01-02"), &argv[0], &argv[1], ret);
}

BERTH_TFN(date_modify)
{
    struct berth_ttime t = time_of(argv[1].object);
    int64_t ns;

    if (!berth_tduration_parse(argv[0].s, &ns))
        return berth_trun_fail(r, "\"%.*s\" is no duration",
                               argv[0].s.len < 60 ? (int)argv[0].s.len : 60, argv[0].s.at);
    ns += t.ns <= INT64_MAX - (ns > 0 ? ns : 0) ? t.ns : 0;
    int64_t sec = ns / 1000000000, rest = ns % 1000000000;
    if (rest < 0) {
        rest += 1000000000;
        sec--;
    }
    t.sec += sec;
    t.ns = (int32_t)rest;
    if (!in_reach(t.sec))
        return berth_trun_fail(r, "this time is too far away");
    return made(r, &t, ret);
}

BERTH_TFN(to_date)
{
    struct berth_ttime t;
    int err = berth_trun_work(r, argv[0].s.len + argv[1].s.len);

    if (err == 0)
        err = berth_ttime_parse(r, argv[0].s, argv[1].s, &t);
    return err == 0 ? made(r, &t, ret) : err;
}

BERTH_TFN(unix_epoch)
{
    const char *text = berth_arena_printf(r->a, "%lld", (long long)argv[0].object->sec);

    if (text == NULL)
        return berth_trun_nomem(r);
    *ret = berth_tv_text(text);
    return 0;
}

/* Seconds as a text or an int64, as sprig has it: an int is nothing. */
BERTH_TFN(duration)
{
    struct berth_buf b;
    int64_t n = 0;

    if (argv[0].kind == BERTH_T_STRING) {
        const bool plus = argv[0].s.len > 1 && argv[0].s.at[0] == '+' && argv[0].s.at[1] != '-';
        (void)berth_int_parse(argv[0].s.at + plus, argv[0].s.len - plus, INT64_MIN, INT64_MAX, &n);
    } else if (argv[0].kind == BERTH_T_INT && argv[0].type == BERTH_TT_INT64) {
        n = argv[0].i;
    }
    berth_trun_buf(r, &b);
    berth_tduration_put(&b, (int64_t)((uint64_t)n * 1000000000u));
    return berth_trun_text(r, &b, ret);
}

/* To the largest unit that it has more than one of. */
BERTH_TFN(duration_round)
{
    static const struct {
        uint64_t seconds;
        const char *name;
    } units[] = {{31536000, "y"}, {2592000, "mo"}, {86400, "d"}, {3600, "h"}, {60, "m"}, {1, "s"}};
    int64_t ns = 0;

    if (argv[0].kind == BERTH_T_OBJECT)
        return berth_trun_fail(r, "how long ago a time is depends on when this is rendered");
    if (argv[0].kind == BERTH_T_STRING)
        (void)berth_tduration_parse(argv[0].s, &ns);
    else if (argv[0].kind == BERTH_T_INT && argv[0].type == BERTH_TT_INT64)
        ns = argv[0].i;
    const uint64_t n = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;
    *ret = berth_tv_text("0s");
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        const uint64_t unit = units[i].seconds * 1000000000u;
        if (n <= unit)
            continue;
        const char *text =
            berth_arena_printf(r->a, "%llu%s", (unsigned long long)(n / unit), units[i].name);
        if (text == NULL)
            return berth_trun_nomem(r);
        *ret = berth_tv_text(text);
        break;
    }
    return 0;
}

/* clang-format off */
const struct berth_tfn berth_tfns_dates[] = {
    {"date", "sa", date}, {"dateInZone", "sas", date_in_zone}, {"date_in_zone", "sas", date_in_zone},
    {"htmlDate", "a", html_date}, {"htmlDateInZone", "as", html_date_in_zone},
    {"dateModify", "st", date_modify}, {"date_modify", "st", date_modify},
    {"mustDateModify", "st", date_modify}, {"must_date_modify", "st", date_modify},
    {"toDate", "ss", to_date}, {"mustToDate", "ss", to_date}, {"unixEpoch", "t", unix_epoch},
    {"duration", "a", duration}, {"durationRound", "a", duration_round},
    {0},
};
/* clang-format on */
