/* Process 1 of the Bluetooth guest. Makes a copy-on-write view of the host's root with BlueZ laid over it, runs the
 * stage script there, writes down how that ended, and switches off. Static: nothing of the guest's root is needed.
 *
 * Environment, from the kernel's command line: RIG_SYS (folder to lay over the host's root), RIG_JOB (the run's own
 * folder on the host, writable), RIG_OUT and RIG_ERR (terminals that lead to the caller).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define SEED_BYTES 64

static void off(void)
{
	sync();
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

static void fail(const char *what)
{
	fprintf(stderr, "rig init: %s: %s\n", what, strerror(errno));
	off();
}

static void attach(const char *type, const char *source, const char *target, unsigned long flags, const char *options)
{
	mkdir(target, 0755);
	if (mount(source, target, type, flags, options))
		fail(target);
}

/* A terminal that passes bytes as they are. */
static int terminal(const char *path)
{
	struct termios mode;
	int fd = path ? open(path, O_RDWR | O_NOCTTY) : -1;

	if (fd >= 0 && !tcgetattr(fd, &mode)) {
		cfmakeraw(&mode);
		tcsetattr(fd, TCSANOW, &mode);
	}
	return fd;
}

/* The guest has no entropy of its own, and getrandom() would wait for it for ever. */
static void seed(void)
{
	struct {
		int bits, size;
		unsigned char bytes[SEED_BYTES];
	} entropy = { 8 * SEED_BYTES, SEED_BYTES, { 0 } };
	int from = open("run/rig/seed", O_RDONLY), to = open("dev/urandom", O_RDWR);

	if (from < 0 || to < 0 || read(from, entropy.bytes, SEED_BYTES) != SEED_BYTES ||
	    ioctl(to, RNDADDENTROPY, &entropy))
		fail("seed");
	close(from);
	close(to);
}

static void stage(void)
{
	int in = open("/dev/null", O_RDONLY), out = terminal(getenv("RIG_OUT")), err = terminal(getenv("RIG_ERR"));

	setsid();
	dup2(in, 0);
	dup2(out, 1);
	dup2(err, 2);
	close_range(3, ~0U, 0);
	unsetenv("RIG_SYS");
	unsetenv("RIG_JOB");
	unsetenv("RIG_OUT");
	unsetenv("RIG_ERR");
	execl("/bin/bash", "bash", "/run/rig/stage.sh", (char *)NULL);
	_exit(127);
}

int main(void)
{
	const char *sys = getenv("RIG_SYS"), *job = getenv("RIG_JOB");
	int status = 0, code = 125, result;
	pid_t child, ended;

	if (!sys || !job)
		fail("RIG_SYS and RIG_JOB");
	attach("tmpfs", "tmpfs", "/mnt", 0, "mode=755");
	mkdir("/mnt/upper", 0755);
	mkdir("/mnt/work", 0755);
	/* A mount of its own: no layer of an overlay may lie within another. */
	attach("hostfs", "none", "/mnt/sys", MS_RDONLY, sys);
	attach("overlay", "overlay", "/mnt/root", 0, "lowerdir=/mnt/sys:/,upperdir=/mnt/upper,workdir=/mnt/work");
	if (chdir("/mnt/root"))
		fail("chdir");
	attach("proc", "proc", "proc", 0, NULL);
	attach("sysfs", "sysfs", "sys", 0, NULL);
	attach("debugfs", "debugfs", "sys/kernel/debug", 0, NULL);
	attach("devtmpfs", "devtmpfs", "dev", 0, NULL);
	attach("devpts", "devpts", "dev/pts", 0, "mode=620,ptmxmode=666");
	attach("tmpfs", "tmpfs", "dev/shm", 0, "mode=1777");
	if (symlink("/proc/self/fd", "dev/fd"))
		fail("dev/fd");
	attach("tmpfs", "tmpfs", "run", 0, "mode=755");
	attach("hostfs", "none", "run/rig", 0, job);
	seed();
	if (chroot("/mnt/root") || chdir("/"))
		fail("chroot");
	sethostname("rig", 3);
	child = fork();
	if (child == 0)
		stage();
	while ((ended = wait(&status)) > 0 || errno == EINTR)
		if (ended == child) {
			code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
			break;
		}
	result = open("/run/rig/status", O_WRONLY | O_CREAT | O_TRUNC, 0644);
	if (result >= 0) {
		dprintf(result, "%d\n", code);
		fsync(result);
		close(result);
	}
	off();
}
