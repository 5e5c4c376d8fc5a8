/* Tells what a node has put on stable storage, and in which order: preloaded into it (LD_PRELOAD).
 *
 * Appends a line to the file SYNCED_LOG for each sync that has ended well ("sync <path>") and for each name that was given
 * ("name <path>": a link or a rename). */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static void tell(const char *what, const char *path) {
    const char *log = getenv("SYNCED_LOG");
    if (!log) return;
    int before = errno;
    char line[4200];
    int length = snprintf(line, sizeof line, "%s %s\n", what, path);
    int fd = open(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || length < 0 || (size_t)length >= sizeof line || write(fd, line, (size_t)length) != length) abort();
    close(fd);
    errno = before;
}

static int synced(int fd, int done) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t end = done == 0 ? readlink(link, path, sizeof path - 1) : -1;
    if (end >= 0) {
        path[end] = 0;
        tell("sync", path);
    }
    return done;
}

static int named(const char *path, int done) {
    if (done == 0) tell("name", path);
    return done;
}

int fsync(int fd) {
    return synced(fd, REAL(fsync)(fd));
}

int fdatasync(int fd) {
    return synced(fd, REAL(fdatasync)(fd));
}

int link(const char *from, const char *to) {
    return named(to, REAL(link)(from, to));
}

int linkat(int from_in, const char *from, int to_in, const char *to, int flags) {
    return named(to, REAL(linkat)(from_in, from, to_in, to, flags));
}

int rename(const char *from, const char *to) {
    return named(to, REAL(rename)(from, to));
}

int renameat(int from_in, const char *from, int to_in, const char *to) {
    return named(to, REAL(renameat)(from_in, from, to_in, to));
}
