/* Stands between a program and the C library, and puts the boot clock ahead by the seconds that a file names: what a
   suspension of the machine looks like to the program. The monotonic clock goes on as it is. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long ahead(void) {
  char text[32] = "";
  const char *path = getenv("BOOT_CLOCK_AHEAD");
  int file = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC) : -1;
  if (file >= 0) {
    if (read(file, text, sizeof text - 1) < 0) text[0] = 0;
    close(file);
  }
  return atol(text);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
  int failed = (int)syscall(SYS_clock_gettime, clock, time);
  if (!failed && clock == CLOCK_BOOTTIME) time->tv_sec += ahead();
  return failed;
}

int open64(const char *path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  mode_t mode = va_arg(more, mode_t);
  va_end(more);
  if (strcmp(path, "/proc/uptime")) return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
  struct timespec time;
  int file = memfd_create("uptime", MFD_CLOEXEC);
  if (file < 0 || clock_gettime(CLOCK_BOOTTIME, &time)) return -1;
  dprintf(file, "%ld.%02ld 0.00\n", (long)time.tv_sec, time.tv_nsec / 10000000);
  lseek(file, 0, SEEK_SET);
  return file;
}
