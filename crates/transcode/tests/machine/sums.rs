//! Secondary data, the manifest, and the checksums.

use dotdump_format::kernel::secondary_data::{write_blob, write_header};
use dotdump_format::kernel::{KernelDump, Machine};
use dotdump_format::layout::{Layout, Piece};
use dotdump_format::minidump::guid::Guid;
use dotdump_format::{Endian, Findings};
use dotdump_snapshot::paging::PagingMode;
use dotdump_transcode::machine::manifest::{CHECKSUMS_TAG, MANIFEST_TAG};
use dotdump_transcode::machine::{MachineManifest, sums};
use dotdump_transcode::request::PageLayout;

use crate::common::{FULL, Kept, Ram, TestMachine, TestPages, convert, read, request};

const TAG: Guid = Guid::from_digits(0x6C7A_C389_4313_47DC_9F34_A880_0A0F_B56C);

fn blobs(file: &[u8]) -> Vec<(Guid, Vec<u8>)> {
    let dump = KernelDump::open(&file).unwrap();
    let chain = dump.secondary_data(&file).unwrap().expect("secondary data");
    assert_eq!(chain.build_number, 0xF000_65F4);
    let mut blobs = chain.blobs(&file);
    let list = blobs.by_ref().map(Result::unwrap).map(|blob| {
        let start = usize::try_from(blob.data.0).unwrap();
        (blob.tag, file[start..start + blob.size as usize].to_vec())
    });
    let list = list.collect();
    assert_eq!(
        blobs.position().0,
        file.len() as u64,
        "the chain ends where the file does"
    );
    list
}

/// A bitmap dump of 700 pages, with two blobs as the kernel leaves them: not padded, and junk behind them.
fn source() -> TestPages {
    let mut ram = Ram::default();
    (1..700).for_each(|page| ram.add(page));
    let pages = TestPages::new(ram, b"", |_| Kept::InFile);
    let mut machine = TestMachine::new(&pages, Machine::Amd64, PagingMode::FourLevel, 0);
    let dotdump_format::kernel::Header::Dump64(header) = &mut machine.header else {
        unreachable!()
    };
    header.minor_version = 26100.into();
    header.major_version = 0xF.into();
    let mut plain = request(FULL, PageLayout::Runs);
    plain.no_manifest = true;
    let (mut file, _) = convert(&machine, &plain).unwrap();
    let mut layout = Layout::new(Endian::Little);
    write_header(&mut layout, 0xF000_65F4);
    for content in [&b"first"[..], b"", b"the third"] {
        write_blob(&mut layout, TAG, content.len(), |layout| {
            layout.push_bytes(content);
        })
        .unwrap();
    }
    let plan = layout.finish();
    let [Piece::Bytes(chain)] = plan.pieces.as_slice() else {
        panic!("bytes")
    };
    file.extend(chain);
    file.extend(b"junk of the disk");
    // The pages lie where they lay, behind the new header.
    TestPages::in_dump(pages.ram.clone(), &file, 0x2000)
}

fn machine(pages: &TestPages) -> TestMachine<'_> {
    let mut machine = TestMachine::new(pages, Machine::Amd64, PagingMode::FourLevel, 0);
    let dump = KernelDump::open(&pages.file).unwrap();
    machine.secondary = dump.secondary_data(&pages.file).unwrap();
    machine.header = dump.header;
    machine
}

#[test]
fn secondary_data_is_carried_over() {
    let pages = source();
    let machine = machine(&pages);
    for layout in [PageLayout::Bitmap, PageLayout::Runs, PageLayout::Range] {
        let mut request = request(FULL, layout);
        let (file, conversion) = convert(&machine, &request).unwrap();
        let found = blobs(&file);
        let tags: Vec<Guid> = found.iter().map(|(tag, _)| *tag).collect();
        assert_eq!(tags, [TAG, TAG, TAG, MANIFEST_TAG, CHECKSUMS_TAG]);
        assert_eq!(
            (&found[0].1[..], &found[1].1[..], &found[2].1[..]),
            (&b"first"[..], &b""[..], &b"the third"[..])
        );
        assert!(!file.windows(4).any(|bytes| bytes == b"junk"));
        assert_eq!(conversion.report.secondary_data.len(), 3);

        let manifest: MachineManifest = serde_json::from_slice(&found[3].1).unwrap();
        assert_eq!(manifest.options, request.canonical());
        assert_eq!(
            manifest.source.size,
            Some(0x2000 + 699 * 0x1000 + 16 + 3 * 32 + 8 + 16 + 16)
        );
        let offset = usize::try_from(manifest.checksums.offset().unwrap().0).unwrap();
        let sums: Vec<u8> = file[..offset]
            .chunks(1 << 20)
            .flat_map(|block| crc32fast::hash(block).to_le_bytes())
            .collect();
        assert_eq!(found[4].1, sums);

        request.no_manifest = true;
        let (file, _) = convert(&machine, &request).unwrap();
        assert_eq!(blobs(&file).len(), 3);
    }
}

#[test]
fn damage_is_found_where_it_is() {
    let pages = source();
    let machine = machine(&pages);
    let (mut file, _) = convert(&machine, &request(FULL, PageLayout::Bitmap)).unwrap();
    let mut findings = Findings::default();
    let report = sums::check(&file, &mut findings).unwrap();
    assert!(findings.is_empty() && report.present && report.damaged_total == 0);
    assert_eq!((report.blocks, report.checked), (3, 3));

    file[(1 << 20) + 12345] ^= 1;
    let report = sums::check(&file, &mut findings).unwrap();
    assert_eq!((report.damaged_total, report.damaged[0].offset.0), (1, 1 << 20));
    // The first page is at 0x3000, so that the block starts within page 0xFD of the file.
    assert_eq!(report.damaged[0].holds, ["pages 253 to 508 of the file"]);
    assert_eq!(findings.total(), 1);

    let mut findings = Findings::default();
    file[(1 << 20) + 12345] ^= 1;
    file.truncate(file.len() - 0x20_0000);
    sums::check(&file, &mut findings).unwrap();
    // What was cut off has the manifest in it.
    assert!(!sums::check(&file, &mut findings).unwrap().present);
}

#[test]
fn made_again_with_the_same_options_a_dump_is_the_same() {
    let pages = source();
    let machine_of_source = machine(&pages);
    for layout in [PageLayout::Bitmap, PageLayout::Runs, PageLayout::Range] {
        let mut request = request(FULL, layout);
        request.options.comment = Some("again".to_owned());
        let (once, _) = convert(&machine_of_source, &request).unwrap();
        let dump = read(&once);
        let first = dump.end - dump.pages.len() as u64 * 0x1000;
        let made = TestPages::in_dump(pages.ram.clone(), &once, first);
        let (twice, _) = convert(&machine(&made), &request).unwrap();
        assert!(once == twice, "{layout}");
        // Other options are another dump, of another source.
        request.options.comment = None;
        let (other, _) = convert(&machine(&made), &request).unwrap();
        assert!(once != other);
    }
}
