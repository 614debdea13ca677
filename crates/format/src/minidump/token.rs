//! `TokenStream` (19): security tokens of the process and of threads that act for another user.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use zerocopy::byteorder::little_endian::{U32, U64};

use super::list::MAX_TEXT;
use super::{LocationDescriptor, Stream, StreamContent, StreamType, WriteStream};
use crate::error::{Error, Findings};
use crate::layout::{Layout, count};
use crate::record::{Record, record};

/// The size of the fixed part of an element, as Windows states it.
pub const ELEMENT_HEADER_SIZE: u32 = 72;

record! {
    /// `MINIDUMP_TOKEN_INFO_LIST` (`minidumpapiset.h`), 16 bytes.
    pub struct TokenListHeader[16] {
        /// The size of the whole stream in bytes.
        pub token_list_size: U32,
        /// How many tokens there are.
        pub token_list_entries: U32,
        /// Where the first token starts, in bytes from the start of the stream.
        pub list_header_size: U32,
        /// The size of the fixed part of a token, in bytes: 72, although the header file has a record of 16.
        pub element_header_size: U32,
    }

    /// Where a part of a token's data lies, 8 bytes.
    pub struct TokenPart[8] {
        /// In bytes from the start of the token; 0 where it is absent.
        pub offset: U32,
        /// Its size in bytes.
        pub size: U32,
    }

    /// `MINIDUMP_TOKEN_INFO_HEADER` (`minidumpapiset.h`) and the places of the parts, 72 bytes.
    pub struct TokenHeader[72] {
        /// The size of the whole token in bytes, this header included.
        pub token_size: U32,
        /// The process or thread to which it belongs.
        pub token_id: U32,
        /// The handle through which the writer saw it; it means nothing later.
        pub token_handle: U64,
        /// The session.
        pub session_id: TokenPart,
        /// The user: `TOKEN_USER`.
        pub user: TokenPart,
        /// The groups: `TOKEN_GROUPS`.
        pub groups: TokenPart,
        /// The primary group: `TOKEN_PRIMARY_GROUP`.
        pub primary_group: TokenPart,
        /// The privileges: `TOKEN_PRIVILEGES`.
        pub privileges: TokenPart,
        /// `TOKEN_STATISTICS`.
        pub statistics: TokenPart,
        /// The groups to which it is restricted: `TOKEN_GROUPS`.
        pub restricted_sids: TokenPart,
    }
}

/// One token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    /// The fixed part.
    pub header: TokenHeader,
    /// What follows it, as it stands in the file. Pointers in a part of it have become offsets within the part, so that
    /// nothing depends on where the token lies.
    pub data: Cow<'a, [u8]>,
}

/// A TokenStream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenList<'a> {
    /// The size of the fixed part of a token, as the file states it.
    pub element_header_size: u32,
    /// The tokens.
    pub tokens: Vec<Token<'a>>,
}

impl Token<'_> {
    /// The bytes of a part of it; `None` where it is absent or does not lie within the data.
    #[must_use]
    pub fn part(&self, part: &TokenPart) -> Option<&[u8]> {
        let start = usize::try_from(part.offset.get())
            .ok()?
            .checked_sub(TokenHeader::SIZE)?;
        let size = usize::try_from(part.size.get()).ok()?;
        self.data.get(start..start.checked_add(size)?)
    }
}

impl<'a> StreamContent<'a> for TokenList<'a> {
    const TYPE: StreamType = StreamType::TOKEN;

    fn read(stream: &Stream<'a>, findings: &mut Findings) -> Result<Self, Error> {
        let header: TokenListHeader = stream.head()?;
        let first = header.list_header_size.get();
        if u64::from(first) < TokenListHeader::SIZE as u64 {
            return Err(Error::malformed(
                stream.offset.saturating_add(8),
                "Token.ListHeaderSize",
                alloc::format!("{first}, at least {} expected", TokenListHeader::SIZE),
            ));
        }
        if u64::from(header.token_list_size.get()) != stream.claimed_size {
            findings.add(
                stream.offset,
                "Token.TokenListSize",
                alloc::format!(
                    "{} in a stream of {} bytes",
                    header.token_list_size,
                    stream.claimed_size
                ),
            );
        }
        let mut at = u64::from(first);
        let mut left = MAX_TEXT as u64;
        let mut tokens = Vec::new();
        for index in 0..header.token_list_entries.get() {
            let offset = stream.offset.saturating_add(at);
            let fixed = match stream.record_at::<TokenHeader>(at) {
                Ok(fixed) => fixed,
                Err(Error::Malformed(_)) => {
                    let entries = header.token_list_entries;
                    findings.add(
                        offset,
                        "Token",
                        alloc::format!("{entries} tokens expected, only {index} lie within the stream"),
                    );
                    break;
                }
                Err(error) => return Err(error),
            };
            let size = u64::from(fixed.token_size.get());
            let end = at.saturating_add(size);
            if size < TokenHeader::SIZE as u64 || end > stream.size || size > left {
                findings.add(
                    offset,
                    "Token.TokenSize",
                    alloc::format!(
                        "{size} with {} bytes left in the stream",
                        stream.size.saturating_sub(at)
                    ),
                );
                break;
            }
            left -= size;
            let head = TokenHeader::SIZE as u64;
            tokens.push(Token {
                header: fixed,
                data: stream.bytes_at(at + head, size - head)?,
            });
            at = end;
        }
        Ok(Self {
            element_header_size: header.element_header_size.get(),
            tokens,
        })
    }
}

