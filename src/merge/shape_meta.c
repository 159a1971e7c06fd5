#include "merge/shape_priv.h"

/* What every object has.  Tables here and in the other shape_*.c are in the order of names. */

static const struct shape_field owner_reference_fields[] = {
    STRING("apiVersion"), BOOL("blockOwnerDeletion"),
    BOOL("controller"),   STRING("kind"),
    STRING("name"),       STRING("uid")};
static const struct berth_shape shape_owner_reference = SHAPE(owner_reference_fields);

static const struct shape_field object_meta_fields[] = {STRING_MAP("annotations"),
                                                        STRING("creationTimestamp"),
                                                        INT("deletionGracePeriodSeconds"),
                                                        STRING("deletionTimestamp"),
                                                        STRINGS("finalizers"),
                                                        STRING("generateName"),
                                                        INT("generation"),
                                                        STRING_MAP("labels"),
                                                        ANY("managedFields"),
                                                        STRING("name"),
                                                        STRING("namespace"),
                                                        OBJECTS("ownerReferences", owner_reference),
                                                        STRING("resourceVersion"),
                                                        STRING("selfLink"),
                                                        STRING("uid")};
const struct berth_shape shape_object_meta = SHAPE(object_meta_fields);

static const struct shape_field label_selector_requirement_fields[] = {
    STRING("key"), STRING("operator"), STRINGS("values")};
static const struct berth_shape shape_label_selector_requirement =
    SHAPE(label_selector_requirement_fields);

static const struct shape_field label_selector_fields[] = {
    OBJECTS("matchExpressions", label_selector_requirement), STRING_MAP("matchLabels")};
const struct berth_shape shape_label_selector = SHAPE(label_selector_fields);
