//! Keeps the process out of core dumps and out of reach of its neighbours.

#![allow(unsafe_code)]

use std::io;

/// Forbids core dumps, and memory access by processes of the same user, for the rest of this
/// process's life. Children that are executed start anew and have to call it themselves.
///
/// # Errors
///
/// When the kernel refuses, which a sandbox that filters `prctl` or `prlimit64` can cause.
pub fn forbid_dumps() -> io::Result<()> {
    // RLIMIT_CORE alone does not hold where `core_pattern` is a pipe (core(5)); being undumpable
    // alone is lost when the process changes its user. So both.
    // SAFETY: PR_SET_DUMPABLE takes one integer and touches no memory of ours.
    let undumpable = unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
    if undumpable != 0 {
        return Err(io::Error::last_os_error());
    }
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a live, initialised `rlimit` that the call only reads.
    let limited = unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) };
    if limited != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Hands freed memory back to the system, whole pages of it, which empties them.
///
/// glibc keeps what was freed in the arena of the thread that asked for it, and an arena only grows
/// to the most that was ever in use there at a time. After a busy hour that is memory which nobody
/// uses, with whatever was written into it last.
pub fn give_back_freed_memory() {
    // SAFETY: takes a number and no pointer; glibc locks each arena while it looks through it, and
    // memory in use is left alone (malloc_trim(3)). Elsewhere than in glibc it does not exist.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Set in the child in which the test really happens: being undumpable would change what
    /// other tests of this process may read.
    const IN_CHILD: &str = "TONEWALL_TEST_FORBIDS_DUMPS";

    #[test]
    fn a_process_that_forbids_dumps_is_undumpable_and_has_no_core_limit() {
        if std::env::var_os(IN_CHILD).is_some() {
            forbid_dumps().unwrap();
            // SAFETY: PR_GET_DUMPABLE takes no pointer.
            let dumpable = unsafe { libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0) };
            assert_eq!(dumpable, 0);
            let mut core = libc::rlimit {
                rlim_cur: 1,
                rlim_max: 1,
            };
            // SAFETY: the pointer is to a live `rlimit`.
            let read = unsafe { libc::getrlimit(libc::RLIMIT_CORE, &raw mut core) };
            assert_eq!(read, 0);
            assert_eq!((core.rlim_cur, core.rlim_max), (0, 0));
            return;
        }
        let this = "secret_memory::hardening::tests::a_process_that_forbids_dumps_is_undumpable_and_has_no_core_limit";
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", this])
            .env(IN_CHILD, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(
            child.status.success() && said.contains("1 passed"),
            "{said}"
        );
    }
}
