#include "cmd/input.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/utf8.h"
#include "cmd/cmd_priv.h"
#include "wire/base64.h"
#include "wire/json.h"

enum { INPUT_BYTES_MAX = 100 << 20, PIECE_BYTES = 64 << 10 };

static int
read_all(const struct berth_args *args, int fd, const char *what, struct berth_buf *out)
{
    for (;;) { /* bounded by the buffer's limit */
        char *room = out->len <= INPUT_BYTES_MAX ? berth_buf_reserve(out, PIECE_BYTES) : NULL;
        if (room == NULL)
            return berth_failed(args, "%s: is larger than %d MiB", what, INPUT_BYTES_MAX >> 20);
        const ssize_t n = read(fd, room, PIECE_BYTES);
        if (n < 0 && errno != EINTR)
            return berth_failed(args, "%s: cannot be read: %m", what);
        if (n == 0)
            return BERTH_EXIT_OK;
        if (n > 0)
            out->len += (size_t)n;
    }
}

int
berth_input_stdin(const struct berth_args *args, struct berth_buf *out)
{
    return read_all(args, STDIN_FILENO, "standard input", out);
}

static const char *
media_type(const struct berth_buf *b)
{
    static const struct {
        const char *start;
        size_t len;
        const char *type;
    } kinds[] = {
        {"\x89PNG", 4, "image/png"},
        {"\xff\xd8\xff", 3, "image/jpeg"},
        {"GIF8", 4, "image/gif"},
        {"RIFF", 4, "audio/wav"},
    };

    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (b->len >= kinds[i].len && memcmp(b->at, kinds[i].start, kinds[i].len) == 0)
            return kinds[i].type;
    return "application/octet-stream";
}

/* Is it an array or an object? */
static bool
is_tree(struct berth_arena *a, struct berth_slice text)
{
    const struct berth_json *v;
    size_t i = 0;

    while (i < text.len && strchr(" \t\r\n", text.at[i]) != NULL)
        i++;
    return i < text.len && (text.at[i] == '{' || text.at[i] == '[') &&
           berth_json_parse(a, text.at, text.len, NULL, &v, NULL) == 0;
}

static void
put_bytes(struct berth_arena *a, const struct berth_buf *bytes, struct berth_buf *out)
{
    const struct berth_slice text = {bytes->at, bytes->len};
    struct berth_jw w;

    berth_jw_init(&w, out);
    if (bytes->len == 0) {
        berth_jw_string(&w, "");
    } else if (is_tree(a, text)) {
        berth_jw_raw(&w, text.at, text.len);
    } else if (berth_utf8_valid(text.at, text.len)) {
        berth_jw_string_n(&w, text.at, text.len);
    } else {
        berth_buf_printf(out, "\"data:%s;base64,", media_type(bytes));
        berth_base64_put(out, bytes->at, bytes->len);
        berth_buf_putc(out, '"');
    }
}

int
berth_input_bytes(const struct berth_args *args, const char *typed, struct berth_buf *out)
{
    const char *path = typed[0] == '@' ? typed + 1 : typed;
    struct stat st;

    if (strcmp(typed, "-") == 0)
        return berth_input_stdin(args, out);
    if (typed[0] == '@' || (stat(path, &st) == 0 && S_ISREG(st.st_mode))) {
        BERTH_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
        return fd >= 0 ? read_all(args, fd, path, out)
                       : berth_failed(args, "%s: cannot be opened: %m", path);
    }
    berth_buf_puts(out, typed);
    return BERTH_EXIT_OK;
}

int
berth_input_put(const struct berth_args *args, struct berth_arena *a, const char *typed,
                struct berth_buf *out)
{
    struct berth_buf bytes;

    berth_buf_init(&bytes, a);
    const int rc = berth_input_bytes(args, typed, &bytes);
    if (rc == 0)
        put_bytes(a, &bytes, out);
    return rc;
}
