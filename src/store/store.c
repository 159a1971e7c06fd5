#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/cleanup.h"

enum { SCHEMA_VERSION = 1, APPLICATION_ID = 0x42657274 /* "Bert" */, LIST_MAX = 65536 };

enum statement { GET, LIST, COUNT, PUT, DELETE, REVISION_GET, REVISION_SET, STATEMENT_COUNT };
static const char *const statements[STATEMENT_COUNT] = {
    [GET] = "SELECT value, revision FROM records WHERE key = ?1",
    [LIST] = "SELECT key, value, revision FROM records WHERE key >= ?1 AND substr(key, 1, ?2) = ?1"
             " ORDER BY key",
    [COUNT] = "SELECT count(*) FROM records WHERE key >= ?1 AND substr(key, 1, ?2) = ?1",
    [PUT] = "INSERT INTO records (key, value, revision) VALUES (?1, ?2, ?3)"
            " ON CONFLICT (key) DO UPDATE SET value = ?2, revision = ?3",
    [DELETE] = "DELETE FROM records WHERE key = ?1",
    [REVISION_GET] = "SELECT revision FROM store",
    [REVISION_SET] = "UPDATE store SET revision = ?1",
};

struct berth_store {
    pthread_mutex_t mu; /* held over all of SQLite: one connection, one caller at a time */
    sqlite3 *db;
    sqlite3_stmt *stmt[STATEMENT_COUNT];
    int lock_fd; /* -1: in memory */
    char *path;
};

/* What SQLite says, as one of our codes, with what to do about it. */
static int
sqlite_err(struct berth_store *s, const char *doing, struct berth_err *e)
{
    int code = s->db != NULL ? sqlite3_extended_errcode(s->db) : SQLITE_NOMEM;
    const char *msg = s->db != NULL ? sqlite3_errmsg(s->db) : "out of memory";

    switch (code & 0xff) {
    case SQLITE_NOMEM:
        return berth_err_set(e, BERTH_ENOMEM, "%s: %s: out of memory", s->path, doing);
    case SQLITE_FULL:
        return berth_err_set(e, BERTH_ENOSPC,
                             "%s: %s: the disk is full; nothing was changed: free some space on it "
                             "(logs, models that nothing uses) and try again",
                             s->path, doing);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return berth_err_set(e, BERTH_EIO,
                             "%s: %s: the file is damaged (%s); move it and its -wal file away, or "
                             "put a backup in its place, and start again",
                             s->path, doing, msg);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return berth_err_set(e, BERTH_EEXIST, "%s: another process uses it", s->path);
    default:
        return berth_err_set(e, BERTH_EIO, "%s: %s: %s (%s)", s->path, doing, msg,
                             sqlite3_errstr(code));
    }
}

static int
exec(struct berth_store *s, const char *sql, const char *doing, struct berth_err *e)
{
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : sqlite_err(s, doing, e);
}

/* The one number that a query gives. */
static int
query_int(struct berth_store *s, const char *sql, int64_t *ret, struct berth_err *e)
{
    sqlite3_stmt *q = NULL;
    int r = 0;

    if (sqlite3_prepare_v2(s->db, sql, -1, &q, NULL) != SQLITE_OK || sqlite3_step(q) != SQLITE_ROW)
        r = sqlite_err(s, "read", e);
    else
        *ret = sqlite3_column_int64(q, 0);
    (void)sqlite3_finalize(q);
    return r;
}

static int
check_damage(struct berth_store *s, struct berth_err *e)
{
    sqlite3_stmt *q = NULL;
    int r = 0;

    if (sqlite3_prepare_v2(s->db, "PRAGMA quick_check(1)", -1, &q, NULL) != SQLITE_OK ||
        sqlite3_step(q) != SQLITE_ROW) {
        r = sqlite_err(s, "check", e);
    } else {
        const char *text = (const char *)sqlite3_column_text(q, 0);
        if (text == NULL || strcmp(text, "ok") != 0)
            r = berth_err_set(
                e, BERTH_EIO,
                "%s: the file is damaged (%s); move it and its -wal file away, or put "
                "a backup in its place, and start again",
                s->path, text != NULL ? text : "no details");
    }
    (void)sqlite3_finalize(q);
    return r;
}

