#include "api/proto_sets.h"

#include <string.h>

#include <proto/descriptor_sets.h>

#include "base/assert.h"
#include "wire/pb.h"

enum { SET_FILE = 1, NESTED_MAX = 8 };

struct berth_slice
berth_proto_bytes(struct berth_slice message, uint32_t number)
{
    struct berth_pb p = berth_pb_of(message);
    struct berth_pb_field f;

    while (berth_pb_next(&p, &f))
        if (f.number == number && f.type == BERTH_PB_BYTES)
            return f.bytes;
    return BERTH_SLICE("");
}

static bool
same(struct berth_slice a, struct berth_slice b)
{
    return a.len == b.len && memcmp(a.at, b.at, a.len) == 0;
}

/* A file that others import is in several sets: has one before (set, at) it, too? */
static bool
is_seen(struct berth_slice name, size_t set, size_t at)
{
    for (size_t i = 0; i <= set; i++) {
        const char *begin = (const char *)berth_proto_sets[i].at;
        struct berth_pb p =
            berth_pb_of((struct berth_slice){begin, i < set ? berth_proto_sets[i].len : at});
        struct berth_pb_field f;
        while (berth_pb_next(&p, &f))
            if (same(berth_proto_bytes(f.bytes, BERTH_FILE_NAME), name))
                return true;
    }
    return false;
}

bool
berth_proto_files_next(struct berth_proto_files *it)
{
    while (berth_proto_sets[it->set_].name != NULL) {
        const char *begin = (const char *)berth_proto_sets[it->set_].at;
        struct berth_pb p = {begin + it->at_, begin + berth_proto_sets[it->set_].len, false};
        struct berth_pb_field f;
        const size_t at = it->at_;
        if (!berth_pb_next(&p, &f)) {
            berth_assert(!p.bad);
            it->set_++;
            it->at_ = 0;
            continue;
        }
        it->at_ = (size_t)(p.at - begin);
        if (f.number != SET_FILE || f.type != BERTH_PB_BYTES)
            continue;
        it->file = f.bytes;
        it->name = berth_proto_bytes(f.bytes, BERTH_FILE_NAME);
        it->package = berth_proto_bytes(f.bytes, BERTH_FILE_PACKAGE);
        if (!is_seen(it->name, it->set_, at))
            return true;
    }
    return false;
}

/* Take "name", or "name." where something follows, off the front of *symbol. */
static bool
take_name(struct berth_slice *symbol, struct berth_slice name)
{
    if (name.len == 0)
        return true;
    if (symbol->len < name.len || memcmp(symbol->at, name.at, name.len) != 0)
        return false;
    if (symbol->len > name.len && (symbol->at[name.len] != '.' || symbol->len == name.len + 1))
        return false;
    const size_t used = symbol->len > name.len ? name.len + 1 : name.len;
    symbol->at += used;
    symbol->len -= used;
    return true;
}

struct berth_slice
berth_proto_message(struct berth_slice full_name)
{
    if (full_name.len > 0 && full_name.at[0] == '.') {
        full_name.at++;
        full_name.len--;
    }
    for (struct berth_proto_files it = {0}; berth_proto_files_next(&it);) {
        struct berth_slice rest = full_name;
        struct berth_pb p = berth_pb_of(it.file);
        struct berth_pb_field f;
        if (!take_name(&rest, it.package))
            continue;
        while (berth_pb_next(&p, &f))
            if (f.number == BERTH_FILE_MESSAGE &&
                same(berth_proto_bytes(f.bytes, BERTH_NAME), rest))
                return f.bytes;
    }
    return BERTH_SLICE("");
}

/* Is `symbol` in `within`, whose members of a kind have that number, and theirs likewise? */
static bool
defines(struct berth_slice within, bool is_file, struct berth_slice symbol, unsigned depth)
{
    struct berth_pb p = berth_pb_of(within);
    struct berth_pb_field f;

    while (depth < NESTED_MAX && berth_pb_next(&p, &f)) {
        struct berth_slice rest = symbol;
        const bool message = f.number == (is_file ? BERTH_FILE_MESSAGE : BERTH_MESSAGE_MESSAGE);
        const bool other = is_file
                               ? f.number == BERTH_FILE_ENUM || f.number == BERTH_FILE_SERVICE
                               : f.number == BERTH_MESSAGE_ENUM || f.number == BERTH_MESSAGE_FIELD;
        if (f.type != BERTH_PB_BYTES || (!message && !other) ||
            !take_name(&rest, berth_proto_bytes(f.bytes, BERTH_NAME)))
            continue;
        if (rest.len == 0 || (message && defines(f.bytes, false, rest, depth + 1)))
            return true;
        /* A method of a service, a value of an enumeration: both are field 2. */
        struct berth_pb inner = berth_pb_of(f.bytes);
        struct berth_pb_field g;
        while (other && berth_pb_next(&inner, &g))
            if (g.number == BERTH_SERVICE_METHOD && g.type == BERTH_PB_BYTES &&
                same(berth_proto_bytes(g.bytes, BERTH_NAME), rest))
                return true;
    }
    return false;
}

bool
berth_proto_defines(const struct berth_proto_files *file, struct berth_slice symbol)
{
    return take_name(&symbol, file->package) && symbol.len > 0 &&
           defines(file->file, true, symbol, 0);
}
