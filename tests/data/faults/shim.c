/* Loaded before the C library, into a process that keeps a store: lets chosen calls on the store's files fail, and keeps
   what was flushed apart, as a disk without power would.

   HOOKLINE_FAULT   a file with "CALL ERRNO N": the N-th CALL (pwrite, sync, ftruncate, open) on the store's files fails,
                    every one if N is 0. ERRNO: EIO, ENOSPC, EROFS, EINTR (once), or SHORT (half is written). Read
                    again at each call, so that a test can begin and end a fault. "count" as CALL fails nothing.
   HOOKLINE_COUNTS  a file to which each call's name is appended, a line each.
   HOOKLINE_SHADOW  a folder to which each file is copied whole whenever it was flushed. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static int real_open(const char *path, int flags, mode_t mode) {
    static int (*call)(const char *, int, ...);
    if (!call) call = dlsym(RTLD_NEXT, "open64");
    return call(path, flags, mode);
}

static ssize_t real_pwrite(int fd, const void *data, size_t count, off64_t at) {
    static ssize_t (*call)(int, const void *, size_t, off64_t);
    if (!call) call = dlsym(RTLD_NEXT, "pwrite64");
    return call(fd, data, count, at);
}

/* Whether this is the store, its -wal or its -shm; the lock's file and others are left alone. */
static int is_stores(const char *path) {
    const char *end = strstr(path, ".db");
    return end && (!end[3] || !strcmp(end + 3, "-wal") || !strcmp(end + 3, "-shm"));
}

static int path_of(int fd, char *path, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, size - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return is_stores(path);
}

static void count(const char *call) {
    const char *to = getenv("HOOKLINE_COUNTS");
    if (!to) return;
    int fd = real_open(to, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (fd < 0) return;
    char line[32];
    int length = snprintf(line, sizeof line, "%s\n", call);
    if (write(fd, line, length) != length) abort();
    close(fd);
}

enum { FINE = 0, SHORT = -1 };

static int asked(char *call, char *error, long *n) {
    const char *from = getenv("HOOKLINE_FAULT");
    if (!from) return 0;
    int fd = real_open(from, O_RDONLY, 0);
    if (fd < 0) return 0;
    char text[64] = {0};
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    return length > 0 && sscanf(text, "%15s %15s %ld", call, error, n) == 3;
}

/* What this call is to fail with; FINE if it is not. */
static int fault(const char *name, long *calls) {
    char call[16] = {0}, error[16] = {0};
    long n = 0;
    (*calls)++;
    count(name);
    if (!asked(call, error, &n) || strcmp(call, name) || (n && n != *calls)) return FINE;
    if (!strcmp(error, "SHORT")) return SHORT;
    if (!strcmp(error, "EINTR")) {
        /* For ever would be no fault but a hang: it is to be called again. */
        static int turn;
        return (turn ^= 1) ? EINTR : FINE;
    }
    return !strcmp(error, "ENOSPC") ? ENOSPC : !strcmp(error, "EROFS") ? EROFS : EIO;
}

/* A descriptor to read a file by, which is never closed: that would take SQLite's locks on the file away. */
static int reader_of(const char *path) {
    static struct { ino_t inode; int fd; } known[16];
    struct stat found;
    if (stat(path, &found)) return -1;
    for (int i = 0; i < 16; i++) {
        if (!known[i].inode) {
            known[i].inode = found.st_ino;
            known[i].fd = real_open(path, O_RDONLY, 0);
        }
        if (known[i].inode == found.st_ino) return known[i].fd;
    }
    return -1;
}

static void keep(const char *path) {
    const char *folder = getenv("HOOKLINE_SHADOW");
    if (!folder) return;
    char to[1024], whole[1040], data[1 << 16];
    snprintf(to, sizeof to, "%s/%s", folder, strrchr(path, '/') + 1);
    snprintf(whole, sizeof whole, "%s.new", to);
    int in = reader_of(path), out = real_open(whole, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (in < 0 || out < 0) abort();
    off64_t at = 0;
    for (ssize_t length; (length = pread64(in, data, sizeof data, at)) > 0; at += length)
        if (write(out, data, length) != length) abort();
    close(out);
    if (rename(whole, to)) abort();
}

static int sync_with(const char *name, int fd) {
    static long calls;
    char path[512];
    int (*call)(int) = dlsym(RTLD_NEXT, name);
    if (!path_of(fd, path, sizeof path)) return call(fd);
    int error = fault("sync", &calls);
    if (error > 0) {
        errno = error;
        return -1;
    }
    int done = call(fd);
    if (!done) keep(path);
    return done;
}

int fdatasync(int fd) { return sync_with("fdatasync", fd); }
int fsync(int fd) { return sync_with("fsync", fd); }

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    static long calls;
    char path[512];
    if (!path_of(fd, path, sizeof path)) return real_pwrite(fd, data, size, at);
    int error = fault("pwrite", &calls);
    if (error == SHORT) return real_pwrite(fd, data, size / 2, at);
    if (error) {
        errno = error;
        return -1;
    }
    return real_pwrite(fd, data, size, at);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return pwrite64(fd, data, size, at); }

int ftruncate64(int fd, off64_t size) {
    static long calls;
    static int (*call)(int, off64_t);
    char path[512];
    if (!call) call = dlsym(RTLD_NEXT, "ftruncate64");
    int error = path_of(fd, path, sizeof path) ? fault("ftruncate", &calls) : FINE;
    if (error > 0) {
        errno = error;
        return -1;
    }
    return call(fd, size);
}
int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

int open64(const char *path, int flags, ...) {
    static long calls;
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
    va_end(more);
    int error = is_stores(path) ? fault("open", &calls) : FINE;
    if (error > 0) {
        errno = error;
        return -1;
    }
    return real_open(path, flags, mode);
}
int open(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
    va_end(more);
    return open64(path, flags, mode);
}

/* A mount that the kernel made read-only says so. */
static unsigned long flags_now(unsigned long flags) {
    char call[16] = {0}, error[16] = {0};
    long n = 0;
    return asked(call, error, &n) && !strcmp(error, "EROFS") ? flags | ST_RDONLY : flags;
}
int statvfs(const char *path, struct statvfs *found) {
    int (*call)(const char *, struct statvfs *) = dlsym(RTLD_NEXT, "statvfs");
    int done = call(path, found);
    found->f_flag = flags_now(found->f_flag);
    return done;
}
int statvfs64(const char *path, struct statvfs64 *found) {
    int (*call)(const char *, struct statvfs64 *) = dlsym(RTLD_NEXT, "statvfs64");
    int done = call(path, found);
    found->f_flag = flags_now(found->f_flag);
    return done;
}
