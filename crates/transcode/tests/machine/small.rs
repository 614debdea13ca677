//! Small dumps through the same entrance as dumps with pages.

use dotdump_format::ReadAt;
use dotdump_format::kernel::{DumpType, Header};
use dotdump_snapshot::machine::{MachineFile, MachineImage, MachineOptions};
use dotdump_snapshot::paging::PagingMode;
use dotdump_snapshot::{DumpFile, MachineSnapshot};
use dotdump_synth::MachineBuilder;
use dotdump_transcode::machine::{prepare, sums};
use dotdump_transcode::options::{DumpKind, MiniOptions};
use dotdump_transcode::request::PageLayout;
use dotdump_transcode::{ConvertError, Request};

use crate::common::{Buffer, FULL, request};
use crate::synthetic::complete;

pub(crate) fn small(file: &DumpFile, request: &Request) -> Result<Vec<u8>, ConvertError> {
    let source = MachineFile::open(file as &dyn ReadAt, &MachineOptions::default()).unwrap();
    let machine = MachineImage::open(&source).unwrap();
    let conversion = prepare(&machine, Some(file), request)?;
    let mut sink = Buffer::default();
    conversion.write(&mut sink).unwrap();
    assert_eq!(sink.0.len() as u64, conversion.size());
    Ok(sink.0)
}

pub(crate) fn mini() -> Request {
    let mut request = request(DumpKind::Mini, PageLayout::Bitmap);
    request.layout = None;
    request
}

#[test]
fn of_machines_of_every_kind() {
    for mode in [
        PagingMode::X86,
        PagingMode::Pae,
        PagingMode::FourLevel,
        PagingMode::FiveLevel,
        PagingMode::Arm64,
    ] {
        let machine = MachineBuilder::new(mode)
            .encode_debugger_data(mode == PagingMode::FourLevel)
            .build()
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let whole = complete(&machine, &folder);
        let dump = small(&whole, &mini()).unwrap();
        let header = Header::read(&dump.as_slice()).unwrap();
        assert_eq!(header.dump_type(), DumpType::TRIAGE);
        assert_eq!(header.required_dump_space(), Some(dump.len() as u64), "{mode:?}");
        let mut findings = dotdump_format::Findings::default();
        let report = sums::check(&dump, &mut findings).unwrap();
        assert!(report.present && findings.is_empty(), "{mode:?}: {findings:?}");

        let path = folder.path().join("small.dmp");
        std::fs::write(&path, &dump).unwrap();
        let file = DumpFile::open(&path, true).unwrap();
        let source = MachineFile::open(&file as &dyn ReadAt, &MachineOptions::default()).unwrap();
        let image = MachineImage::open(&source).unwrap();
        let bases: Vec<_> = image.modules().iter().map(|module| module.base).collect();
        let expected: Vec<_> = machine.truth.modules.iter().map(|module| module.base).collect();
        assert_eq!(bases, expected, "{mode:?}");
        assert!(image.debugger_data().is_some(), "{mode:?}");

        // Made again it is the same; it has no pages for anything larger.
        assert!(small(&file, &mini()).unwrap() == dump, "{mode:?}");
        assert!(matches!(
            small(&file, &request(FULL, PageLayout::Bitmap)),
            Err(ConvertError::Refused(_))
        ));
    }
}

#[test]
fn a_budget_is_for_all_of_the_file() {
    let machine = MachineBuilder::new(PagingMode::FourLevel).build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let whole = complete(&machine, &folder);
    let all = small(&whole, &mini()).unwrap().len() as u64;
    let mut request = mini();
    request.max_size = Some(all * 9 / 10);
    let less = small(&whole, &request).unwrap();
    assert!(less.len() as u64 <= all * 9 / 10);
    let space = Header::read(&less.as_slice()).unwrap().required_dump_space();
    assert_eq!(space, Some(less.len() as u64));
    request.max_size = Some(0x3000);
    assert!(matches!(small(&whole, &request), Err(ConvertError::TooLarge { .. })));
}

#[test]
fn what_is_for_processes_or_pages_is_told() {
    let machine = MachineBuilder::new(PagingMode::FourLevel).build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let whole = complete(&machine, &folder);
    let refused = small(&whole, &request(DumpKind::Mini, PageLayout::Runs));
    assert!(refused.unwrap_err().to_string().contains("one layout"));
    let mut request = mini();
    request.options.mini = MiniOptions::HANDLES;
    let source = MachineFile::open(&whole as &dyn ReadAt, &MachineOptions::default()).unwrap();
    let image = MachineImage::open(&source).unwrap();
    let report = prepare(&image, Some(&whole), &request).unwrap().report;
    assert!(report.absent.iter().any(|told| told.message.contains("letters of -m")));
    assert!(report.written.layout.is_none() && !report.blocks.is_empty());
}
