#include "deploy/test_people.h"

#include "base/assert.h"
#include "base/clock.h"
#include "deploy/deploy.h"

/* Plans: what a deployment or an update would make, in an environment that shows its units.  And
 * what becomes of a service whose environment cannot be opened. */

static bool is_shut;

static int
shown_open(const struct berth_shimlet_host *h, const struct berth_shimlet_open *how,
           struct berth_shimlet **ret, struct berth_err *e)
{
    *ret = NULL;
    return is_shut ? berth_err_set(e, BERTH_ECONFIG, "no cluster is known") : 0;
}

static void
shown_close(struct berth_shimlet *s)
{
}

static int
shown_apply(struct berth_shimlet *s, const struct berth_op *op, const struct berth_unit *unit,
            struct berth_err *e)
{
    return 0;
}

static int
shown_remove(struct berth_shimlet *s, const struct berth_op *op, const char *name,
             struct berth_err *e)
{
    return 0;
}

static int
shown_status(struct berth_shimlet *s, const struct berth_op *op, const char *name,
             void (*tell)(void *arg, const struct berth_observed *seen), void *arg,
             struct berth_err *e)
{
    tell(arg, &(struct berth_observed){.struct_size = sizeof(struct berth_observed)});
    return 0;
}

static int
shown_list(struct berth_shimlet *s, const struct berth_op *op,
           void (*each)(void *arg, const struct berth_listed *one), void *arg, struct berth_err *e)
{
    return 0;
}

/* As the environment does whose engines are processes. */
static int
shown_check(struct berth_shimlet *s, const struct berth_op *op, const struct berth_unit *unit,
            struct berth_err *e)
{
    if (unit->command == NULL)
        return berth_err_set(e, BERTH_EINVAL, "there is no command");
    return unit->replicas <= 4 ? 0 : berth_err_set(e, BERTH_ELIMIT, "there is room for 4");
}

static int
shown_render(struct berth_shimlet *s, const struct berth_op *op, const struct berth_unit *unit,
             void (*text)(void *arg, const char *json, size_t len), void *arg, struct berth_err *e)
{
    struct berth_buf b;
    struct berth_jw to;

    berth_buf_init(&b, NULL);
    berth_jw_init(&to, &b);
    berth_jw_array(&to);
    for (size_t i = 0; unit->command != NULL && unit->command[i] != NULL; i++)
        berth_jw_string(&to, unit->command[i]);
    berth_jw_array_end(&to);
    text(arg, b.at, b.len);
    berth_buf_fini(&b);
    return 0;
}

static const struct berth_shimlet_ops shown_ops = {
    .abi = BERTH_SHIMLET_ABI,
    .struct_size = sizeof shown_ops,
    .name = "shown",
    .version = "1",
    .open = shown_open,
    .close = shown_close,
    .apply = shown_apply,
    .remove = shown_remove,
    .status = shown_status,
    .list = shown_list,
    .check = shown_check,
    .render = shown_render,
};

static const struct berth_pipeline_host *pipeline_host;

/* A pipeline that renders by itself: once it has run, a word more is in the command. */
static int
own_render(struct berth_deployment *x, struct berth_err *e)
{
    w.applies++;
    return pipeline_host->set(x, "command", "[\"own\",\"engine\"]", e);
}

static const struct berth_pipeline_ops *
own_entry(const struct berth_pipeline_host *h, struct berth_err *e)
{
    static struct berth_goal goals[5];
    static struct berth_pipeline_ops ops = {.abi = BERTH_PIPELINE_ABI,
                                            .struct_size = sizeof ops,
                                            .name = "own",
                                            .version = "1",
                                            .deploy = goals};

    pipeline_host = h;
    goals[0] = *h->goal("model-validation");
    goals[1] = (struct berth_goal){.name = "config-rendering", .ensure = own_render};
    goals[2] = *h->goal("resource-deployment");
    return &ops;
}

static int
setup_shown(void **unused)
{
    struct berth_err e;

    (void)setup(unused);
    return berth_deploy_add_shimlet(w.d, &shown_ops, NULL, NULL, false, &e) < 0 ||
                   berth_deploy_add_pipeline(w.d, own_entry, NULL, false, &e) < 0
               ? -1
               : 0;
}

/* The plan of a service (NULL: a new one) has, and has not, these texts. */
static void
plan_says(const char *id, const char *json, const char *has, const char *has_not)
{
    struct berth_err e = {""};
    struct berth_spec spec;
    struct berth_buf b;

    berth_buf_init(&b, &a);
    world_spec(&w, json, &a, &spec);
    if (berth_deploy_plan(w.d, id, &spec, &a, &b, &e) < 0)
        fail_msg("%s", e.msg);
    const char *plan = berth_buf_text(&b);
    if (strstr(plan, has) == NULL || (has_not != NULL && strstr(plan, has_not) != NULL))
        fail_msg("%s", plan);
}

#define WHERE "\"shimlet\":\"shown\",\"replicaCount\":"

