#ifndef BERTH_SHAPE_PRIV_H
#define BERTH_SHAPE_PRIV_H

#include <stddef.h>

#include "base/assert.h"
#include "base/buf.h"
#include "merge/shape.h"

enum shape_type {
    SHAPE_ANY,
    SHAPE_STRING,
    SHAPE_INT,
    SHAPE_INT32,
    SHAPE_BOOL,
    SHAPE_NUMBER,
    SHAPE_QUANTITY,
    SHAPE_INT_OR_STRING,
    SHAPE_OBJECT,
};
enum shape_many { SHAPE_ONE, SHAPE_LIST, SHAPE_MAP };

struct shape_field {
    const char *name;
    enum shape_type type;
    enum shape_many many;
    const struct berth_shape *of; /* of an object */
};
struct berth_shape {
    const struct shape_field *fields;
    size_t count;
};

const struct shape_field *shape_find(const struct berth_shape *shape, struct berth_slice name);
/* The field whose name is nearest to this one; NULL: none is near. */
const char *shape_nearest(const struct berth_shape *shape, struct berth_slice name);

/* Room for an error in a full table: the last warning goes, if there is one, and is counted as
 * beyond. */
void shape_drop_warning(struct berth_shape_problem *found, struct berth_shape_problems *count);

/* The tables are written with these. */
#define FIELD(name, type, many, of) \
    {                               \
        name, type, many, of        \
    }
#define ANY(name)           FIELD(name, SHAPE_ANY, SHAPE_ONE, NULL)
#define STRING(name)        FIELD(name, SHAPE_STRING, SHAPE_ONE, NULL)
#define STRINGS(name)       FIELD(name, SHAPE_STRING, SHAPE_LIST, NULL)
#define STRING_MAP(name)    FIELD(name, SHAPE_STRING, SHAPE_MAP, NULL)
#define INT(name)           FIELD(name, SHAPE_INT, SHAPE_ONE, NULL)
#define INT32(name)         FIELD(name, SHAPE_INT32, SHAPE_ONE, NULL)
#define INTS(name)          FIELD(name, SHAPE_INT, SHAPE_LIST, NULL)
#define BOOL(name)          FIELD(name, SHAPE_BOOL, SHAPE_ONE, NULL)
#define QUANTITY(name)      FIELD(name, SHAPE_QUANTITY, SHAPE_ONE, NULL)
#define QUANTITY_MAP(name)  FIELD(name, SHAPE_QUANTITY, SHAPE_MAP, NULL)
#define INT_OR_STRING(name) FIELD(name, SHAPE_INT_OR_STRING, SHAPE_ONE, NULL)
#define OBJECT(name, of)    FIELD(name, SHAPE_OBJECT, SHAPE_ONE, &shape_##of)
#define OBJECTS(name, of)   FIELD(name, SHAPE_OBJECT, SHAPE_LIST, &shape_##of)
#define SHAPE(table)              \
    {                             \
        table, BERTH_COUNT(table) \
    }

extern const struct berth_shape shape_object_meta, shape_label_selector, shape_pod_template_spec,
    shape_volume, shape_config_map_key_selector, shape_object_field_selector,
    shape_resource_field_selector, shape_env_from_source, shape_resource_requirements,
    shape_object_reference, shape_route_parent_refs;
extern const struct berth_shape shape_deployment, shape_leader_worker_set, shape_autoscaler,
    shape_service, shape_config_map, shape_service_account;
extern const struct berth_shape shape_route, shape_pool, shape_old_pool, shape_model,
    shape_objective, shape_model_service;

#endif
