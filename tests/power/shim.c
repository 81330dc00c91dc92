/*
 * Preload shim of the power-cut test: writes down, in one order, what a process does to the files
 * below POWER_ROOT and which HTTP answers it begins to send. It changes nothing of what the
 * process does. It is built by tests/power/main.rs with `cc` and used by nothing else.
 *
 * The order is the order of the records in the file POWER_TRACE, which is opened with O_APPEND and
 * gets every record in one writev(2), so records of several threads never mix. A call makes a
 * BEGIN record before it enters the kernel and an END record after it came back. Hence:
 *   - a write whose END stands before the BEGIN of an fsync was finished when that fsync began;
 *   - whatever stands after the END of an fsync happened after it was done;
 *   - an answer whose BEGIN stands at some place had not left the process before that place.
 *
 * Calls that bypass libc (raw system calls) are not seen. The test finds that out by comparing
 * what the trace adds up to with the real files.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

_Static_assert(sizeof(long) == 8, "offsets are passed in one register: 64-bit systems only");

/* Keep in step with `Kind` in trace.rs. */
enum kind {
    K_OPEN = 1, K_CLOSE, K_DUP, K_WRITE, K_TRUNCATE, K_SYNC, K_SYNC_RANGE,
    K_RENAME, K_LINK, K_UNLINK, K_MKDIR, K_ANSWER, K_REQUEST, K_UNKNOWN
};
enum phase { BEGIN = 0, END = 1 };

struct header {
    uint32_t magic;
    uint16_t kind;
    uint16_t phase;
    uint64_t call;   /* joins BEGIN and END of one call */
    int64_t result;  /* END: what the call returned */
    int64_t offset;  /* place in the file, or new length, or the other descriptor */
    int32_t fd;
    uint32_t flags;  /* open: its flags, with bit 31 for "made a new file" */
    uint32_t length; /* bytes that follow */
    uint32_t spare;
};

#define MAGIC 0x31525750u
#define MADE_NEW 0x80000000u
#define MAX_FD 65536
#define REQUEST_HEAD 2048 /* of a request that is sent out, only the head is of interest */

enum { NOTHING = 0, A_FILE, A_CLIENT, A_RECEIVER };

static int trace_fd = -1;
static char root[PATH_MAX];
static size_t root_length;
static _Atomic uint64_t calls = 1;
static _Atomic unsigned char what[MAX_FD];
static pthread_mutex_t names = PTHREAD_MUTEX_INITIALIZER;     /* calls that change directories */
static pthread_mutex_t positions = PTHREAD_MUTEX_INITIALIZER; /* calls that use the file position */
static pthread_mutex_t lengths = PTHREAD_MUTEX_INITIALIZER;   /* of two at once none can tell which was last */

__attribute__((constructor)) static void start(void) {
    const char *folder = getenv("POWER_ROOT"), *trace = getenv("POWER_TRACE");
    if (!folder || !trace || strlen(folder) >= sizeof root) return;
    strcpy(root, folder);
    root_length = strlen(root);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, trace, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    /* High up, so that the descriptors of the process keep their numbers. */
    int high = fd < 0 ? -1 : (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 900);
    if (high < 0) {
        dprintf(2, "power shim: cannot open the trace %s\n", trace);
        _exit(86);
    }
    syscall(SYS_close, fd);
    trace_fd = high;
}

static uint64_t next_call(void) { return atomic_fetch_add(&calls, 1); }

static void put(struct header *h, const struct iovec *parts, int count) {
    struct iovec all[64];
    if (count > 63) {
        dprintf(2, "power shim: a write of %d parts is more than it can record\n", count);
        _exit(86);
    }
    int saved = errno;
    size_t bytes = 0;
    for (int i = 0; i < count; i++) {
        all[i + 1] = parts[i];
        bytes += parts[i].iov_len;
    }
    h->magic = MAGIC;
    h->length = (uint32_t)bytes;
    all[0].iov_base = h;
    all[0].iov_len = sizeof *h;
    long wrote = syscall(SYS_writev, trace_fd, all, count + 1);
    if (wrote != (long)(bytes + sizeof *h)) {
        dprintf(2, "power shim: the trace took %ld of %zu bytes\n", wrote, bytes + sizeof *h);
        _exit(86);
    }
    errno = saved;
}

static void put_text(struct header *h, const char *text) {
    struct iovec part = {(void *)text, strlen(text)};
    put(h, &part, 1);
}

static void put_end(enum kind kind, uint64_t call, int fd, int64_t result) {
    struct header h = {.kind = kind, .phase = END, .call = call, .fd = fd, .result = result};
    put(&h, NULL, 0);
}

static int kind_of(int fd) {
    return trace_fd >= 0 && fd >= 0 && fd < MAX_FD ? atomic_load(&what[fd]) : NOTHING;
}

