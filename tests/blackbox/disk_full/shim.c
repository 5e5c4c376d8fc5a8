/* A disk that is full, for a test without privileges: preloaded into a node (LD_PRELOAD).
 *
 * As long as the file FULL_FLAG exists, what lies below FULL_FOLDER gets no new blocks: a write into blocks that a file has
 * already works, every other one says ENOSPC, and so does the file system when it is asked for room, unless FULL_SAYS_ROOM is
 * set: then others eat the room between the question and the write. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int below(const char *path) {
    const char *folder = getenv("FULL_FOLDER");
    return folder && strncmp(path, folder, strlen(folder)) == 0;
}

static int is_full(void) {
    const char *flag = getenv("FULL_FLAG");
    int before = errno, full = flag && access(flag, F_OK) == 0;
    errno = before;
    return full;
}

/* Whether this range of the file has its blocks. */
static int has_blocks(int fd, off_t at, size_t len) {
    struct stat stat;
    if (fstat(fd, &stat) != 0 || at + (off_t)len > stat.st_size) return 0;
    off_t here = lseek(fd, 0, SEEK_CUR);
    off_t data = lseek(fd, at, SEEK_DATA), hole = lseek(fd, at, SEEK_HOLE);
    lseek(fd, here, SEEK_SET);
    return data == at && hole >= at + (off_t)len;
}

static int no_room(int fd, off_t at, size_t len) {
    char link[64], path[4096];
    if (!is_full()) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t end = readlink(link, path, sizeof path - 1);
    if (end < 0) return 0;
    path[end] = 0;
    if (!below(path) || (len > 0 && has_blocks(fd, at, len))) return 0;
    errno = ENOSPC;
    return 1;
}

static off_t place(int fd) {
    if (fcntl(fd, F_GETFL) & O_APPEND) return lseek(fd, 0, SEEK_END);
    return lseek(fd, 0, SEEK_CUR);
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t at) {
    return no_room(fd, at, len) ? -1 : REAL(pwrite)(fd, bytes, len, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t at) {
    return no_room(fd, at, len) ? -1 : REAL(pwrite64)(fd, bytes, len, at);
}

ssize_t write(int fd, const void *bytes, size_t len) {
    if (is_full() && no_room(fd, place(fd), len)) return -1;
    return REAL(write)(fd, bytes, len);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    size_t len = 0;
    for (int i = 0; i < count; i++) len += parts[i].iov_len;
    if (is_full() && no_room(fd, place(fd), len)) return -1;
    return REAL(writev)(fd, parts, count);
}

int fallocate(int fd, int mode, off_t at, off_t len) {
    return no_room(fd, at, (size_t)len) ? -1 : REAL(fallocate)(fd, mode, at, len);
}

int fallocate64(int fd, int mode, off64_t at, off64_t len) {
    return no_room(fd, at, (size_t)len) ? -1 : REAL(fallocate64)(fd, mode, at, len);
}

static int says_full(const char *path) {
    return !getenv("FULL_SAYS_ROOM") && is_full() && below(path);
}

int statvfs(const char *path, struct statvfs *out) {
    int answer = REAL(statvfs)(path, out);
    if (answer == 0 && says_full(path)) out->f_bfree = out->f_bavail = 0;
    return answer;
}

int statvfs64(const char *path, struct statvfs64 *out) {
    int answer = REAL(statvfs64)(path, out);
    if (answer == 0 && says_full(path)) out->f_bfree = out->f_bavail = 0;
    return answer;
}
