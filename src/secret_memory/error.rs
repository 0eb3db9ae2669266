//! Why there is no secret memory, and what to do about it.

use std::io;

use thiserror::Error;

/// Why the slab cannot be had.
#[derive(Debug, Error)]
pub enum SecretMemoryError {
    /// The kernel or the container does not offer `memfd_secret`.
    #[error(
        "memfd_secret is not available ({0}) and require_secret_memory is set; use Linux 6.5 or \
         later (5.14 to 6.4: boot with secretmem.enable=y), let the container's seccomp profile \
         allow system call memfd_secret (447), or set require_secret_memory = false to accept \
         locked memory, which root can read"
    )]
    NoMemfdSecret(#[source] io::Error),
    /// `RLIMIT_MEMLOCK` does not allow it.
    #[error(
        "locking {bytes} bytes of memory was refused ({source}); RLIMIT_MEMLOCK is {limit}: raise \
         it (systemd LimitMEMLOCK=, docker --ulimit memlock=, ulimit -l) or use fewer slots"
    )]
    LockLimit {
        /// How many bytes are needed.
        bytes: usize,
        /// The soft limit, in bytes, or `unlimited`.
        limit: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another system call failed.
    #[error(
        "{call} of {bytes} bytes failed ({source}); the gateway needs that much free memory and a \
         kernel and container that allow this call"
    )]
    System {
        /// Which call.
        call: &'static str,
        /// For how many bytes.
        bytes: usize,
        /// What the kernel said.
        source: io::Error,
    },
    /// No address space holds that many.
    #[error("{slots} key slots and {request_slots} request slots are too many; use fewer")]
    TooManySlots {
        /// Key slots asked for.
        slots: usize,
        /// Request slots asked for.
        request_slots: usize,
    },
    /// The system gave no random bytes for the seal key.
    #[error("no random bytes for the seal key ({0}); the container must allow getrandom")]
    Random(String),
}

impl SecretMemoryError {
    /// The same refusal to somebody who accepts nothing less than `memfd_secret`.
    pub(super) fn when_required(self) -> Self {
        match self {
            Self::System {
                call: "memfd_secret",
                source,
                ..
            } => Self::NoMemfdSecret(source),
            other => other,
        }
    }
}
