#include "operator/cluster/owner.h"

#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "operator/cluster/controller_priv.h"
#include "operator/modelservice/kinds.h"
#include "wire/json.h"

bool
msvc_is_service(const struct berth_json *owner)
{
    return strcmp(berth_json_member_text(owner, "kind", ""), berth_msvc_services.kind) == 0 &&
           strncmp(berth_json_member_text(owner, "apiVersion", ""), "llm-d.ai/", 9) == 0;
}

bool
msvc_names_owner(const struct berth_json *object, const char *uid)
{
    const struct berth_json *owners = berth_kube_at(object, "metadata.ownerReferences");

    for (struct berth_json_iter it = berth_json_iter(owners); berth_json_next(&it);) {
        if (msvc_is_service(it.value) &&
            strcmp(berth_json_member_text(it.value, "uid", ""), uid) == 0)
            return true;
    }
    return false;
}

/* The ModelService that a reference names, while there is one. */
static const struct berth_json *
service_of(const struct msvc_view *v, const struct berth_json *owner)
{
    const struct berth_json *found = v->service(v->arg, berth_json_member_text(owner, "name", ""));

    return berth_slice_is(berth_kube_text(found, "metadata.uid"),
                          berth_json_member_text(owner, "uid", ""))
               ? found
               : NULL;
}

void
msvc_others_of(const struct msvc_view *v, const struct berth_json *live, struct msvc_others *ret)
{
    const struct berth_json *owners = berth_kube_at(live, "metadata.ownerReferences");

    *ret = (struct msvc_others){.refs = owners};
    for (struct berth_json_iter it = berth_json_iter(owners); berth_json_next(&it);) {
        if (!msvc_is_service(it.value) ||
            strcmp(berth_json_member_text(it.value, "uid", ""), v->m->uid) == 0)
            continue;
        const struct berth_json *service = service_of(v, it.value);
        ret->named = berth_json_member_text(it.value, "name", "");
        if (service == NULL)
            continue;
        ret->count++;
        if (v->object == NULL || msvc_is_older(service, v->object))
            ret->older = ret->named;
    }
}

const char *
msvc_owners_text(const struct msvc_view *v, const struct msvc_others *others, bool mine)
{
    struct berth_buf b;
    struct berth_jw w;

    berth_buf_init(&b, v->a);
    berth_jw_init(&w, &b);
    berth_jw_array(&w);
    if (mine && v->m->uid[0] != '\0') {
        berth_jw_object(&w);
        berth_jw_pair(&w, "apiVersion", berth_msvc_services.group_version);
        berth_jw_pair(&w, "kind", berth_msvc_services.kind);
        berth_jw_pair(&w, "name", v->m->name);
        berth_jw_pair(&w, "uid", v->m->uid);
        berth_jw_object_end(&w);
    }
    for (struct berth_json_iter it = berth_json_iter(others->refs); berth_json_next(&it);) {
        if (strcmp(berth_json_member_text(it.value, "uid", ""), v->m->uid) != 0 &&
            (!mine || (msvc_is_service(it.value) && service_of(v, it.value) != NULL)))
            berth_jw_value(&w, it.value);
    }
    berth_jw_array_end(&w);
    return berth_buf_text(&b);
}

/* What a person can do who knows that it may be ours. */
static const char *
give_it_text(const struct msvc_view *v, const struct berth_kube_kind *kind, const char *name)
{
    if (v->m->uid[0] == '\0')
        return "";
    return berth_arena_printf(v->a,
                              ", or let it be taken over: kubectl label -n %s %s "
                              "%s " BERTH_MSVC_UID_LABEL "=%s",
                              v->m->ns, kind->plural, name, v->m->uid);
}

bool
msvc_is_ours(const struct msvc_view *v, const struct berth_kube_kind *kind,
             const struct berth_json *live, struct msvc_refusal *ret)
{
    const char *name = berth_kube_text(live, "metadata.name").at, *uid = v->m->uid;
    struct msvc_others others;

    if (uid[0] != '\0' && (msvc_names_owner(live, uid) ||
                           berth_slice_is(berth_kube_label(live, BERTH_MSVC_UID_LABEL), uid)))
        return true;
    msvc_others_of(v, live, &others);
    *ret = (struct msvc_refusal){.passes = others.named != NULL && others.count == 0 &&
                                           strcmp(others.named, v->m->name) == 0};
    if (ret->passes) {
        ret->why = "belongs to a ModelService of that name that was before, and goes with that one";
    } else if (others.named != NULL) {
        ret->why = berth_arena_printf(
            v->a, "belongs to ModelService %s: give one of the two another name", others.named);
    } else {
        const char *give_it = give_it_text(v, kind, name);
        ret->why = give_it == NULL
                       ? NULL
                       : berth_arena_printf(v->a,
                                            "is there and was not made for this ModelService: "
                                            "delete it, or name this one otherwise%s",
                                            give_it);
    }
    return false;
}