static void set_kind(int fd, int kind) {
    if (fd >= 0 && fd < MAX_FD) atomic_store(&what[fd], (unsigned char)kind);
}

/* The absolute path, without resolving links; false when it is not below the root. */
static int below_root(int dirfd, const char *path, char *out) {
    if (trace_fd < 0 || !path) return 0;
    size_t used = 0;
    if (path[0] != '/') {
        if (dirfd == AT_FDCWD) {
            if (syscall(SYS_getcwd, out, PATH_MAX) < 0) return 0;
            used = strlen(out);
        } else {
            char link[64];
            snprintf(link, sizeof link, "/proc/self/fd/%d", dirfd);
            long got = syscall(SYS_readlinkat, AT_FDCWD, link, out, PATH_MAX - 1);
            if (got < 0) return 0;
            used = (size_t)got;
        }
        out[used++] = '/';
    }
    if (used + strlen(path) >= PATH_MAX) return 0;
    strcpy(out + used, path);
    for (char *at; (at = strstr(out, "/./"));) memmove(at, at + 2, strlen(at + 2) + 1);
    for (char *at; (at = strstr(out, "//"));) memmove(at, at + 1, strlen(at + 1) + 1);
    size_t end = strlen(out);
    while (end > 1 && out[end - 1] == '/') out[--end] = 0;
    return !strncmp(out, root, root_length) && (out[root_length] == '/' || !out[root_length]);
}

/* ---- names ---- */

static int do_open(int dirfd, const char *path, int flags, mode_t mode) {
    char full[PATH_MAX];
    if (!below_root(dirfd, path, full)) return (int)syscall(SYS_openat, dirfd, path, flags, mode);
    pthread_mutex_lock(&names);
    struct header h = {.kind = K_OPEN, .call = next_call(), .flags = (uint32_t)flags};
    if ((flags & O_CREAT) && syscall(SYS_faccessat, AT_FDCWD, full, F_OK) != 0) {
        h.flags |= MADE_NEW;
        put_text(&h, full);
    }
    int fd = (int)syscall(SYS_openat, dirfd, path, flags, mode);
    int saved = errno;
    if (fd >= 0 || (h.flags & MADE_NEW)) {
        set_kind(fd, A_FILE);
        h.phase = END;
        h.fd = fd;
        h.result = fd;
        put_text(&h, full);
    }
    pthread_mutex_unlock(&names);
    errno = saved;
    return fd;
}

#define MODE_OF(flags, mode)                                       \
    mode_t mode = 0;                                               \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                         \
        va_list rest;                                              \
        va_start(rest, flags);                                     \
        mode = (mode_t)va_arg(rest, int);                          \
        va_end(rest);                                              \
    }

