//! The filter `r` over stacks, in this process: nothing but the filter is timed.

use std::hint::black_box;
use std::time::{Duration, Instant};

use dotdump_format::{VirtAddr, VirtRange};
use dotdump_snapshot::{DumpFile, MinidumpSnapshot};
use dotdump_transcode::filter::{Beside, StackFilter};
use dotdump_transcode::select::ThreadStack;
use serde_json::json;

use super::dump::Dump;
use super::scenarios::{Bench, Random};
use super::table::{Figures, Row};

/// The size of a stack, and of the buffer in which it is filtered: as much as `convert` filters at a time.
const STACK: u64 = 1 << 20;

const MODULES: u64 = 150;

/// Modules lie 2 MiB apart and fill most of that.
const MODULE_STEP: u64 = 2 << 20;

const MODULE_SIZE: u64 = 0x1A_7000;

const CODE: u64 = 0x7FF8_1234_0000;

/// What a stack is made of.
#[derive(Clone, Copy)]
enum Content {
    /// 40% zeros, 20% small numbers, 15% pointers to the heap, 15% return addresses, 10% pointers to the stack itself,
    /// in random order.
    Mixed,
    /// Pointers into modules only: each word needs the longest look.
    Code,
}

/// Measures the filter.
pub(super) fn filter(bench: &Bench<'_>, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let stacks = if bench.quick { 16 } else { 1024 };
    let path = bench.folder.join("modules.dmp");
    let dump = Dump {
        modules: (0..MODULES)
            .map(|index| VirtRange::sized(VirtAddr(CODE + index * MODULE_STEP), MODULE_SIZE))
            .collect(),
        ..Dump::of_ranges(1, 4096)
    };
    dump.write(&path, None)?;
    let file = DumpFile::open(&path, true)?;
    let snapshot = MinidumpSnapshot::open(&file)?;
    let stack = |index: u64| VirtRange::sized(VirtAddr(0x10_0000_0000 + index * 2 * STACK), STACK);
    let threads: Vec<ThreadStack> = (0..stacks)
        .map(|index| ThreadStack {
            thread: u32::try_from(index).unwrap_or(0),
            kept: Some(stack(index)),
            own: Some(stack(index)),
        })
        .collect();
    let filter = StackFilter::new(&snapshot, &threads, Beside::default())?;
    for (subject, content) in [("mixed words", Content::Mixed), ("pointers to code", Content::Code)] {
        let mut random = Random(0x2545_F491_4F6C_DD1D);
        let mut bytes = vec![0; usize::try_from(STACK)?];
        let mut times = Vec::new();
        for _ in 0..bench.runs {
            let (mut time, mut erased) = (Duration::ZERO, 0);
            for index in 0..stacks {
                // Made right before, so that it is in the cache as it is after the read that `convert` does.
                make(&mut bytes, stack(index), content, &mut random);
                let start = Instant::now();
                erased += filter.apply(stack(index).start, black_box(&mut bytes));
                time += start.elapsed();
            }
            black_box(erased);
            times.push(time);
        }
        times.sort_unstable();
        let seconds = times[times.len() / 2].as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "sizes below 2^53")]
        let rate = (stacks * STACK) as f64 / seconds;
        rows.push(Row {
            scenario: format!("filter r, {stacks} MiB of stacks"),
            subject: subject.to_owned(),
            figures: Figures {
                time: Some(seconds),
                peak: None,
                throughput: Some(rate),
                ratio: String::new(),
            },
            goal: Some(("2 GB/s".to_owned(), rate > 2e9)),
            details: json!({ "seconds": seconds }),
        });
    }
    Ok(())
}

fn make(bytes: &mut [u8], stack: VirtRange, content: Content, random: &mut Random) {
    for word in bytes.chunks_exact_mut(8) {
        let (kind, number) = (random.next() % 100, random.next());
        let code = || CODE + (number % MODULES) * MODULE_STEP + (number >> 20) % MODULE_SIZE;
        let value = match (content, kind) {
            (Content::Code, _) | (_, 75..90) => code(),
            (_, 0..40) => 0,
            (_, 40..60) => number % 4096,
            (_, 60..75) => 0x1F5_0000_0000 + number % (1 << 30),
            _ => stack.start.0 + ((number % STACK) & !7),
        };
        word.copy_from_slice(&value.to_le_bytes());
    }
}