/* ---- what llm-d's own operator set ---- */

/* The names that its process has: the image's, and by `go run`. */
static bool
is_llmd(const struct berth_json *entry)
{
    const char *manager = berth_json_member_text(entry, "manager", "");

    return (strcmp(manager, "manager") == 0 || strcmp(manager, "main") == 0) &&
           strcmp(berth_json_member_text(entry, "operation", ""), "Update") == 0 &&
           berth_json_member_text(entry, "subresource", "")[0] == '\0';
}

static bool
is_our_entry(const struct berth_json *entry)
{
    return strcmp(berth_json_member_text(entry, "manager", ""), BERTH_MSVC_MANAGER) == 0 &&
           strcmp(berth_json_member_text(entry, "operation", ""), "Apply") == 0;
}

bool
msvc_owns_replicas(const struct berth_json *live)
{
    const struct berth_json *all = berth_kube_at(live, "metadata.managedFields");

    for (struct berth_json_iter it = berth_json_iter(all); berth_json_next(&it);) {
        if (is_our_entry(it.value) && berth_kube_at(it.value, "fieldsV1.f:spec.f:replicas") != NULL)
            return true;
    }
    return false;
}

/* The fields of its entries and of ours, as one set: sets of fields are objects within each other,
 * and are joined as objects are merged. */
static const struct berth_json *
joined_fields(struct berth_arena *a, const struct berth_json *all, const char **ret_version)
{
    const struct berth_json *ret = NULL;

    for (struct berth_json_iter it = berth_json_iter(all); berth_json_next(&it);) {
        struct berth_buf b;
        struct berth_jw w;
        if (!is_llmd(it.value) && !is_our_entry(it.value))
            continue;
        *ret_version = berth_json_member_text(it.value, "apiVersion", "");
        berth_buf_init(&b, a);
        berth_jw_init(&w, &b);
        berth_jw_merged(&w, ret, berth_json_get(it.value, "fieldsV1"));
        if (b.failed || berth_json_parse(a, b.at, b.len, NULL, &ret, NULL) < 0)
            return NULL;
    }
    return ret;
}

const char *
msvc_taking_over(struct berth_arena *a, const struct berth_json *live)
{
    const struct berth_json *all = berth_kube_at(live, "metadata.managedFields");
    const char *version = "";
    const struct berth_json *fields = joined_fields(a, all, &version);
    struct berth_buf b;
    struct berth_jw w;

    berth_buf_init(&b, a);
    berth_jw_init(&w, &b);
    berth_jw_object(&w);
    berth_jw_key(&w, "metadata");
    berth_jw_object(&w);
    berth_jw_pair(&w, "resourceVersion", berth_kube_text(live, "metadata.resourceVersion").at);
    berth_jw_key(&w, "managedFields");
    berth_jw_array(&w);
    for (struct berth_json_iter it = berth_json_iter(all); berth_json_next(&it);) {
        if (!is_llmd(it.value) && !is_our_entry(it.value))
            berth_jw_value(&w, it.value);
    }
    berth_jw_object(&w);
    berth_jw_pair(&w, "manager", BERTH_MSVC_MANAGER);
    berth_jw_pair(&w, "operation", "Apply");
    berth_jw_pair(&w, "apiVersion", version);
    berth_jw_pair(&w, "fieldsType", "FieldsV1");
    berth_jw_key(&w, "fieldsV1");
    berth_jw_value(&w, fields);
    berth_jw_object_end(&w);
    berth_jw_array_end(&w);
    berth_jw_object_end(&w);
    berth_jw_object_end(&w);
    return fields != NULL ? berth_buf_text(&b) : NULL;
}

bool
msvc_is_llmds(const struct berth_json *live)
{
    const struct berth_json *all = berth_kube_at(live, "metadata.managedFields");

    for (struct berth_json_iter it = berth_json_iter(all); berth_json_next(&it);) {
        if (is_llmd(it.value))
            return true;
    }
    return false;
}
