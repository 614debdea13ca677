//! process_vm_readv(2).

use std::io;

/// How many places one call looks at (`UIO_MAXIOV` of the kernel).
pub(super) const MOST_PLACES: usize = 1024;

/// Reads from `address` on and tells how many bytes were there.
pub(super) fn read(process: u32, address: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let local = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let remote = place(address, buffer.len())?;
    // SAFETY: `local` is a buffer that may be written for the length that is given; `remote` is of another process, where
    // nothing is written.
    let result = unsafe { libc::process_vm_readv(pid(process)?, &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// How many of `addresses`, [`MOST_PLACES`] at most, can be read before the first that cannot.
pub(super) fn readable(process: u32, addresses: &[u64]) -> io::Result<usize> {
    let mut buffer = [0_u8; MOST_PLACES];
    let addresses = &addresses[..addresses.len().min(MOST_PLACES)];
    let local = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: addresses.len(),
    };
    let remote = addresses
        .iter()
        .map(|address| place(*address, 1))
        .collect::<io::Result<Vec<_>>>()?;
    let count = libc::c_ulong::try_from(remote.len()).map_err(io::Error::other)?;
    // SAFETY: `local` is a buffer of a byte for each place; `remote` holds `count` places of another process, where nothing
    // is written.
    let result = unsafe { libc::process_vm_readv(pid(process)?, &raw const local, 1, remote.as_ptr(), count, 0) };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

fn place(address: u64, size: usize) -> io::Result<libc::iovec> {
    let address = usize::try_from(address).map_err(|_| io::Error::from_raw_os_error(libc::EFAULT))?;
    Ok(libc::iovec {
        iov_base: std::ptr::without_provenance_mut(address),
        iov_len: size,
    })
}

fn pid(process: u32) -> io::Result<i32> {
    i32::try_from(process).map_err(|_| io::Error::from_raw_os_error(libc::ESRCH))
}
