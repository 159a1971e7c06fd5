#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/*
 * An engine for the tests of the process shimlet: answers every request with 200, and misbehaves as
 * its words say.
 * usage: process-engine PORT [sick | share | deaf | exit N | child | daemon | big MB | lines N |
 * say TEXT]...
 */

static int
number(const char *text)
{
    return text != NULL ? (int)strtol(text, NULL, 10) : 0;
}

/* Another process of it, which does not end by itself. */
static void
leave_one(int session)
{
    if (fork() != 0)
        return;
    if (session)
        (void)setsid();
    (void)signal(SIGTERM, SIG_IGN);
    for (;;)
        (void)pause();
}

static void
take_memory(size_t mb)
{
    char *at = malloc(mb << 20);

    if (at == NULL) {
        (void)fprintf(stderr, "no memory for %zu MB\n", mb);
        exit(3);
    }
    for (size_t i = 0; i < mb << 20; i += 4096)
        *(volatile char *)(at + i) = 1;
}

static void
serve(int port, const char *status, int option)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((unsigned short)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    char text[512];

    (void)setsockopt(fd, SOL_SOCKET, option, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) < 0 || listen(fd, 64) < 0) {
        perror("bind");
        exit(2);
    }
    for (;;) {
        const int peer = accept(fd, NULL, NULL);

        if (recv(peer, text, sizeof text, 0) > 0) {
            const int n =
                snprintf(text, sizeof text,
                         "HTTP/1.1 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", status);
            (void)!write(peer, text, (size_t)n);
        }
        (void)close(peer);
    }
}

int
main(int argc, char **argv)
{
    const char *status = "200 OK";
    int option = SO_REUSEADDR;

    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 2; i < argc; i++) {
        const char *word = argv[i], *next = i + 1 < argc ? argv[i + 1] : NULL;

        if (strcmp(word, "sick") == 0)
            status = "503 Service Unavailable";
        else if (strcmp(word, "share") == 0)
            option = SO_REUSEPORT; /* a second one at that port does not end by itself */
        else if (strcmp(word, "deaf") == 0)
            (void)signal(SIGTERM, SIG_IGN);
        else if (strcmp(word, "child") == 0)
            leave_one(0);
        else if (strcmp(word, "daemon") == 0)
            leave_one(1);
        else if (strcmp(word, "say") == 0)
            (void)printf("%s\n", next);
        else if (strcmp(word, "env") == 0)
            (void)printf("%s=%s\n", next, getenv(next) != NULL ? getenv(next) : "(none)");
        else if (strcmp(word, "big") == 0)
            take_memory((size_t)number(next));
        else if (strcmp(word, "exit") == 0)
            exit(number(next));
        else if (strcmp(word, "lines") == 0)
            for (int n = 0; n < number(next); n++)
                (void)printf("line %d of what the engine prints while it works\n", n);
    }
    serve(number(argv[1]), status, option);
}
