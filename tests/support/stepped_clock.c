/*
 * Copyright (c) 2026 Weft contributors
 * GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * A wall clock that is set while a program runs: preloaded, it adds the seconds that the file CLOCK_OFFSET_FILE says.
 * The kernel's other clocks stay, as they do when `date --set` or NTP steps the clock.
 *
 * Not libfaketime: gRPC asks the kernel by syscall(2), which that does not see, so that Python and gRPC would have two
 * clocks; and its clock_nanosleep(2) fails with EINVAL under DONT_FAKE_MONOTONIC, so that no Python could sleep.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

typedef long (*syscall_type)(long, ...);

static long ask_kernel(long number, long a, long b, long c, long d, long e, long f)
{
    static syscall_type real;
    if (!real)
        real = (syscall_type)dlsym(RTLD_NEXT, "syscall");
    return real(number, a, b, c, d, e, f);
}

static time_t read_offset(void)
{
    char text[32] = {0};
    const char *path = getenv("CLOCK_OFFSET_FILE");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file >= 0) {
        if (read(file, text, sizeof text - 1) < 0)
            text[0] = 0;
        close(file);
    }
    return atol(text);
}

static int is_wall_clock(clockid_t clock)
{
    return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int result = ask_kernel(SYS_clock_gettime, clock, (long)now, 0, 0, 0, 0);
    if (result == 0 && is_wall_clock(clock))
        now->tv_sec += read_offset();
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec found;
    int result = clock_gettime(CLOCK_REALTIME, &found);
    (void)zone;
    now->tv_sec = found.tv_sec;
    now->tv_usec = found.tv_nsec / 1000;
    return result;
}

time_t time(time_t *copy)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (copy)
        *copy = now.tv_sec;
    return now.tv_sec;
}

long syscall(long number, ...)
{
    long argument[6];
    va_list list;
    va_start(list, number);
    for (int i = 0; i < 6; i++)
        argument[i] = va_arg(list, long);
    va_end(list);
    if (number == SYS_clock_gettime)
        return clock_gettime(argument[0], (struct timespec *)argument[1]);
    struct timespec until;
    if (number == SYS_futex && argument[3] && argument[1] & FUTEX_CLOCK_REALTIME) { /* a point in time, not a span */
        until = *(const struct timespec *)argument[3];
        until.tv_sec -= read_offset();
        argument[3] = (long)&until;
    }
    return ask_kernel(number, argument[0], argument[1], argument[2], argument[3], argument[4], argument[5]);
}
