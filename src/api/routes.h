#ifndef BERTH_API_ROUTES_H
#define BERTH_API_ROUTES_H

#include <stdbool.h>
#include <stddef.h>

#include "api/api.h"
#include "api/errors.h"
#include "base/buf.h"

struct berth_call;

/* How large a body may be. */
enum berth_body_class {
    BERTH_BODY_NONE,  /* GET and the like: a few bytes are tolerated */
    BERTH_BODY_SMALL, /* settings: 1 MiB */
    BERTH_BODY_TEXT,  /* prompts and conversations: 16 MiB */
    BERTH_BODY_LARGE, /* tensors and images: conf.body_bytes_max */
};

struct berth_route {
    const char *method;
    const char *pattern; /* {model} and {version} (or {request}) stand for one segment or the start
                            of one */
    enum berth_dialect dialect;
    enum berth_scope scope;
    enum berth_body_class body;
    bool blocks; /* on the api's own thread: it waits for the disk, or tells of every model */
    void (*handle)(struct berth_call *c);
    const char *summary; /* for /openapi.json */
};

/* The whole table. */
const struct berth_route *berth_routes(size_t *ret_count);

struct berth_route_match {
    const struct berth_route *route;  /* NULL: no such path, or not that method */
    bool path_known;                  /* then allow names the methods there are */
    struct berth_slice name, version; /* still percent-encoded */
    char allow[64];                   /* "GET, POST" */
};
/* Match a path as sent.  HEAD is answered as GET. */
struct berth_route_match berth_route_find(struct berth_slice method, struct berth_slice path);
/* Does path fit pattern?  Then *ret_name and *ret_version are set where the pattern has them. */
bool berth_route_fits(const char *pattern, struct berth_slice path, struct berth_slice *ret_name,
                      struct berth_slice *ret_version);
/* The shape of errors for paths without a route. */
enum berth_dialect berth_route_dialect(struct berth_slice path);

/* The OpenAPI 3.0.3 document. */
void berth_routes_openapi(struct berth_buf *b, const char *version);

#endif
