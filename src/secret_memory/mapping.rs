//! One stretch of secret memory between two guard pages.

#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    ptr::{self, NonNull},
};

use zeroize::Zeroize;

use super::{SecretMemoryError, SecretMemoryKind};

/// Mapped memory, all zero at first; wiped and unmapped on drop.
pub(super) struct Mapping {
    /// The whole reservation: a guard page, the memory, a guard page.
    reserved: NonNull<u8>,
    bytes: usize,
    kind: SecretMemoryKind,
}

// SAFETY: a `Mapping` owns its pages and hands out nothing but an address; whoever makes slices of
// it (`slot`) sees to it that no two of them overlap. The pages belong to the process, not to a thread.
unsafe impl Send for Mapping {}
// SAFETY: as above; `&Mapping` only tells the address, the length and the kind.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Memory of `memfd_secret(2)`. `bytes` is a multiple of the page size, and not zero.
    pub(super) fn memfd_secret(bytes: usize) -> Result<Self, SecretMemoryError> {
        let failed = |call| {
            move |source| SecretMemoryError::System {
                call,
                bytes,
                source,
            }
        };
        // SAFETY: takes one flag and returns a new descriptor or -1; no memory is involved.
        let fd = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
        let fd = i32::try_from(fd).unwrap_or(-1);
        if fd < 0 {
            return Err(failed("memfd_secret")(io::Error::last_os_error()));
        }
        // SAFETY: the descriptor was made above and nobody else owns it.
        let file = std::fs::File::from(unsafe { OwnedFd::from_raw_fd(fd) });
        file.set_len(bytes as u64).map_err(failed("memfd_secret"))?;

        let mapping = Self::reserve(bytes, SecretMemoryKind::MemfdSecret)?;
        // SAFETY: MAP_FIXED replaces pages of our own reservation only, which nothing points into
        // yet. The descriptor may be closed afterwards: the mapping keeps the memory.
        let mapped = unsafe {
            libc::mmap(
                mapping.start().cast().as_ptr(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_FIXED,
                file.as_raw_fd(),
                0,
            )
        };
        if mapped == libc::MAP_FAILED {
            return Err(lock_refused(bytes, io::Error::last_os_error()));
        }
        mapping.keep_from_dumps_and_children()?;
        Ok(mapping.touched())
    }

    /// Anonymous locked memory. `bytes` is a multiple of the page size, and not zero.
    pub(super) fn locked(bytes: usize) -> Result<Self, SecretMemoryError> {
        let mapping = Self::reserve(bytes, SecretMemoryKind::Locked)?;
        let start = mapping.start().cast().as_ptr();
        // SAFETY: the range lies inside our own reservation, which nothing points into yet.
        let opened = unsafe { libc::mprotect(start, bytes, libc::PROT_READ | libc::PROT_WRITE) };
        if opened != 0 {
            let source = io::Error::last_os_error();
            return Err(SecretMemoryError::System {
                call: "mprotect",
                bytes,
                source,
            });
        }
        mapping.keep_from_dumps_and_children()?;
        // SAFETY: locking changes where the pages may be, not what they hold.
        if unsafe { libc::mlock(start, bytes) } != 0 {
            return Err(lock_refused(bytes, io::Error::last_os_error()));
        }
        Ok(mapping.touched())
    }

    /// Address of the first byte between the guard pages.
    pub(super) fn start(&self) -> NonNull<u8> {
        // SAFETY: the reservation is one page longer than the memory at either end, so that the
        // sum stays inside it.
        unsafe { self.reserved.add(page_size()) }
    }

    /// How many bytes lie between the guard pages.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// What the memory is.
    pub(super) const fn kind(&self) -> SecretMemoryKind {
        self.kind
    }

    /// Reserves addresses without any access; what is not opened later is a guard.
    fn reserve(bytes: usize, kind: SecretMemoryKind) -> Result<Self, SecretMemoryError> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let whole = bytes + 2 * page_size();
        // SAFETY: a new mapping at an address of the kernel's choice; nothing existing is touched.
        let reserved = unsafe { libc::mmap(ptr::null_mut(), whole, libc::PROT_NONE, flags, -1, 0) };
        if reserved == libc::MAP_FAILED {
            let source = io::Error::last_os_error();
            return Err(SecretMemoryError::System {
                call: "mmap",
                bytes: whole,
                source,
            });
        }
        let reserved = NonNull::new(reserved.cast())
            .expect("the kernel maps nothing at address 0 unless it is told to");
        Ok(Self {
            reserved,
            bytes,
            kind,
        })
    }

    /// Neither a core dump nor a child may have a copy. A child has no such pages at all
    /// (MADV_DONTFORK): wiped ones (MADV_WIPEONFORK) exist for private memory only, and no child
    /// of the gateway has business here.
    fn keep_from_dumps_and_children(&self) -> Result<(), SecretMemoryError> {
        for advice in [libc::MADV_DONTDUMP, libc::MADV_DONTFORK] {
            // SAFETY: both kinds of advice leave the contents of the pages as they are.
            let taken = unsafe { libc::madvise(self.start().cast().as_ptr(), self.bytes, advice) };
            if taken != 0 {
                let source = io::Error::last_os_error();
                return Err(SecretMemoryError::System {
                    call: "madvise",
                    bytes: self.bytes,
                    source,
                });
            }
        }
        Ok(())
    }

    /// Writes every page once, so that no fault (and no want of memory) comes in a call.
    fn touched(mut self) -> Self {
        self.wipe();
        self
    }

    fn wipe(&mut self) {
        // SAFETY: the range is mapped readable and writable by whoever called, and `&mut self`
        // says that no slice of it is alive.
        let all = unsafe { std::slice::from_raw_parts_mut(self.start().as_ptr(), self.bytes) };
        all.zeroize();
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // Wiping is not needed here: slots wipe themselves, and the kernel clears pages before
        // anybody else gets them. A mapping that failed half-way may not even be writable.
        // SAFETY: the whole reservation is ours, and no slice of it outlives the `Mapping`.
        unsafe {
            libc::munmap(self.reserved.cast().as_ptr(), self.bytes + 2 * page_size());
        }
    }
}

/// Bytes of a page.
pub(super) fn page_size() -> usize {
    // SAFETY: reads a constant of the system.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}

/// `mlock` and the mapping of secret memory answer EAGAIN, ENOMEM or EPERM when the limit is too low.
fn lock_refused(bytes: usize, source: io::Error) -> SecretMemoryError {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a live `rlimit` that the call fills.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) } == 0;
    let limit = match limit.rlim_cur {
        _ if !known => "unknown".to_owned(),
        libc::RLIM_INFINITY => "unlimited".to_owned(),
        bytes => format!("{bytes} bytes"),
    };
    SecretMemoryError::LockLimit {
        bytes,
        limit,
        source,
    }
}