int open(const char *path, int flags, ...) { MODE_OF(flags, mode) return do_open(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE_OF(flags, mode) return do_open(AT_FDCWD, path, flags, mode); }
int openat(int dir, const char *path, int flags, ...) { MODE_OF(flags, mode) return do_open(dir, path, flags, mode); }
int openat64(int dir, const char *path, int flags, ...) { MODE_OF(flags, mode) return do_open(dir, path, flags, mode); }
int creat(const char *path, mode_t mode) { return do_open(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return do_open(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

int close(int fd) {
    if (fd == trace_fd && fd >= 0) { errno = EBADF; return -1; }
    if (kind_of(fd) == A_FILE) {
        struct header h = {.kind = K_CLOSE, .call = next_call(), .fd = fd};
        put(&h, NULL, 0);
    }
    /* Before the kernel frees the number: another thread may get it at once. */
    set_kind(fd, NOTHING);
    return (int)syscall(SYS_close, fd);
}

static int copied(int from, int to) {
    if (to >= 0) {
        int kind = kind_of(from);
        set_kind(to, kind);
        if (kind == A_FILE) {
            struct header h = {.kind = K_DUP, .call = next_call(), .fd = from, .offset = to};
            put(&h, NULL, 0);
        }
    }
    return to;
}

int dup(int fd) { return copied(fd, (int)syscall(SYS_dup, fd)); }
int dup3(int fd, int to, int flags) {
    if (kind_of(to) == A_FILE) {
        struct header h = {.kind = K_CLOSE, .call = next_call(), .fd = to};
        put(&h, NULL, 0);
    }
    return copied(fd, (int)syscall(SYS_dup3, fd, to, flags));
}
int dup2(int fd, int to) { return fd == to ? to : dup3(fd, to, 0); }

static int do_fcntl(int fd, int command, long argument) {
    int got = (int)syscall(SYS_fcntl, fd, command, argument);
    return command == F_DUPFD || command == F_DUPFD_CLOEXEC ? copied(fd, got) : got;
}
#define FCNTL(name)                                                \
    int name(int fd, int command, ...) {                           \
        va_list rest;                                              \
        va_start(rest, command);                                   \
        long argument = va_arg(rest, long);                        \
        va_end(rest);                                              \
        return do_fcntl(fd, command, argument);                    \
    }
FCNTL(fcntl)
FCNTL(fcntl64)

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    char both[2 * PATH_MAX], second[PATH_MAX];
    int inside = below_root(from_dir, from, both);
    inside |= 2 * below_root(to_dir, to, second);
    if (!inside) return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
    pthread_mutex_lock(&names);
    struct header h = {.kind = inside == 3 && !flags ? K_RENAME : K_UNKNOWN, .call = next_call()};
    strcat(strcat(both, "\n"), second);
    put_text(&h, both);
    int got = (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
    put_end(h.kind, h.call, -1, got);
    pthread_mutex_unlock(&names);
    return got;
}
int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int a, const char *from, int b, const char *to) { return renameat2(a, from, b, to, 0); }

int unlinkat(int dir, const char *path, int flags) {
    char full[PATH_MAX];
    if (!below_root(dir, path, full)) return (int)syscall(SYS_unlinkat, dir, path, flags);
    pthread_mutex_lock(&names);
    struct header h = {.kind = K_UNLINK, .call = next_call()};
    put_text(&h, full);
    int got = (int)syscall(SYS_unlinkat, dir, path, flags);
    put_end(K_UNLINK, h.call, -1, got);
    pthread_mutex_unlock(&names);
    return got;
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int mkdirat(int dir, const char *path, mode_t mode) {
    char full[PATH_MAX];
    if (!below_root(dir, path, full)) return (int)syscall(SYS_mkdirat, dir, path, mode);
    pthread_mutex_lock(&names);
    struct header h = {.kind = K_MKDIR, .call = next_call()};
    put_text(&h, full);
    int got = (int)syscall(SYS_mkdirat, dir, path, mode);
    put_end(K_MKDIR, h.call, -1, got);
    pthread_mutex_unlock(&names);
    return got;
}
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

static int do_link(int from_dir, const char *from, int to_dir, const char *to, int flags) {
    char both[2 * PATH_MAX], second[PATH_MAX];
    int inside = below_root(from_dir, from, both);
    inside |= 2 * below_root(to_dir, to, second);
    if (!inside) return (int)syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
    pthread_mutex_lock(&names);
    struct header h = {.kind = inside == 3 && !flags ? K_LINK : K_UNKNOWN, .call = next_call()};
    strcat(strcat(both, "\n"), second);
    put_text(&h, both);
    int got = (int)syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
    put_end(h.kind, h.call, -1, got);
    pthread_mutex_unlock(&names);
    return got;
}
int link(const char *from, const char *to) { return do_link(AT_FDCWD, from, AT_FDCWD, to, 0); }
int linkat(int a, const char *from, int b, const char *to, int flags) { return do_link(a, from, b, to, flags); }

/* ---- bytes ---- */

/* What goes out on a socket: answers of the server, and the heads of requests it makes. A record
 * with flags 1 starts an answer or a request, one with flags 0 goes on with it. */
static void sending(int fd, const struct iovec *parts, int count) {
    if (trace_fd < 0 || fd < 0 || fd >= MAX_FD || count < 1 || count > 63) return;
    const char *text = parts[0].iov_base;
    size_t length = parts[0].iov_len;
    struct header h = {.phase = BEGIN, .fd = fd};
    if (length >= 9 && !memcmp(text, "HTTP/1.1 ", 9)) {
        set_kind(fd, A_CLIENT);
        h.flags = 1;
    } else if (length >= 5 && !memcmp(text, "POST ", 5)) {
        set_kind(fd, A_RECEIVER);
        h.flags = 1;
    }
    h.call = next_call();
    if (kind_of(fd) == A_CLIENT) {
        h.kind = K_ANSWER;
        put(&h, parts, count);
    } else if (kind_of(fd) == A_RECEIVER) {
        struct iovec head = {(void *)text, length < REQUEST_HEAD ? length : REQUEST_HEAD};
        h.kind = K_REQUEST;
        put(&h, &head, 1);
    }
}

static ssize_t positioned(int fd, const struct iovec *parts, int count, off_t offset) {
    struct header h = {.kind = K_WRITE, .call = next_call(), .fd = fd, .offset = offset};
    put(&h, parts, count);
    ssize_t got = syscall(SYS_pwritev, fd, parts, (long)count, offset, 0L);
    put_end(K_WRITE, h.call, fd, got);
    return got;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (kind_of(fd) != A_FILE) {
        sending(fd, parts, count);
        return syscall(SYS_writev, fd, parts, (long)count);
    }
    pthread_mutex_lock(&positions);
    struct stat info;
    long append = syscall(SYS_fcntl, fd, F_GETFL) & O_APPEND;
    off_t offset = append && !fstat(fd, &info) ? info.st_size : (off_t)syscall(SYS_lseek, fd, 0, SEEK_CUR);
    struct header h = {.kind = K_WRITE, .call = next_call(), .fd = fd, .offset = offset};
    put(&h, parts, count);
    ssize_t got = syscall(SYS_writev, fd, parts, (long)count);
    put_end(K_WRITE, h.call, fd, got);
    pthread_mutex_unlock(&positions);
    return got;
}
ssize_t write(int fd, const void *data, size_t length) {
    struct iovec part = {(void *)data, length};
    return writev(fd, &part, 1);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    if (kind_of(fd) == A_FILE) return positioned(fd, parts, count, offset);
    return syscall(SYS_pwritev, fd, parts, (long)count, offset, 0L);
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t offset) { return pwritev(fd, parts, count, offset); }
ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) {
    struct iovec part = {(void *)data, length};
    return pwritev(fd, &part, 1, offset);
}
ssize_t pwrite64(int fd, const void *data, size_t length, off_t offset) { return pwrite(fd, data, length, offset); }

ssize_t sendto(int fd, const void *data, size_t length, int flags, const struct sockaddr *to, socklen_t size) {
    struct iovec part = {(void *)data, length};
    sending(fd, &part, 1);
    return syscall(SYS_sendto, fd, data, length, (long)flags, to, (long)size);
}
ssize_t send(int fd, const void *data, size_t length, int flags) { return sendto(fd, data, length, flags, NULL, 0); }
ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    sending(fd, message->msg_iov, (int)message->msg_iovlen);
    return syscall(SYS_sendmsg, fd, message, (long)flags);
}

int ftruncate(int fd, off_t length) {
    if (kind_of(fd) != A_FILE) return (int)syscall(SYS_ftruncate, fd, length);
    pthread_mutex_lock(&lengths);
    struct header h = {.kind = K_TRUNCATE, .call = next_call(), .fd = fd, .offset = length};
    put(&h, NULL, 0);
    int got = (int)syscall(SYS_ftruncate, fd, length);
    put_end(K_TRUNCATE, h.call, fd, got);
    pthread_mutex_unlock(&lengths);
    return got;
}
int ftruncate64(int fd, off_t length) { return ftruncate(fd, length); }

int fallocate(int fd, int mode, off_t offset, off_t length) {
    struct stat info;
    int grows = kind_of(fd) == A_FILE && mode == 0 && !fstat(fd, &info) && offset + length > info.st_size;
    struct header h = {.kind = grows ? K_TRUNCATE : K_UNKNOWN, .call = next_call(), .fd = fd, .offset = offset + length};
    /* FALLOC_FL_KEEP_SIZE (1) and room inside the file change nothing that can be read back. */
    int logged = grows || (kind_of(fd) == A_FILE && mode > 1);
    if (logged) put(&h, NULL, 0);
    int got = (int)syscall(SYS_fallocate, fd, (long)mode, offset, length);
    if (logged) put_end(h.kind, h.call, fd, got);
    return got;
}
int fallocate64(int fd, int mode, off_t offset, off_t length) { return fallocate(fd, mode, offset, length); }
int posix_fallocate(int fd, off_t offset, off_t length) { return fallocate(fd, 0, offset, length) ? errno : 0; }
int posix_fallocate64(int fd, off_t offset, off_t length) { return posix_fallocate(fd, offset, length); }

/* ---- barriers ---- */

static int barrier(long number, int fd) {
    if (kind_of(fd) != A_FILE) return (int)syscall(number, fd);
    struct header h = {.kind = K_SYNC, .call = next_call(), .fd = fd, .flags = number == SYS_fsync};
    put(&h, NULL, 0);
    int got = (int)syscall(number, fd);
    put_end(K_SYNC, h.call, fd, got);
    return got;
}
int fsync(int fd) { return barrier(SYS_fsync, fd); }
int fdatasync(int fd) { return barrier(SYS_fdatasync, fd); }

/* Not a barrier: it neither flushes the drive's cache nor writes the file's length. Only counted. */
int sync_file_range(int fd, off_t offset, off_t length, unsigned flags) {
    if (kind_of(fd) == A_FILE) {
        struct header h = {.kind = K_SYNC_RANGE, .call = next_call(), .fd = fd, .offset = offset};
        put(&h, NULL, 0);
    }
#ifdef SYS_sync_file_range
    return (int)syscall(SYS_sync_file_range, fd, offset, length, (long)flags);
#else
    return (int)syscall(SYS_sync_file_range2, fd, (long)flags, offset, length);
#endif
}
