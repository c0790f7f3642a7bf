/* A file system that turns read-only and back while a program runs: while the file named by READ_ONLY_FLAG exists,
 * writes to regular files below READ_ONLY_DIR, and their making and syncing, fail as the kernel would have it fail.
 * Preloaded by tests/read_only.rs. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static int below(const char *path) {
    const char *dir = getenv("READ_ONLY_DIR");
    return dir && strncmp(path, dir, strlen(dir)) == 0;
}

static int on(void) {
    const char *flag = getenv("READ_ONLY_FLAG");
    return flag && access(flag, F_OK) == 0;
}

static int refused(int fd) {
    char link[64], path[PATH_MAX];
    if (!on()) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    if (!below(path)) return 0;
    errno = EROFS;
    return 1;
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    return refused(fd) ? -1 : real(fd, data, size);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    REAL(pwrite);
    return refused(fd) ? -1 : real(fd, data, size, at);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    REAL(pwrite64);
    return refused(fd) ? -1 : real(fd, data, size, at);
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev);
    return refused(fd) ? -1 : real(fd, parts, count);
}
int ftruncate64(int fd, off64_t size) {
    REAL(ftruncate64);
    return refused(fd) ? -1 : real(fd, size);
}
int fallocate64(int fd, int mode, off64_t at, off64_t size) {
    REAL(fallocate64);
    return refused(fd) ? -1 : real(fd, mode, at, size);
}
int open64(const char *path, int flags, ...) {
    REAL(open64);
    va_list rest;
    va_start(rest, flags);
    mode_t mode = (flags & O_CREAT) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    if ((flags & O_ACCMODE) != O_RDONLY && on() && below(path)) {
        errno = EROFS;
        return -1;
    }
    return real(path, flags, mode);
}
int rename(const char *from, const char *to) {
    REAL(rename);
    if (on() && below(to)) {
        errno = EROFS;
        return -1;
    }
    return real(from, to);
}
