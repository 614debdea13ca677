//! Making a small dump smaller: the least valuable memory goes first.

use super::blocks::Limits;
use super::reason::{ALL_RANKS, ReasonCount};
use super::{Made, TriageRequest};
use crate::convert::ConvertError;
use dotdump_format::Error;

/// How often the room for the last kind of memory is corrected.
const CORRECTIONS: usize = 8;

/// So many bytes may stay unused.
const ENOUGH: u64 = 0x200;

/// `all` where it is small enough, else a dump with as much as fits. `make` makes one under limits.
pub(super) fn fit(
    all: Made,
    request: &TriageRequest<'_>,
    make: impl Fn(Limits) -> Result<Made, Error>,
) -> Result<Made, ConvertError> {
    let Some(limit) = request.max_size else { return Ok(all) };
    let size_of = |made: &Made| -> Result<u64, Error> { Ok(made.dump.size()?.saturating_add(request.secondary_size)) };
    let mut made = all;
    let mut size = size_of(&made)?;
    let mut keep = ALL_RANKS;
    while size > limit {
        let Some(less) = keep.checked_sub(1) else {
            return Err(ConvertError::TooLarge { least: size, limit });
        };
        keep = less;
        made = make(Limits {
            keep,
            room_of_last: u64::MAX,
        })?;
        size = size_of(&made)?;
    }
    if keep == ALL_RANKS {
        return Ok(made);
    }
    // A part of what is dropped first may fit. What is left out of it may split what is kept, and what is taken may cover
    // what would be kept for better reasons: the room for it is not what the file grows by.
    let mut room = limit - size;
    let mut spare = room;
    for _ in 0..CORRECTIONS {
        let more = make(Limits {
            keep: keep + 1,
            room_of_last: room,
        })?;
        let size = size_of(&more)?;
        match limit.checked_sub(size) {
            Some(left) => {
                if left < spare {
                    (made, spare) = (more, left);
                }
                if left < ENOUGH {
                    break;
                }
                room = room.saturating_add(left);
            }
            None => room = room.saturating_sub(size - limit),
        }
    }
    Ok(made)
}

/// What `all` has and `kept` has not.
pub(super) fn difference(all: &[ReasonCount], kept: &[ReasonCount]) -> Vec<ReasonCount> {
    let left = all.iter().filter_map(|count| {
        let kept = kept.iter().find(|kept| kept.reason == count.reason);
        let (blocks, bytes) = kept.map_or((0, 0), |kept| (kept.blocks, kept.bytes));
        // Memory may be kept for another reason when the one that came first is dropped.
        Some(ReasonCount {
            reason: count.reason,
            blocks: count.blocks.saturating_sub(blocks),
            bytes: count.bytes.saturating_sub(bytes),
        })
        .filter(|left| left.bytes > 0)
    });
    left.collect()
}