impl WriteStream for TokenList<'_> {
    fn stream_type(&self) -> StreamType {
        Self::TYPE
    }

    fn write(&self, layout: &mut Layout) -> Result<LocationDescriptor, Error> {
        let size = |token: &Token<'_>| TokenHeader::SIZE + token.data.len();
        let whole = TokenListHeader::SIZE + self.tokens.iter().map(size).sum::<usize>();
        // The data has 64-bit fields at multiples of 8 from its start.
        layout.align(8);
        let start = layout.push_record(&TokenListHeader {
            token_list_size: count(whole, "Token.TokenListSize")?.into(),
            token_list_entries: count(self.tokens.len(), "Token.TokenListEntries")?.into(),
            list_header_size: count(TokenListHeader::SIZE, "Token.ListHeaderSize")?.into(),
            element_header_size: self.element_header_size.into(),
        });
        for token in &self.tokens {
            let mut header = token.header;
            header.token_size = count(size(token), "Token.TokenSize")?.into();
            layout.push_record(&header);
            layout.push_bytes(&token.data);
        }
        layout.location(start, whole as u64, "Token")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::Endian;
    use crate::test_dump;

    const TYPE: StreamType = StreamType::TOKEN;

    fn token() -> impl Strategy<Value = Token<'static>> {
        let data = proptest::collection::vec(any::<u8>(), 0..40);
        (test_dump::record::<TokenHeader>(), data).prop_map(|(mut header, data)| {
            header.token_size = u32::try_from(72 + data.len()).unwrap().into();
            Token {
                header,
                data: Cow::Owned(data),
            }
        })
    }

    proptest! {
        #[test]
        fn reads_what_it_writes(
            endian in test_dump::endian(),
            element_header_size in any::<u32>(),
            tokens in proptest::collection::vec(token(), 0..4),
        ) {
            let list = TokenList { element_header_size, tokens };
            let file = test_dump::file_of(&list, endian);
            prop_assert_eq!(test_dump::read_clean::<TokenList<'_>>(&file), list);
        }
    }

    /// A list of one token with 8 bytes of data; offsets from section 3.16 of the format reference.
    fn one() -> Vec<u8> {
        let mut words = [0_u32; 24];
        words[..8].copy_from_slice(&[96, 1, 16, 72, 80, 0xB10, 0x6BC, 0]);
        // The session: 4 bytes at the start of the data. The user: 5 bytes, one too many.
        words[8..12].copy_from_slice(&[72, 4, 76, 5]);
        words[22] = 7;
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn parts_lie_relative_to_the_token() {
        let file = test_dump::raw(Endian::Little, TYPE, &one());
        let list: TokenList<'_> = test_dump::read_clean(&file);
        let token = &list.tokens[0];
        assert_eq!((list.element_header_size, list.tokens.len()), (72, 1));
        assert_eq!(
            (token.header.token_id.get(), token.header.token_handle.get()),
            (0xB10, 0x6BC)
        );
        assert_eq!(token.part(&token.header.session_id), Some(&[7, 0, 0, 0][..]));
        assert_eq!(token.part(&token.header.user), None);
        assert_eq!(token.part(&token.header.groups), None);
    }

    #[test]
    fn sizes_and_counts_out_of_bounds() {
        for (at, word, tokens) in [
            (0, u32::MAX, Some(1)),
            (4, u32::MAX, Some(1)),
            (8, 0, None),
            (8, 1, None),
            (8, u32::MAX, Some(0)),
            (16, 0, Some(0)),
            (16, 71, Some(0)),
            (16, 81, Some(0)),
            (16, u32::MAX, Some(0)),
        ] {
            let mut bytes = one();
            bytes[at..at + 4].copy_from_slice(&u32::to_le_bytes(word));
            let file = test_dump::raw(Endian::Little, TYPE, &bytes);
            let (list, findings) = test_dump::read::<TokenList<'_>>(&file);
            assert_eq!(
                list.as_ref().ok().map(|list| list.tokens.len()),
                tokens,
                "{at} {word:#x}"
            );
            assert!(list.is_err() || !findings.is_empty(), "{at} {word:#x}");
        }
    }

    #[test]
    fn damage_never_panics() {
        let file = test_dump::raw(Endian::Little, TYPE, &one());
        test_dump::damaged(&file, |file| {
            if let Ok(list) = test_dump::read::<TokenList<'_>>(file).0 {
                for token in &list.tokens {
                    let _ = (token.part(&token.header.session_id), token.part(&token.header.user));
                }
            }
        });
    }
}
