/* Preloaded into a process: counts the calls that change files below one folder, whoever makes them (Python, libsndfile,
   Arrow, safetensors), and makes one of them fail.

   faults_arm(root, target, action, log): from now on, call number `target` (from 1; 0: none) below `root` fails.
   Actions: 1 ENOSPC, from that call on for all that need room; 2 EIO, once; 3 killed, in the middle of a write;
   4 the power is cut: what was written and not handed to the disk (fsync) is lost, then killed. `log`: descriptor that
   gets a line for each call, or -1. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { ENOSPC_ON = 1, EIO_ONCE, KILLED, POWER_CUT };
enum { MAKES = 1, GROWS = 2, OTHER = 0 }; /* what needs room on the disk */

static char root[PATH_MAX];
static size_t root_length;
static long target, count;
static int action, log_to = -1;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

/* Files with bytes that the disk does not have yet, and how long they were when it last had all. */
static struct { dev_t device; ino_t inode; int descriptor; off_t safe; } unsafe_files[4096];
static int unsafe_count;

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

void faults_arm(const char *folder, long at, int what, int log) {
    snprintf(root, sizeof root, "%s", folder);
    root_length = strlen(root);
    target = at; action = what; log_to = log; count = 0;
}

long faults_count(void) { return count; }

static int is_below(const char *path) {
    return root_length && !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

static void full_path(char *out, int folder, const char *path) {
    char link[64], base[PATH_MAX] = "";
    if (path[0] != '/') {
        ssize_t n = -1;
        if (folder == AT_FDCWD) { if (getcwd(base, sizeof base)) n = strlen(base); }
        else { snprintf(link, sizeof link, "/proc/self/fd/%d", folder); n = readlink(link, base, sizeof base - 1); }
        base[n < 0 ? 0 : n] = 0;
        snprintf(out, PATH_MAX, "%.2000s/%.2000s", base, path);
    } else snprintf(out, PATH_MAX, "%s", path);
}

static int path_of(char *out, int descriptor) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t n = readlink(link, out, PATH_MAX - 1);
    out[n < 0 ? 0 : n] = 0;
    return n > 0;
}

static ssize_t plain_write(int fd, const void *data, size_t size) {
    REAL(ssize_t, write, int, const void *, size_t);
    return real(fd, data, size);
}

