#include "test_models.h"

#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#ifdef __SANITIZE_THREAD__
/* The engine is not instrumented: how its own threads keep order is not seen, ours are. */
const char *__tsan_default_suppressions(void);
const char *
__tsan_default_suppressions(void)
{
    return "race:libonnxruntime.so\n";
}
#endif

int
make_models(const char *script, const char *folder)
{
    extern char **environ;
    const char *python = getenv("BERTH_PYTHON"), *home = getenv("HOME");
    char path[512];
    int status = -1;
    pid_t pid;

    (void)snprintf(path, sizeof path, "%s%s",
                   python != NULL ? python
                   : home != NULL ? home
                                  : "",
                   python != NULL ? "" : "/.cache/berth/venv/bin/python");
    char *argv[] = {path, (char *)(uintptr_t)script, (char *)(uintptr_t)folder, NULL};
    if (posix_spawn(&pid, path, NULL, NULL, argv, environ) != 0 || waitpid(pid, &status, 0) != pid)
        return -1;
    return status;
}