static void
a_new_service_is_planned_with_its_command(void **unused)
{
    static const struct {
        const char *why, *json, *has, *has_not;
    } cases[] = {
        {"the engine that fits the model",
         "{\"modelName\":\"m\",\"modelFile\":\"/m/a.gguf\"," WHERE "1}",
         "\"objects\":[\"berth\",\"serve\"", "\"fits\":false"},
        {"with the model", "{\"modelName\":\"m\",\"modelFile\":\"/m/a.gguf\"," WHERE "1}",
         "\"--model=m=/m/a.gguf\"", NULL},
        {"what does not fit is shown as well",
         "{\"modelName\":\"m\",\"modelFile\":\"/m/a.gguf\"," WHERE "9}", "--model=m=/m/a.gguf",
         "\"fits\":true"},
        {"and said", "{\"modelName\":\"m\",\"modelFile\":\"/m/a.gguf\"," WHERE "9}",
         "\"fits\":false,\"why\":\"there is room for 4\"", NULL},
        {"its own command", "{\"modelName\":\"m\",\"command\":[\"sleep\",\"9\"]," WHERE "1}",
         "\"objects\":[\"sleep\",\"9\"],\"fits\":true", NULL},
        {"a pipeline that renders by itself, as nearly as can be known",
         "{\"modelName\":\"m\",\"pipeline\":\"own\",\"modelFile\":\"/m/a.gguf\"," WHERE "1}",
         "\"--model=m=/m/a.gguf\"],\"fits\":true", NULL},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        print_message("  %s\n", cases[i].why);
        plan_says(NULL, cases[i].json, cases[i].has, cases[i].has_not);
    }
    assert_int_equal(w.applies, 0); /* nobody else's step has run */
}

static void
an_update_is_planned_with_the_command_to_come(void **unused)
{
    char id[BERTH_SERVICE_ID_MAX];

    (void)unused;
    (void)snprintf(id, sizeof id, "%s",
                   create("{\"modelName\":\"m\",\"modelFile\":\"/m/a.gguf\"," WHERE "1}"));
    world_run(&w, 5 * BERTH_S);
    plan_says(id, "{\"modelName\":\"m\",\"modelFile\":\"/m/b.gguf\"," WHERE "1}",
              "\"--model=m=/m/b.gguf\"],\"fits\":true", "\"--model=m=/m/a.gguf\"");
    plan_says(id, "{\"modelName\":\"m\",\"modelFile\":\"/m/a.gguf\"," WHERE "2}",
              "\"--model=m=/m/a.gguf\"],\"fits\":true", NULL);
    /* Of another's steps it is what they have set. */
    (void)snprintf(
        id, sizeof id, "%s",
        create("{\"modelName\":\"n\",\"pipeline\":\"own\",\"modelFile\":\"/m/a.gguf\"," WHERE
               "1}"));
    world_run(&w, 5 * BERTH_S);
    assert_int_equal(w.applies, 1);
    plan_says(id,
              "{\"modelName\":\"n\",\"pipeline\":\"own\",\"modelFile\":\"/m/a.gguf\"," WHERE "2}",
              "\"objects\":[\"own\",\"engine\"],\"fits\":true", NULL);
    assert_int_equal(w.applies, 1);
}

/* A person who chose the wrong environment can take that back. */
static void
what_was_never_begun_goes_without_its_environment(void **unused)
{
    char id[BERTH_SERVICE_ID_MAX], begun[BERTH_SERVICE_ID_MAX];
    struct berth_err e;

    (void)unused;
    (void)snprintf(begun, sizeof begun, "%s", create("{\"modelName\":\"b\"," WHERE "1}"));
    world_run(&w, 5 * BERTH_S);
    is_shut = true;
    world_kill(&w); /* it is opened anew, or rather not */
    world_start(&w);
    assert_int_equal(berth_deploy_add_shimlet(w.d, &shown_ops, NULL, NULL, false, &e), 0);
    (void)snprintf(id, sizeof id, "%s", create("{\"modelName\":\"m\"," WHERE "1}"));
    world_run(&w, 5 * BERTH_S);
    assert_string_equal(text_of(describe(id), "phase"), "failed");
    assert_int_equal(berth_deploy_delete(w.d, id, &tester, &e), 0);
    assert_int_equal(berth_deploy_delete(w.d, begun, &tester, &e), 0);
    world_run(&w, 60 * BERTH_S);
    assert_string_equal(text_of(describe(id), "phase"), "terminated");
    world_run(&w, 1200 * BERTH_S); /* and it is forgotten in time */
    char found[BERTH_SERVICE_ID_MAX];
    assert_int_equal(berth_deploy_find(w.d, id, true, found, &e), -BERTH_ENOENT);
    /* Something may have been made for the one that was begun. */
    assert_string_equal(text_of(describe(begun), "phase"), "terminating");
    assert_non_null(strstr(text_of(describe(begun), "message"), "no cluster is known"));
    is_shut = false;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_new_service_is_planned_with_its_command, setup_shown,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_was_never_begun_goes_without_its_environment,
                                        setup_shown, teardown),
        cmocka_unit_test_setup_teardown(an_update_is_planned_with_the_command_to_come, setup_shown,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
