/* Records what a process writes below one directory, in the order in which it happens, so that a test can build the
 * disk as a power cut would leave it. Preloaded; the C library's functions are called as usual.
 *
 * PIGEON_RECORD_ROOT  only files below this directory (an absolute path without symbolic links)
 * PIGEON_RECORD_TO    the recording is appended to this file
 *
 * A record is: kind (u8), descriptor's inode (u64), offset (u64), length of path (u32), length of data (u32), path, data.
 * Numbers are in the machine's own byte order. Everything that changes a file is recorded under one lock which is held
 * over the call, so that the order in the recording is the true one. A sync is two records, before and after: what was
 * written meanwhile is not covered by it. Calls that could change a file unseen end the process. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITE = 1, SIZE, CREATE, SYNC_BEGIN, SYNC_END, RENAME, UNLINK, MKDIR, RMDIR };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int to = -1;
static char root[4096];
static size_t root_length;

#define REAL(name) ({ static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name); real; })

static void give_up(const char *why) {
    dprintf(2, "recorder: %s: %s\n", why, strerror(errno));
    _exit(77);
}

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("PIGEON_RECORD_TO"), *below = getenv("PIGEON_RECORD_ROOT");
    if (!path || !below) return;
    to = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (to < 0) give_up("open the recording");
    root_length = (size_t)snprintf(root, sizeof root, "%s/", below);
}

/* A process that ends while a thread of it is between a call and its record would have changed a file unseen. */
__attribute__((destructor)) static void end(void) {
    if (to >= 0) pthread_mutex_lock(&lock);
}

static void put(uint8_t kind, uint64_t inode, uint64_t offset, const char *path, const void *data, size_t length) {
    uint32_t path_length = (uint32_t)strlen(path), data_length = (uint32_t)length;
    char head[25];
    head[0] = (char)kind;
    memcpy(head + 1, &inode, 8);
    memcpy(head + 9, &offset, 8);
    memcpy(head + 17, &path_length, 4);
    memcpy(head + 21, &data_length, 4);
    struct iovec parts[] = {{head, sizeof head}, {(void *)path, path_length}, {(void *)data, length}};
    ssize_t want = (ssize_t)(sizeof head + path_length + length);
    if (syscall(SYS_writev, to, parts, 3) != want) give_up("write the recording");
}

/* The path below the root, or NULL for what is elsewhere. */
static const char *below_root(const char *path) {
    return strncmp(path, root, root_length) == 0 ? path + root_length : NULL;
}

static const char *path_of(int fd, char *space) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, space, 4095);
    if (length < 0) return NULL;
    space[length] = 0;
    return below_root(space);
}

static const char *path_at(int dir, const char *path, char *space) {
    if (path[0] == '/') return below_root(path);
    if (dir == AT_FDCWD) {
        if (!getcwd(space, 2048)) return NULL;
    } else {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
        ssize_t length = readlink(link, space, 2047);
        if (length < 0) return NULL;
        space[length] = 0;
    }
    strcat(space, "/");
    strncat(space, path, 2000);
    return below_root(space);
}

static uint64_t inode_of(int fd) {
    struct stat status;
    return fstat(fd, &status) == 0 ? (uint64_t)status.st_ino : 0;
}

/* Runs CALL under the lock; where it succeeded and PATH is ours, RECORD. */
#define RECORDED(TYPE, PATH, CALL, RECORD)          \
    do {                                            \
        char space[4096];                           \
        const char *path = to < 0 ? NULL : (PATH);  \
        if (!path) return (CALL);                   \
        (void)space;                                \
        pthread_mutex_lock(&lock);                  \
        TYPE result = (CALL);                       \
        int error = errno;                          \
        if (result >= 0) { RECORD; }                \
        pthread_mutex_unlock(&lock);                \
        errno = error;                              \
        return result;                              \
    } while (0)

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
    RECORDED(ssize_t, path_of(fd, space), REAL(pwrite64)(fd, data, length, offset),
             put(WRITE, inode_of(fd), (uint64_t)offset, path, data, (size_t)result));
}
ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) {
    return pwrite64(fd, data, length, offset);
}

/* Where a plain write of RESULT bytes began. */
static uint64_t begun(int fd, ssize_t result) {
    off64_t end = lseek64(fd, 0, SEEK_CUR);
    return end < result ? 0 : (uint64_t)(end - result);
}
ssize_t write(int fd, const void *data, size_t length) {
    RECORDED(ssize_t, path_of(fd, space), REAL(write)(fd, data, length),
             put(WRITE, inode_of(fd), begun(fd, result), path, data, (size_t)result));
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    char space[4096];
    if (to < 0 || !path_of(fd, space)) return REAL(writev)(fd, parts, count);
    size_t length = 0;
    for (int i = 0; i < count; i++) length += parts[i].iov_len;
    char *all = malloc(length + 1), *at = all;
    if (!all) give_up("memory");
    for (int i = 0; i < count; i++) at = mempcpy(at, parts[i].iov_base, parts[i].iov_len);
    ssize_t result = write(fd, all, length);
    free(all);
    return result;
}

