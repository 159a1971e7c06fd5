#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "os/process.h"
#include "plugin/extension.h"

/* What is read of an extension before it is one: pure. */

/* A line's sum, when it is of that name: "SHA256  NAME", a '*' before the name marks a binary file.
 */
static bool
is_of(struct berth_slice line, const char *name, char ret[BERTH_DIGEST_HEX])
{
    size_t hex = 0, at, end = line.len;

    while (hex < line.len && line.at[hex] != ' ' && line.at[hex] != '\t')
        hex++;
    for (at = hex; at < line.len && (line.at[at] == ' ' || line.at[at] == '\t');)
        at++;
    at += at < line.len && line.at[at] == '*';
    if (end > at && line.at[end - 1] == '\r')
        end--;
    return end - at == strlen(name) && memcmp(line.at + at, name, end - at) == 0 &&
           berth_digest_parse(line.at, hex, ret);
}

bool
berth_extension_listed(struct berth_slice list, const char *name, char ret[BERTH_DIGEST_HEX])
{
    const char *at = list.at, *end = list.at + list.len;

    if (*name == '\0')
        return false;
    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        const char *next = stop != NULL ? stop : end;
        if (is_of((struct berth_slice){at, (size_t)(next - at)}, name, ret))
            return true;
        at = next + (stop != NULL);
    }
    return false;
}

static bool
is_name(const char *name)
{
    const size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-");

    return len > 0 && len <= BERTH_EXTENSION_NAME_MAX && name[len] == '\0';
}

int
berth_extension_answer(const char *path, char *answer, int status,
                       char ret_name[BERTH_EXTENSION_NAME_MAX + 1], struct berth_err *e)
{
    char how[80], *end = strchr(answer, '\n');

    if (end == NULL)
        return berth_err_set(e, BERTH_EINVAL,
                             "%s: tried in a process of its own, which %s without an answer", path,
                             berth_process_status_text(status, how, sizeof how));
    *end = '\0';
    if (strncmp(answer, "ok ", 3) == 0) {
        if (status != 0)
            return berth_err_set(e, BERTH_EINVAL, "%s: tried in a process of its own, which %s",
                                 path, berth_process_status_text(status, how, sizeof how));
        if (!is_name(answer + 3))
            return berth_err_set(e, BERTH_EABI,
                                 "%s: its name \"%.64s\" must be 1 to %d of [a-z0-9_-]", path,
                                 answer + 3, BERTH_EXTENSION_NAME_MAX);
        (void)snprintf(ret_name, BERTH_EXTENSION_NAME_MAX + 1, "%s", answer + 3);
        return 0;
    }
    char *text;
    const long code = strtol(answer, &text, 10);
    return berth_err_set(e, code == BERTH_EABI ? BERTH_EABI : BERTH_EINVAL, "%s:%s", path,
                         *text == ' ' ? text : " it cannot be had");
}