static int
prepare_schema(struct berth_store *s, struct berth_err *e)
{
    int64_t version, tables;
    int r;

    if ((r = query_int(s, "PRAGMA user_version", &version, e)) < 0 ||
        (r = query_int(s, "SELECT count(*) FROM sqlite_master", &tables, e)) < 0)
        return r;
    if (version > SCHEMA_VERSION)
        return berth_err_set(e, BERTH_EIO,
                             "%s: made by a newer berth (schema %" PRId64
                             ", this one knows %d); use that one, or another state folder",
                             s->path, version, SCHEMA_VERSION);
    if (version == SCHEMA_VERSION)
        return 0;
    if (tables > 0)
        return berth_err_set(e, BERTH_EIO, "%s: this database belongs to another program", s->path);
    char sql[512];
    (void)snprintf(sql, sizeof sql,
                   "BEGIN IMMEDIATE;"
                   "CREATE TABLE records (key TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL,"
                   " revision INTEGER NOT NULL) WITHOUT ROWID;"
                   "CREATE TABLE store (revision INTEGER NOT NULL);"
                   "INSERT INTO store VALUES (0);"
                   "PRAGMA application_id = %d; PRAGMA user_version = %d;"
                   "COMMIT",
                   APPLICATION_ID, SCHEMA_VERSION);
    return exec(s, sql, "make the tables", e);
}

static int
prepare(struct berth_store *s, struct berth_err *e)
{
    int r;

    (void)sqlite3_extended_result_codes(s->db, 1);
    if ((r = exec(s,
                  "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;"
                  "PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY;"
                  "PRAGMA journal_size_limit = 4194304",
                  "open", e)) < 0 ||
        (r = check_damage(s, e)) < 0 || (r = prepare_schema(s, e)) < 0)
        return r;
    for (size_t i = 0; i < STATEMENT_COUNT; i++) {
        if (sqlite3_prepare_v3(s->db, statements[i], -1, SQLITE_PREPARE_PERSISTENT, &s->stmt[i],
                               NULL) != SQLITE_OK)
            return sqlite_err(s, "prepare", e);
    }
    return 0;
}

/* Make the folders above path; an error shows when the file is opened. */
static void
make_parents(const char *path)
{
    BERTH_AUTO_FREE char *copy = strdup(path);

    for (char *at = copy != NULL ? strchr(copy + 1, '/') : NULL; at != NULL;
         at = strchr(at + 1, '/')) {
        *at = '\0';
        (void)mkdir(copy, 0700);
        *at = '/';
    }
}

/* A lock of our own beside the file: SQLite's go when any descriptor of the file is closed, and
 * its message does not say who has it. */
static int
lock_file(struct berth_store *s, struct berth_err *e)
{
    BERTH_AUTO_FREE char *path = NULL;
    char pid[32] = "";

    if (asprintf(&path, "%s.lock", s->path) < 0) {
        path = NULL;
        return berth_err_set(e, BERTH_ENOMEM, "%s: out of memory", s->path);
    }
    s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (s->lock_fd < 0)
        return berth_err_set(e, BERTH_EIO, "%s: %m", path);
    if (flock(s->lock_fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK)
            return berth_err_set(e, BERTH_EIO, "%s: %m", path);
        if (pread(s->lock_fd, pid, sizeof pid - 1, 0) < 0)
            pid[0] = '\0';
        pid[strcspn(pid, "\n")] = '\0';
        return berth_err_set(e, BERTH_EEXIST,
                             "%s: another process (%s) has this state folder open; stop it, or use "
                             "another folder (BERTH_STATE_DIR, or --state-dir of `berth serve`)",
                             s->path, pid[0] != '\0' ? pid : "unknown");
    }
    int n = snprintf(pid, sizeof pid, "pid %ld\n", (long)getpid());
    if (ftruncate(s->lock_fd, 0) < 0 || pwrite(s->lock_fd, pid, (size_t)n, 0) < 0)
        return 0; /* only the message above is the poorer for it */
    return 0;
}