static int opened(int fd, int flags, const char *path) {
    if (fd >= 0 && (flags & (O_CREAT | O_TRUNC)) && path) {
        struct stat status;
        if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode)) {
            put(CREATE, (uint64_t)status.st_ino, 0, path, NULL, 0);
            if (flags & O_TRUNC) put(SIZE, (uint64_t)status.st_ino, 0, path, NULL, 0);
        }
    }
    return fd;
}
int openat64(int dir, const char *name, int flags, ...) {
    mode_t mode = 0;
    if (flags & (O_CREAT | O_TMPFILE)) {
        va_list rest;
        va_start(rest, flags);
        mode = va_arg(rest, mode_t);
        va_end(rest);
    }
    RECORDED(int, path_at(dir, name, space), REAL(openat64)(dir, name, flags, mode), opened(result, flags, path));
}
#define OPEN(NAME, TYPE)                                        \
    int NAME(const char *name, int flags, ...) {                \
        mode_t mode = 0;                                        \
        if (flags & (O_CREAT | O_TMPFILE)) {                    \
            va_list rest;                                       \
            va_start(rest, flags);                              \
            mode = va_arg(rest, mode_t);                        \
            va_end(rest);                                       \
        }                                                       \
        return openat64(AT_FDCWD, name, flags | O_LARGEFILE, mode); \
    }
OPEN(open, int)
OPEN(open64, int)
int openat(int dir, const char *name, int flags, ...) {
    mode_t mode = 0;
    if (flags & (O_CREAT | O_TMPFILE)) {
        va_list rest;
        va_start(rest, flags);
        mode = va_arg(rest, mode_t);
        va_end(rest);
    }
    return openat64(dir, name, flags | O_LARGEFILE, mode);
}

int ftruncate64(int fd, off64_t size) {
    RECORDED(int, path_of(fd, space), REAL(ftruncate64)(fd, size), put(SIZE, inode_of(fd), (uint64_t)size, path, NULL, 0));
}
int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }
int truncate64(const char *name, off64_t size) {
    int fd = open64(name, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    int result = ftruncate64(fd, size);
    close(fd);
    return result;
}
int truncate(const char *name, off_t size) { return truncate64(name, size); }

/* Room beyond the end changes nothing that can be read; anything else that fallocate does, does. */
int fallocate64(int fd, int mode, off64_t offset, off64_t length) {
    char space[4096];
    if (to >= 0 && !(mode & FALLOC_FL_KEEP_SIZE) && path_of(fd, space)) give_up("a fallocate that changes the size");
    return REAL(fallocate64)(fd, mode, offset, length);
}
int fallocate(int fd, int mode, off_t offset, off_t length) { return fallocate64(fd, mode, offset, length); }
int posix_fallocate64(int fd, off64_t offset, off64_t length) {
    char space[4096];
    if (to >= 0 && path_of(fd, space)) give_up("a posix_fallocate");
    return REAL(posix_fallocate64)(fd, offset, length);
}

static int synced(int fd, int (*sync)(int)) {
    char space[4096];
    const char *path = to < 0 ? NULL : path_of(fd, space);
    if (to >= 0 && !path) {
        /* The root itself. */
        size_t length = strlen(space);
        if (length + 1 == root_length && strncmp(space, root, length) == 0) path = ".";
    }
    if (!path) return sync(fd);
    uint64_t inode = inode_of(fd);
    pthread_mutex_lock(&lock);
    put(SYNC_BEGIN, inode, (uint64_t)syscall(SYS_gettid), path, NULL, 0);
    pthread_mutex_unlock(&lock);
    int result = sync(fd), error = errno;
    if (result == 0) {
        pthread_mutex_lock(&lock);
        put(SYNC_END, inode, (uint64_t)syscall(SYS_gettid), path, NULL, 0);
        pthread_mutex_unlock(&lock);
    }
    errno = error;
    return result;
}
int fsync(int fd) { return synced(fd, REAL(fsync)); }
int fdatasync(int fd) { return synced(fd, REAL(fdatasync)); }
/* sync_file_range is left alone: it promises nothing, see its manual page. */

int renameat(int from_dir, const char *from, int to_dir, const char *target) {
    char other[4096];
    const char *target_path = to < 0 ? NULL : path_at(to_dir, target, other);
    if (!target_path) return REAL(renameat)(from_dir, from, to_dir, target);
    RECORDED(int, path_at(from_dir, from, space), REAL(renameat)(from_dir, from, to_dir, target),
             put(RENAME, 0, 0, path, target_path, strlen(target_path)));
}
int rename(const char *from, const char *target) { return renameat(AT_FDCWD, from, AT_FDCWD, target); }
int unlinkat(int dir, const char *name, int flags) {
    RECORDED(int, path_at(dir, name, space), REAL(unlinkat)(dir, name, flags),
             put(flags & AT_REMOVEDIR ? RMDIR : UNLINK, 0, 0, path, NULL, 0));
}
int unlink(const char *name) { return unlinkat(AT_FDCWD, name, 0); }
int rmdir(const char *name) { return unlinkat(AT_FDCWD, name, AT_REMOVEDIR); }
int mkdirat(int dir, const char *name, mode_t mode) {
    RECORDED(int, path_at(dir, name, space), REAL(mkdirat)(dir, name, mode), put(MKDIR, 0, 0, path, NULL, 0));
}
int mkdir(const char *name, mode_t mode) { return mkdirat(AT_FDCWD, name, mode); }

void *mmap64(void *at, size_t length, int protection, int flags, int fd, off64_t offset) {
    char space[4096];
    if (to >= 0 && fd >= 0 && (flags & MAP_SHARED) && (protection & PROT_WRITE) && path_of(fd, space))
        give_up("a shared writable mapping");
    return REAL(mmap64)(at, length, protection, flags, fd, offset);
}
void *mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset) {
    return mmap64(at, length, protection, flags, fd, offset);
}
#define UNSEEN(NAME, ...) { char space[4096]; if (to >= 0 && path_of(out, space)) give_up(#NAME); return REAL(NAME)(__VA_ARGS__); }
ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *at, size_t length, unsigned flags)
    UNSEEN(copy_file_range, in, from, out, at, length, flags)
