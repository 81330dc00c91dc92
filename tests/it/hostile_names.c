/* Stands in for the system's resolver in tests: names under .test are answered from a file, one
 * answer a line: `name address address ...`. Each look-up of a name takes its next line; the last
 * one stays. `name !fail` fails, `name !slow` answers after five seconds. All other names and all
 * literal addresses go to the real getaddrinfo. Loaded with LD_PRELOAD. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct { char name[64]; int asked; } seen[32];

static int times_asked(const char *name) {
    for (int i = 0; i < 32; i++) {
        if (!seen[i].name[0]) snprintf(seen[i].name, sizeof seen[i].name, "%s", name);
        if (!strcmp(seen[i].name, name)) return seen[i].asked++;
    }
    return 0;
}

/* The line for this look-up of a name, without the name. */
static int answer_of(const char *name, char *answer, size_t size) {
    const char *path = getenv("TEST_NAMES");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (!file) return 0;
    pthread_mutex_lock(&lock);
    int wanted = times_asked(name), found = 0;
    char line[512];
    while (found <= wanted && fgets(line, sizeof line, file)) {
        size_t length = strlen(name);
        if (strncmp(line, name, length) || line[length] != ' ') continue;
        snprintf(answer, size, "%s", line + length + 1);
        found++;
    }
    pthread_mutex_unlock(&lock);
    fclose(file);
    return found;
}

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **result) {
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
        dlsym(RTLD_NEXT, "getaddrinfo");
    size_t length = name ? strlen(name) : 0;
    if (length < 5 || strcmp(name + length - 5, ".test")) return real(name, service, hints, result);
    char answer[512];
    if (!answer_of(name, answer, sizeof answer)) return EAI_NONAME;
    struct addrinfo *first = NULL, **end = &first;
    char *rest = NULL;
    for (char *word = strtok_r(answer, " \n", &rest); word; word = strtok_r(NULL, " \n", &rest)) {
        if (!strcmp(word, "!fail")) return EAI_AGAIN;
        if (!strcmp(word, "!slow")) { sleep(5); continue; }
        struct addrinfo numeric = *hints;
        numeric.ai_flags |= AI_NUMERICHOST;
        int error = real(word, service, &numeric, end);
        if (error) return error;
        while (*end) end = &(*end)->ai_next;
    }
    if (!first) return EAI_NONAME;
    *result = first;
    return 0;
}
