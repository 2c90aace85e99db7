/* Keeps a copy of each file as it is when it is synced: what is left of it after a power loss.

   For LD_PRELOAD; the folder of the copies is in POWER_LOSS_KEEPS. It reads by the descriptor that
   it is given, since closing another one of the same file would drop SQLite's locks. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void keep(int fd) {
  char link[64], path[PATH_MAX], copy[PATH_MAX], final[PATH_MAX], data[65536];
  const char *folder = getenv("POWER_LOSS_KEEPS");
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (folder == NULL || length < 0) return;
  path[length] = 0;
  const char *name = strrchr(path, '/');
  if (name == NULL) return;
  snprintf(final, sizeof final, "%s%s", folder, name);
  snprintf(copy, sizeof copy, "%s%s.%d.%d", folder, name, (int)getpid(), (int)gettid());
  int out = open(copy, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (out < 0) return;
  off_t at = 0;
  ssize_t got;
  while ((got = pread(fd, data, sizeof data, at)) > 0) {
    if (write(out, data, got) != got) abort();
    at += got;
  }
  close(out);
  if (got < 0) unlink(copy); else rename(copy, final);
}

#define KEEPING(name)                                              \
  int name(int fd) {                                               \
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, #name);      \
    int status = real(fd);                                         \
    if (status == 0) keep(fd);                                     \
    return status;                                                 \
  }

KEEPING(fsync)
KEEPING(fdatasync)
