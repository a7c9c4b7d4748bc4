//! System calls that a filter never needs are refused with EPERM, in all threads (seccomp(2)).
//!
//! A list of what is denied, not of what is allowed: a new libc or kernel that takes another call for the same thing, or a
//! rare path that no test went, must not take a server down. The kernel keeps a map of calls that a program of this kind
//! always allows, so the calls of the record path cost what they cost without (Linux 5.11).

use std::io;
use std::mem::offset_of;

use libc::{BPF_ABS, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, c_long, seccomp_data, sock_filter, sock_fprog};

/// Calls of 64-bit processes (linux/audit.h); another kind of processor has none of this.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const ARCHITECTURE: u32 = 0;
/// From here on x86-64 has its calls once more, for the x32 ABI.
const X32: u32 = 0x4000_0000;

/// What is denied.
#[rustfmt::skip]
const DENIED: &[c_long] = &[
    // Programs, and other processes.
    libc::SYS_execve, libc::SYS_execveat, libc::SYS_ptrace, libc::SYS_process_vm_readv, libc::SYS_process_vm_writev,
    libc::SYS_process_madvise, libc::SYS_pidfd_open, libc::SYS_pidfd_getfd, libc::SYS_pidfd_send_signal, libc::SYS_kcmp,
    // Sockets of every kind. Standard error may be one, and is written to with write(2).
    libc::SYS_socket, libc::SYS_socketpair, libc::SYS_connect, libc::SYS_bind, libc::SYS_listen, libc::SYS_accept,
    libc::SYS_accept4, libc::SYS_sendto, libc::SYS_sendmsg, libc::SYS_sendmmsg, libc::SYS_recvfrom, libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    // Who one is. What Landlock does not look at: owner, mode and attributes of files by name.
    libc::SYS_setuid, libc::SYS_setgid, libc::SYS_setreuid, libc::SYS_setregid, libc::SYS_setresuid, libc::SYS_setresgid,
    libc::SYS_setfsuid, libc::SYS_setfsgid, libc::SYS_setgroups, libc::SYS_capset, libc::SYS_personality,
    libc::SYS_fchmodat, libc::SYS_fchmodat2, libc::SYS_fchownat, libc::SYS_utimensat, libc::SYS_setxattr, libc::SYS_lsetxattr,
    libc::SYS_removexattr, libc::SYS_lremovexattr, libc::SYS_open_by_handle_at, libc::SYS_name_to_handle_at,
    // File systems and name spaces.
    libc::SYS_mount, libc::SYS_umount2, libc::SYS_pivot_root, libc::SYS_chroot, libc::SYS_unshare, libc::SYS_setns,
    libc::SYS_open_tree, libc::SYS_move_mount, libc::SYS_fsopen, libc::SYS_fsconfig, libc::SYS_fsmount, libc::SYS_fspick,
    libc::SYS_mount_setattr, libc::SYS_quotactl, libc::SYS_quotactl_fd, libc::SYS_swapon, libc::SYS_swapoff,
    libc::SYS_fanotify_init, libc::SYS_fanotify_mark,
    // The kernel: its keys, programs, modules, clocks, and the parts of it that were broken most often.
    libc::SYS_add_key, libc::SYS_request_key, libc::SYS_keyctl, libc::SYS_bpf, libc::SYS_perf_event_open,
    libc::SYS_init_module, libc::SYS_finit_module, libc::SYS_delete_module, libc::SYS_kexec_load, libc::SYS_kexec_file_load,
    libc::SYS_reboot, libc::SYS_syslog, libc::SYS_acct, libc::SYS_sethostname, libc::SYS_setdomainname,
    libc::SYS_settimeofday, libc::SYS_clock_settime, libc::SYS_adjtimex, libc::SYS_clock_adjtime,
    libc::SYS_userfaultfd, libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register,
    libc::SYS_memfd_create, libc::SYS_memfd_secret, libc::SYS_io_setup, libc::SYS_vhangup,
    // Only this processor has these.
    #[cfg(target_arch = "x86_64")] libc::SYS_fork,
    #[cfg(target_arch = "x86_64")] libc::SYS_vfork,
    #[cfg(target_arch = "x86_64")] libc::SYS_chmod,
    #[cfg(target_arch = "x86_64")] libc::SYS_chown,
    #[cfg(target_arch = "x86_64")] libc::SYS_lchown,
    #[cfg(target_arch = "x86_64")] libc::SYS_utime,
    #[cfg(target_arch = "x86_64")] libc::SYS_utimes,
    #[cfg(target_arch = "x86_64")] libc::SYS_futimesat,
    #[cfg(target_arch = "x86_64")] libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")] libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")] libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")] libc::SYS_uselib,
];
/// Ways of ioctl(2) to type into the terminal that a filter was started from.
const DENIED_REQUESTS: [u32; 2] = [libc::TIOCSTI as u32, libc::TIOCLINUX as u32];