static void die(void) {
    if (action == POWER_CUT) {
        REAL(int, ftruncate64, int, off64_t);
        for (int i = 0; i < unsafe_count; i++)
            if (unsafe_files[i].descriptor >= 0) real(unsafe_files[i].descriptor, unsafe_files[i].safe);
    }
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* 0: go on; else the errno to fail with. `fd`, `data`, `size`: of a write, whose first half is done before a kill. */
static int decide(const char *name, const char *path, int needs_room, int fd, const void *data, size_t size) {
    if (!is_below(path)) return 0;
    pthread_mutex_lock(&mutex);
    long number = ++count;
    if (log_to >= 0) dprintf(log_to, "%ld %s %s\n", number, name, path + root_length);
    int error = 0;
    if (target && number >= target) {
        if (action == ENOSPC_ON && needs_room) error = ENOSPC;
        if (number == target && action == EIO_ONCE) error = EIO;
        if (number == target && action >= KILLED) {
            if (data && size > 1 && action == KILLED) plain_write(fd, data, size / 2);
            die();
        }
    }
    pthread_mutex_unlock(&mutex);
    return error;
}

static int before_write(const char *name, int fd, const void *data, size_t size) {
    char path[PATH_MAX];
    struct stat found;
    if (!root_length || !path_of(path, fd) || !is_below(path)) return 0;
    int error = decide(name, path, GROWS, fd, data, size);
    if (error || fstat(fd, &found) || !S_ISREG(found.st_mode)) return error;
    pthread_mutex_lock(&mutex);
    int i = 0;
    while (i < unsafe_count && !(unsafe_files[i].inode == found.st_ino && unsafe_files[i].device == found.st_dev)) i++;
    if (i == unsafe_count && i < 4096) {
        unsafe_count++;
        unsafe_files[i].device = found.st_dev; unsafe_files[i].inode = found.st_ino;
        unsafe_files[i].descriptor = -1;
    }
    if (i < 4096 && unsafe_files[i].descriptor < 0) {
        unsafe_files[i].descriptor = fcntl(fd, F_DUPFD_CLOEXEC, 400);
        unsafe_files[i].safe = found.st_size;
    }
    pthread_mutex_unlock(&mutex);
    return 0;
}

static void after_sync(int fd) {
    struct stat found;
    if (fstat(fd, &found)) return;
    REAL(int, close, int);
    pthread_mutex_lock(&mutex);
    for (int i = 0; i < unsafe_count; i++)
        if (unsafe_files[i].inode == found.st_ino && unsafe_files[i].device == found.st_dev) {
            if (unsafe_files[i].descriptor >= 0) real(unsafe_files[i].descriptor);
            unsafe_files[i].descriptor = -1;
        }
    pthread_mutex_unlock(&mutex);
}

#define FAIL(error) do { int e = (error); if (e) { errno = e; return -1; } } while (0)

static int open_fails(int folder, const char *path, int flags) {
    char full[PATH_MAX];
    if (!root_length || !(flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC))) return 0;
    full_path(full, folder, path);
    return decide("open", full, flags & O_CREAT ? MAKES : OTHER, -1, NULL, 0);
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        va_list more; va_start(more, flags); mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; \
        va_end(more); \
        REAL(int, name, const char *, int, ...); \
        FAIL(open_fails(AT_FDCWD, path, flags)); \
        return real(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
    int name(int folder, const char *path, int flags, ...) { \
        va_list more; va_start(more, flags); mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; \
        va_end(more); \
        REAL(int, name, int, const char *, int, ...); \
        FAIL(open_fails(folder, path, flags)); \
        return real(folder, path, flags, mode); \
    }
OPENAT(openat)
OPENAT(openat64)

#define FOPEN(name) \
    FILE *name(const char *path, const char *mode) { \
        REAL(FILE *, name, const char *, const char *); \
        int error = strpbrk(mode, "wa+") ? open_fails(AT_FDCWD, path, O_WRONLY | O_CREAT) : 0; \
        if (error) { errno = error; return NULL; } \
        return real(path, mode); \
    }
FOPEN(fopen)
FOPEN(fopen64)

ssize_t write(int fd, const void *data, size_t size) {
    REAL(ssize_t, write, int, const void *, size_t);
    FAIL(before_write("write", fd, data, size));
    return real(fd, data, size);
}

#define PWRITE(name, offset) \
    ssize_t name(int fd, const void *data, size_t size, offset at) { \
        REAL(ssize_t, name, int, const void *, size_t, offset); \
        FAIL(before_write(#name, fd, NULL, 0)); \
        return real(fd, data, size, at); \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

ssize_t writev(int fd, const struct iovec *parts, int n) {
    REAL(ssize_t, writev, int, const struct iovec *, int);
    FAIL(before_write("writev", fd, NULL, 0));
    return real(fd, parts, n);
}

ssize_t sendfile(int to, int from, off_t *at, size_t size) {
    REAL(ssize_t, sendfile, int, int, off_t *, size_t);
    FAIL(before_write("sendfile", to, NULL, 0));
    return real(to, from, at, size);
}

ssize_t sendfile64(int to, int from, off64_t *at, size_t size) {
    REAL(ssize_t, sendfile64, int, int, off64_t *, size_t);
    FAIL(before_write("sendfile", to, NULL, 0));
    return real(to, from, at, size);
}

ssize_t copy_file_range(int from, off64_t *a, int to, off64_t *b, size_t size, unsigned flags) {
    REAL(ssize_t, copy_file_range, int, off64_t *, int, off64_t *, size_t, unsigned);
    FAIL(before_write("copy_file_range", to, NULL, 0));
    return real(from, a, to, b, size, flags);
}

#define TRUNCATE(name, offset) \
    int name(int fd, offset size) { \
        REAL(int, name, int, offset); \
        FAIL(before_write(#name, fd, NULL, 0)); \
        return real(fd, size); \
    }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

#define SYNC(name) \
    int name(int fd) { \
        char path[PATH_MAX]; \
        REAL(int, name, int); \
        if (root_length && path_of(path, fd)) FAIL(decide(#name, path, OTHER, -1, NULL, 0)); \
        int status = real(fd); \
        if (!status && root_length) after_sync(fd); \
        return status; \
    }
SYNC(fsync)
SYNC(fdatasync)

static int two_paths(const char *name, int a, const char *from, int b, const char *to) {
    char one[PATH_MAX], two[PATH_MAX], both[2 * PATH_MAX + 8];
    if (!root_length) return 0;
    full_path(one, a, from);
    full_path(two, b, to);
    snprintf(both, sizeof both, "%s -> %s", two, is_below(one) ? one + root_length : one);
    return is_below(two) ? decide(name, both, MAKES, -1, NULL, 0) : 0;
}

int rename(const char *from, const char *to) {
    REAL(int, rename, const char *, const char *);
    FAIL(two_paths("rename", AT_FDCWD, from, AT_FDCWD, to));
    return real(from, to);
}

int renameat(int a, const char *from, int b, const char *to) {
    REAL(int, renameat, int, const char *, int, const char *);
    FAIL(two_paths("rename", a, from, b, to));
    return real(a, from, b, to);
}

int renameat2(int a, const char *from, int b, const char *to, unsigned flags) {
    REAL(int, renameat2, int, const char *, int, const char *, unsigned);
    FAIL(two_paths("rename", a, from, b, to));
    return real(a, from, b, to, flags);
}

static int one_path(const char *name, int folder, const char *path, int needs_room) {
    char full[PATH_MAX];
    if (!root_length) return 0;
    full_path(full, folder, path);
    return decide(name, full, needs_room, -1, NULL, 0);
}

int mkdir(const char *path, mode_t mode) {
    REAL(int, mkdir, const char *, mode_t);
    struct stat found;
    if (!stat(path, &found)) { errno = EEXIST; return -1; } /* nothing would be done */
    FAIL(one_path("mkdir", AT_FDCWD, path, MAKES));
    return real(path, mode);
}

int unlink(const char *path) {
    REAL(int, unlink, const char *);
    FAIL(one_path("unlink", AT_FDCWD, path, OTHER));
    return real(path);
}

int unlinkat(int folder, const char *path, int flags) {
    REAL(int, unlinkat, int, const char *, int);
    FAIL(one_path("unlink", folder, path, OTHER));
    return real(folder, path, flags);
}

int rmdir(const char *path) {
    REAL(int, rmdir, const char *);
    FAIL(one_path("rmdir", AT_FDCWD, path, OTHER));
    return real(path);
}
