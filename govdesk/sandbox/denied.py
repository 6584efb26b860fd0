"""The system calls that no part of GovDesk, or no part but the broker, may make: x86-64 numbers by name.

Each table says who is kept from what; `seccomp.py` turns them into a filter. A number that a kernel
does not know yet does no harm here.
"""

from __future__ import annotations

ALWAYS = {
    # ways round every filter
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
    # other processes: their memory, their descriptors, signals with forged contents
    "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "pidfd_getfd": 438, "kcmp": 312,
    "process_madvise": 440, "process_mrelease": 448, "migrate_pages": 256, "move_pages": 279,
    "rt_sigqueueinfo": 129, "rt_tgsigqueueinfo": 297, "pidfd_send_signal": 424,
    # queues and semaphores that any process of the account can share
    "msgget": 68, "msgsnd": 69, "msgrcv": 70, "msgctl": 71,
    "semget": 64, "semop": 65, "semctl": 66, "semtimedop": 220,
    "mq_open": 240, "mq_unlink": 241, "mq_timedsend": 242, "mq_timedreceive": 243, "mq_notify": 244,
    "mq_getsetattr": 245,
    # the kernel's own doors
    "bpf": 321, "perf_event_open": 298, "userfaultfd": 323,
    "add_key": 248, "request_key": 249, "keyctl": 250,
    "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161, "open_tree": 428, "move_mount": 429,
    "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433, "mount_setattr": 442,
    "open_tree_attr": 467, "unshare": 272, "setns": 308,
    "open_by_handle_at": 304, "swapon": 167, "swapoff": 168, "reboot": 169, "acct": 163, "quotactl": 179,
    "quotactl_fd": 443, "syslog": 103,
    "kexec_load": 246, "kexec_file_load": 320, "init_module": 175, "finit_module": 313, "delete_module": 176,
    "iopl": 172, "ioperm": 173, "modify_ldt": 154, "personality": 135, "uselib": 134, "_sysctl": 156,
    "fanotify_init": 300, "fanotify_mark": 301, "lookup_dcookie": 212, "nfsservctl": 180, "vmsplice": 278,
}  # fmt: skip
"""Every role, and what it starts: the broker's filter is inherited."""

LISTENING = {"bind": 49, "listen": 50, "accept": 43, "accept4": 288}
"""Every role but the broker."""

PROCESSES = {
    "tkill": 200, "pidfd_open": 434, "setpriority": 141, "ioprio_set": 251,
    "sched_setscheduler": 144, "sched_setparam": 142, "sched_setattr": 314,
}  # fmt: skip
"""Every role but the broker: signals to other processes, and how they are scheduled."""

OWN_PROCESS = {"kill": 62, "tgkill": 234}
"""Every role but the broker: only with its own process as first argument (abort() needs it)."""

OWN_PROCESS_OR_0 = {"prlimit64": 302, "sched_setaffinity": 203}
"""Every role but the broker: only for itself; 0 means the caller."""

FCNTL = 72
FCNTL_OWNERS = (8, 10, 15, 1024, 1026)
"""F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETLEASE, F_NOTIFY."""

FILES = {
    # attributes: Landlock does not know them
    "chmod": 90, "fchmod": 91, "fchmodat": 268, "fchmodat2": 452,
    "chown": 92, "fchown": 93, "lchown": 94, "fchownat": 260,
    "utime": 132, "utimes": 235, "futimesat": 261, "utimensat": 280,
    "setxattr": 188, "lsetxattr": 189, "fsetxattr": 190, "setxattrat": 463,
    "getxattr": 191, "lgetxattr": 192, "fgetxattr": 193, "getxattrat": 464,
    "listxattr": 194, "llistxattr": 195, "flistxattr": 196, "listxattrat": 465,
    "removexattr": 197, "lremovexattr": 198, "fremovexattr": 199, "removexattrat": 466,
    "file_getattr": 468, "file_setattr": 469,
    # truncation by name: Landlock knows it from ABI 3 on
    "truncate": 76, "creat": 85,
    # who uses a file, and when
    "inotify_init": 253, "inotify_init1": 294, "inotify_add_watch": 254, "inotify_rm_watch": 255,
    # memory shared with any process of the account (the window needs it: X11's MIT-SHM)
    "shmget": 29, "shmat": 30, "shmctl": 31, "shmdt": 67,
}  # fmt: skip
"""Worker and audit writer: what can be done to files and shared memory that Landlock does not cover."""

OPEN, OPENAT, OPENAT2 = 2, 257, 437
IOCTL = 16
IOCTLS_ALLOWED = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
"""TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX: they change nothing but the descriptor."""