/// Denies the calls to all threads, those to come included, for good. The process must have given up new privileges.
///
/// # Errors
///
/// What seccomp(2) says, and `Unsupported` on another kind of processor.
pub fn deny() -> io::Result<()> {
    if ARCHITECTURE == 0 {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let mut program = program();
    let len = u16::try_from(program.len()).expect("a list of some hundred steps");
    let program = sock_fprog { len, filter: program.as_mut_ptr() };
    // TSYNC: all threads. SPEC_ALLOW: older kernels would slow the whole process down for it.
    let flags = libc::SECCOMP_FILTER_FLAG_TSYNC | libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    // SAFETY: the kernel copies the program, which lives until the call returns, and changes no memory of ours.
    let done = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    match done {
        0 => Ok(()),
        // With TSYNC the number of a thread that cannot follow.
        1.. => Err(io::ErrorKind::ResourceBusy.into()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Looks at architecture, number and, for ioctl(2), request of a call. Steps are numbered from 0; a jump counts those that
/// it leaves out.
fn program() -> Vec<sock_filter> {
    let load = |offset: usize| step(BPF_LD | BPF_W | BPF_ABS, offset as u32, 0, 0);
    let ends = |action: u32| step(BPF_RET | BPF_K, action, 0, 0);
    let refuse = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    let refuse_if = |test: u32, value: u32| [step(BPF_JMP | test | BPF_K, value, 0, 1), ends(refuse)];

    let mut program = vec![load(offset_of!(seccomp_data, arch))];
    // Calls of 32-bit processes have other numbers.
    program.extend([step(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0), ends(refuse)]);
    program.push(load(offset_of!(seccomp_data, nr)));
    program.extend(refuse_if(BPF_JGE, X32));
    program.extend(DENIED.iter().flat_map(|&call| refuse_if(BPF_JEQ, call as u32)));
    program.extend([step(BPF_JMP | BPF_JEQ | BPF_K, libc::SYS_ioctl as u32, 1, 0), ends(libc::SECCOMP_RET_ALLOW)]);
    // The lower half of the second argument; both processors are little-endian.
    program.push(load(offset_of!(seccomp_data, args) + 8));
    program.extend(DENIED_REQUESTS.iter().flat_map(|&request| refuse_if(BPF_JEQ, request)));
    program.push(ends(libc::SECCOMP_RET_ALLOW));
    program
}

fn step(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::super::super::in_child;
    use super::*;
    use nix::errno::Errno;

    /// What a call without valid arguments says.
    fn call(number: c_long, second: c_long) -> Result<(), Errno> {
        // SAFETY: the descriptor -1 and null pointers: no call does anything with them but fail.
        let said = unsafe { libc::syscall(number, -1 as c_long, second, 0 as c_long, 0 as c_long, 0 as c_long, 0 as c_long) };
        Errno::result(said).map(drop)
    }

    #[test]
    fn denied_calls_fail_and_others_do_not() {
        in_child(|| {
            nix::sys::prctl::set_no_new_privs().map_err(|error| error.to_string())?;
            let before = [call(libc::SYS_socket, 0), call(libc::SYS_execve, 0), call(libc::SYS_ioctl, libc::TIOCSTI as c_long)];
            let (wait, go) = std::sync::mpsc::channel();
            // A thread that is there already.
            let thread = std::thread::spawn(move || (go.recv(), call(libc::SYS_socket, 0)).1);
            deny().map_err(|error| error.to_string())?;
            wait.send(()).map_err(|error| error.to_string())?;
            let in_thread = thread.join().map_err(|_| "panicked")?;
            let denied: Vec<_> = DENIED.iter().map(|&number| call(number, 0)).collect();
            let requests = DENIED_REQUESTS.map(|request| call(libc::SYS_ioctl, request as c_long));
            let other = call(libc::SYS_ioctl, libc::TCGETS as c_long);
            let x32 = call(libc::SYS_getpid | c_long::from(X32), 0);
            let refused = Err(Errno::EPERM);
            let all = denied.iter().chain(&requests).chain([&in_thread, &x32]).all(|said| *said == refused);
            let none_before = !before.contains(&refused);
            if all && none_before && other == Err(Errno::EBADF) && std::fs::read("/proc/self/status").is_ok() {
                Ok(())
            } else {
                Err(format!("before {before:?}, after {denied:?} {requests:?} {in_thread:?} {x32:?}, other {other:?}"))
            }
        })
        .unwrap();
    }
}