static int
close_to_others(const char *path, int flags, struct berth_err *e)
{
    enum { OTHERS = S_IRWXG | S_IRWXO };
    BERTH_AUTO_CLOSE int fd = open(path, O_RDWR | O_CLOEXEC | flags, 0600);
    struct stat st;

    if (fd < 0)
        return errno == ENOENT && (flags & O_CREAT) == 0
                   ? 0
                   : berth_err_set(e, BERTH_EIO, "%s: open: %m", path);
    if (fstat(fd, &st) < 0)
        return berth_err_set(e, BERTH_EIO, "%s: %m", path);
    /* What is not ours, or on a file system that knows no modes, cannot be closed. */
    if (S_ISREG(st.st_mode) && (st.st_mode & OTHERS) != 0 &&
        fchmod(fd, st.st_mode & ~(mode_t)OTHERS & 07777) < 0 && errno != EPERM && errno != ENOTSUP)
        return berth_err_set(e, BERTH_EIO, "%s: chmod 600: %m", path);
    return 0;
}

/*
 * What services have in their environment is in there.  SQLite would make it readable for all but
 * for the umask; its own files beside it have the mode of the first.  Before it is opened: closing
 * a descriptor of the file would end SQLite's locks.
 */
static int
close_files(const struct berth_store *s, struct berth_err *e)
{
    static const char *const beside[] = {"-wal", "-shm", "-journal"};
    int r = close_to_others(s->path, O_CREAT, e);

    for (size_t i = 0; r == 0 && i < sizeof beside / sizeof beside[0]; i++) {
        BERTH_AUTO_FREE char *path = NULL;

        if (asprintf(&path, "%s%s", s->path, beside[i]) < 0) {
            path = NULL;
            return berth_err_set(e, BERTH_ENOMEM, "%s: out of memory", s->path);
        }
        r = close_to_others(path, 0, e);
    }
    return r;
}

static int
open_store(const char *path, bool in_memory, struct berth_store **ret, struct berth_err *e)
{
    struct berth_store *s = calloc(1, sizeof *s);
    int r = 0;

    if (s == NULL || (s->path = strdup(path)) == NULL) {
        free(s);
        return berth_err_set(e, BERTH_ENOMEM, "%s: out of memory", path);
    }
    s->lock_fd = -1;
    (void)pthread_mutex_init(&s->mu, NULL);
    if (!in_memory) {
        make_parents(path);
        r = lock_file(s, e);
        if (r == 0)
            r = close_files(s, e);
    }
    if (r == 0 && sqlite3_open_v2(path, &s->db,
                                  SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                                  NULL) != SQLITE_OK)
        r = sqlite_err(s, "open", e);
    if (r == 0)
        r = prepare(s, e);
    if (r < 0) {
        berth_store_close(s);
        return r;
    }
    *ret = s;
    return 0;
}

int
berth_store_open_sqlite(const char *path, struct berth_store **ret, struct berth_err *e)
{
    return open_store(path, false, ret, e);
}

int
berth_store_open_memory(struct berth_store **ret, struct berth_err *e)
{
    return open_store(":memory:", true, ret, e);
}

void
berth_store_close(struct berth_store *s)
{
    if (s == NULL)
        return;
    for (size_t i = 0; i < STATEMENT_COUNT; i++)
        (void)sqlite3_finalize(s->stmt[i]);
    (void)sqlite3_close(s->db);
    if (s->lock_fd >= 0)
        (void)close(s->lock_fd); /* the file stays: removing it would race with the next holder */
    (void)pthread_mutex_destroy(&s->mu);
    free(s->path);
    free(s);
}

static sqlite3_stmt *
bound_locked(struct berth_store *s, enum statement which, const char *key)
{
    sqlite3_stmt *q = s->stmt[which];

    if (key != NULL)
        (void)sqlite3_bind_text(q, 1, key, -1, SQLITE_STATIC);
    return q;
}

static void
done_locked(sqlite3_stmt *q)
{
    (void)sqlite3_reset(q);
    (void)sqlite3_clear_bindings(q);
}

/* The columns value and revision, from `first` on. */
static int
read_row(struct berth_store *s, struct berth_arena *a, sqlite3_stmt *q, int first,
         struct berth_record *ret, struct berth_err *e)
{
    const void *bytes = sqlite3_column_blob(q, first);
    size_t len = (size_t)sqlite3_column_bytes(q, first);
    const char *copy = berth_arena_strndup(a, bytes, len);

