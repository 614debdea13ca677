//! The security token of a process.

use std::borrow::Cow;
use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::ptr;

use dotdump_format::Record as _;
use dotdump_format::minidump::token::{ELEMENT_HEADER_SIZE, Token, TokenHeader, TokenList, TokenPart};
use windows_sys::Win32::Foundation::ERROR_INSUFFICIENT_BUFFER;
use windows_sys::Win32::Security::{
    GetTokenInformation, TOKEN_INFORMATION_CLASS, TOKEN_QUERY, TokenGroups, TokenIntegrityLevel, TokenPrimaryGroup,
    TokenPrivileges, TokenRestrictedSids, TokenSessionId, TokenStatistics, TokenUser,
};
use windows_sys::Win32::System::Threading::OpenProcessToken;

use super::native::{Bytes, raw};

/// The most that a part takes, in bytes: a token has at most a thousand groups.
const MOST: usize = 1 << 20;
const WORD: usize = size_of::<usize>();

/// The token of a process as a stream, and its integrity level.
pub(super) fn tokens(process: &OwnedHandle, id: u32) -> io::Result<(TokenList<'static>, Option<u32>)> {
    let mut token = ptr::null_mut();
    // SAFETY: the process is open, and the token is written in place.
    if unsafe { OpenProcessToken(raw(process.as_handle()), TOKEN_QUERY, &raw mut token) } == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle was just made, and nobody else has it.
    let token = unsafe { OwnedHandle::from_raw_handle(token) };
    let integrity = integrity(token.as_handle());
    let mut parts = Parts::default();
    let handle = token.as_handle();
    let mut header = TokenHeader {
        token_id: id.into(),
        token_handle: (token.as_raw_handle().addr() as u64).into(),
        ..TokenHeader::default()
    };
    header.session_id = parts.plain(handle, TokenSessionId, 4);
    header.user = parts.with_pointers(handle, TokenUser, |_| vec![0]);
    header.groups = parts.with_pointers(handle, TokenGroups, groups);
    header.primary_group = parts.with_pointers(handle, TokenPrimaryGroup, |_| vec![0]);
    header.privileges = parts.plain(handle, TokenPrivileges, usize::MAX);
    header.statistics = parts.plain(handle, TokenStatistics, usize::MAX);
    header.restricted_sids = parts.with_pointers(handle, TokenRestrictedSids, groups);
    let size = TokenHeader::SIZE + parts.data.len();
    header.token_size = u32::try_from(size).map_err(io::Error::other)?.into();
    let list = TokenList {
        element_header_size: ELEMENT_HEADER_SIZE,
        tokens: vec![Token {
            header,
            data: Cow::Owned(parts.data),
        }],
    };
    Ok((list, integrity))
}

/// Where the pointers to SIDs are in a `TOKEN_GROUPS`: its count, then a pointer and a word of attributes for each.
fn groups(bytes: &Bytes) -> Vec<usize> {
    let most = bytes.len() / (2 * WORD);
    let count = bytes.u32(0).and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
    (0..count.min(most)).map(|index| WORD + index * 2 * WORD).collect()
}

/// The parts of a token, one behind the other.
#[derive(Default)]
struct Parts {
    data: Vec<u8>,
}

impl Parts {
    /// Adds a part without pointers, at most `limit` bytes; nothing where the system does not tell it.
    fn plain(&mut self, token: BorrowedHandle<'_>, class: TOKEN_INFORMATION_CLASS, limit: usize) -> TokenPart {
        let Ok((bytes, size)) = query(token, class) else {
            return TokenPart::default();
        };
        self.add(&bytes.as_slice()[..size.min(limit)])
    }

    /// Adds a part that has pointers into itself at the places that `pointers` tells: they become offsets from the start
    /// of the token's element. Nothing where the system does not tell it.
    fn with_pointers(
        &mut self,
        token: BorrowedHandle<'_>,
        class: TOKEN_INFORMATION_CLASS,
        pointers: impl Fn(&Bytes) -> Vec<usize>,
    ) -> TokenPart {
        let Ok((bytes, size)) = query(token, class) else {
            return TokenPart::default();
        };
        let start = TokenHeader::SIZE + self.data.len().next_multiple_of(8);
        let mut copy = bytes.as_slice()[..size].to_vec();
        for at in pointers(&bytes) {
            let offset = bytes
                .word(at)
                .and_then(|pointer| pointer.checked_sub(bytes.address()))
                .filter(|offset| *offset < size);
            let offset = offset.map_or(0, |offset| start + offset);
            if let Some(place) = copy.get_mut(at..at + WORD) {
                place.copy_from_slice(&offset.to_le_bytes());
            }
        }
        self.add(&copy)
    }

    fn add(&mut self, bytes: &[u8]) -> TokenPart {
        self.data.resize(self.data.len().next_multiple_of(8), 0);
        let offset = TokenHeader::SIZE + self.data.len();
        let (Ok(offset), Ok(size)) = (u32::try_from(offset), u32::try_from(bytes.len())) else {
            return TokenPart::default();
        };
        self.data.extend_from_slice(bytes);
        TokenPart {
            offset: offset.into(),
            size: size.into(),
        }
    }
}

/// What a token tells, and how many bytes of it there are.
fn query(token: BorrowedHandle<'_>, class: TOKEN_INFORMATION_CLASS) -> io::Result<(Bytes, usize)> {
    let mut bytes = Bytes::new(0x400);
    loop {
        let size = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        let mut length = 0;
        // SAFETY: the token is open, and the buffer is as large as it says.
        let done = unsafe { GetTokenInformation(raw(token), class, bytes.as_mut_ptr(), size, &raw mut length) };
        let length = usize::try_from(length).map_err(io::Error::other)?;
        if done != 0 {
            let length = length.min(bytes.len());
            return Ok((bytes, length));
        }
        let error = io::Error::last_os_error();
        let is_small =
            error.raw_os_error().and_then(|code| u32::try_from(code).ok()) == Some(ERROR_INSUFFICIENT_BUFFER);
        if !is_small || length <= bytes.len() || length > MOST {
            return Err(error);
        }
        bytes = Bytes::new(length);
    }
}

/// The integrity level: the last part of the SID in a `TOKEN_MANDATORY_LABEL`.
fn integrity(token: BorrowedHandle<'_>) -> Option<u32> {
    let (bytes, size) = query(token, TokenIntegrityLevel).ok()?;
    let sid = bytes.word(0)?.checked_sub(bytes.address())?;
    let [_, parts]: [u8; 2] = bytes.array(sid)?;
    let last = sid + 8 + 4 * usize::from(parts.checked_sub(1)?);
    bytes.u32(last).filter(|_| last + 4 <= size)
}