    if (copy == NULL || ret->key == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "%s: out of memory", s->path);
    ret->value = (struct berth_slice){copy, len};
    ret->revision = (uint64_t)sqlite3_column_int64(q, first + 1);
    return 0;
}

int
berth_store_get(struct berth_store *s, struct berth_arena *a, const char *key,
                struct berth_record *ret, struct berth_err *e)
{
    struct berth_record record = {.key = berth_arena_strdup(a, key)};
    int r;

    (void)pthread_mutex_lock(&s->mu);
    sqlite3_stmt *q = bound_locked(s, GET, key);
    int step = sqlite3_step(q);
    if (step == SQLITE_ROW)
        r = read_row(s, a, q, 0, &record, e);
    else if (step == SQLITE_DONE)
        r = berth_err_set(e, BERTH_ENOENT, "%s: no record %s", s->path, key);
    else
        r = sqlite_err(s, "read", e);
    done_locked(q);
    (void)pthread_mutex_unlock(&s->mu);
    if (r == 0)
        *ret = record;
    return r;
}

static int
list_locked(struct berth_store *s, struct berth_arena *a, const char *prefix,
            struct berth_record **ret, size_t *ret_count, struct berth_err *e)
{
    int chars = 0;
    for (const char *p = prefix; *p != '\0'; p++)
        chars += ((unsigned char)*p & 0xc0) != 0x80; /* substr() counts characters */
    sqlite3_stmt *q = bound_locked(s, COUNT, prefix);
    (void)sqlite3_bind_int(q, 2, chars);
    if (sqlite3_step(q) != SQLITE_ROW) {
        done_locked(q);
        return sqlite_err(s, "count", e);
    }
    int64_t count = sqlite3_column_int64(q, 0);
    done_locked(q);
    if (count > LIST_MAX)
        return berth_err_set(e, BERTH_ELIMIT, "%s: %" PRId64 " records below %s, at most %d",
                             s->path, count, prefix, LIST_MAX);
    struct berth_record *records = BERTH_NEW_N(a, struct berth_record, (size_t)count + 1);
    if (records == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "%s: out of memory", s->path);
    size_t n = 0;
    int r = 0, step = SQLITE_DONE;
    q = bound_locked(s, LIST, prefix);
    (void)sqlite3_bind_int(q, 2, chars);
    while (r == 0 && n < (size_t)count && (step = sqlite3_step(q)) == SQLITE_ROW) {
        records[n].key = berth_arena_strdup(a, (const char *)sqlite3_column_text(q, 0));
        r = read_row(s, a, q, 1, &records[n], e);
        n++;
    }
    if (r == 0 && step != SQLITE_ROW && step != SQLITE_DONE)
        r = sqlite_err(s, "list", e);
    done_locked(q);
    if (r == 0) {
        *ret = records;
        *ret_count = n;
    }
    return r;
}

int
berth_store_list(struct berth_store *s, struct berth_arena *a, const char *prefix,
                 struct berth_record **ret, size_t *ret_count, struct berth_err *e)
{
    (void)pthread_mutex_lock(&s->mu);
    int r = list_locked(s, a, prefix, ret, ret_count, e);
    (void)pthread_mutex_unlock(&s->mu);
    return r;
}

/* Run a statement that gives no rows. */
static int
change_locked(struct berth_store *s, sqlite3_stmt *q, struct berth_err *e)
{
    int r = sqlite3_step(q) == SQLITE_DONE ? 0 : sqlite_err(s, "write", e);

    done_locked(q);
    return r;
}

static int
next_revision_locked(struct berth_store *s, int64_t *ret, struct berth_err *e)
{
    sqlite3_stmt *q = s->stmt[REVISION_GET];
    int r = sqlite3_step(q) == SQLITE_ROW ? 0 : sqlite_err(s, "read", e);

    if (r == 0)
        *ret = sqlite3_column_int64(q, 0) + 1;
    done_locked(q);
    if (r < 0)
        return r;
    q = s->stmt[REVISION_SET];
    (void)sqlite3_bind_int64(q, 1, *ret);
    return change_locked(s, q, e);
}

static int
check_expected_locked(struct berth_store *s, const char *key, uint64_t expected,
                      struct berth_err *e)
{
    uint64_t found = 0;

    if (expected == 0)
        return 0;
    sqlite3_stmt *q = bound_locked(s, GET, key);
    int step = sqlite3_step(q);
    if (step == SQLITE_ROW)
        found = (uint64_t)sqlite3_column_int64(q, 1);
    int r = step == SQLITE_ROW || step == SQLITE_DONE ? 0 : sqlite_err(s, "read", e);
    done_locked(q);
    if (r < 0)
        return r;
    if (expected == BERTH_STORE_NEW ? found != 0 : found != expected)
        return berth_err_set(e, BERTH_EEXIST, "%s: %s was changed meanwhile (revision %" PRIu64 ")",
                             s->path, key, found);
    return 0;
}

/* One change as part of the open transaction, which has the revision. */
static int
apply_locked(struct berth_store *s, const struct berth_store_op *op, int64_t revision,
             struct berth_err *e)
{
    int r = check_expected_locked(s, op->key, op->expected, e);

    if (r < 0)
        return r;
    sqlite3_stmt *q = bound_locked(s, op->kind == BERTH_STORE_PUT ? PUT : DELETE, op->key);
    if (op->kind == BERTH_STORE_PUT) {
        (void)sqlite3_bind_blob64(q, 2, op->value.len > 0 ? op->value.at : "", op->value.len,
                                  SQLITE_STATIC);
        (void)sqlite3_bind_int64(q, 3, revision);
    }
    return change_locked(s, q, e);
}

/* End the transaction: commit when r is 0; otherwise, or when that fails, leave no trace. */
static int
end_locked(struct berth_store *s, int r, struct berth_err *e)
{
    if (r == 0)
        r = exec(s, "COMMIT", "commit", e);
    if (r < 0 && sqlite3_get_autocommit(s->db) == 0)
        (void)sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    return r;
}

static int
check_op(const struct berth_store_op *op, struct berth_err *e)
{
    size_t key_len = strnlen(op->key, BERTH_STORE_KEY_MAX + 1);

    if (key_len == 0 || key_len > BERTH_STORE_KEY_MAX)
        return berth_err_set(e, BERTH_EINVAL, "a record's key has 1 to %d bytes",
                             BERTH_STORE_KEY_MAX);
    if (op->kind == BERTH_STORE_PUT && op->value.len > BERTH_STORE_VALUE_MAX)
        return berth_err_set(e, BERTH_ETOOBIG, "%s: %zu bytes, at most %d", op->key, op->value.len,
                             BERTH_STORE_VALUE_MAX);
    return 0;
}

int
berth_store_txn(struct berth_store *s, const struct berth_store_op *ops, size_t count,
                uint64_t *ret_revision, struct berth_err *e)
{
    int64_t revision = 0;
    int r = 0;

    if (count == 0 || count > BERTH_STORE_OPS_MAX)
        return berth_err_set(e, BERTH_EINVAL, "a transaction makes 1 to %d changes",
                             BERTH_STORE_OPS_MAX);
    for (size_t i = 0; i < count; i++) {
        if ((r = check_op(&ops[i], e)) < 0)
            return r;
    }
    (void)pthread_mutex_lock(&s->mu);
    if ((r = exec(s, "BEGIN IMMEDIATE", "begin", e)) == 0) {
        r = next_revision_locked(s, &revision, e);
        for (size_t i = 0; r == 0 && i < count; i++)
            r = apply_locked(s, &ops[i], revision, e);
        r = end_locked(s, r, e);
    }
    (void)pthread_mutex_unlock(&s->mu);
    if (r == 0 && ret_revision != NULL)
        *ret_revision = (uint64_t)revision;
    return r;
}

int
berth_store_put(struct berth_store *s, const char *key, struct berth_slice value, uint64_t expected,
                struct berth_err *e)
{
    const struct berth_store_op op = {
        .kind = BERTH_STORE_PUT, .key = key, .value = value, .expected = expected};

    return berth_store_txn(s, &op, 1, NULL, e);
}

int
berth_store_delete(struct berth_store *s, const char *key, struct berth_err *e)
{
    const struct berth_store_op op = {.kind = BERTH_STORE_DELETE, .key = key};

    return berth_store_txn(s, &op, 1, NULL, e);
}
