//! Open files of many kinds.

use std::fs::File;
use std::mem;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd as _, IntoRawFd as _, RawFd};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::run::Options;

/// Opens them for good. The link in `/proc` is what anybody may read.
pub(crate) fn open(options: &Options) -> Value {
    let mut files: Vec<(&str, RawFd)> = Vec::new();
    let path = options.folder.join("open file.txt");
    std::fs::write(&path, "text").expect("a file");
    files.push(("file", File::open(&path).expect("the file").into_raw_fd()));
    files.push((
        "directory",
        File::open(&options.folder).expect("the folder").into_raw_fd(),
    ));
    files.push(("device", File::open("/dev/null").expect("a device").into_raw_fd()));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let stream = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
    files.push(("socket", listener.into_raw_fd()));
    files.push(("socket", stream.into_raw_fd()));
    files.push((
        "socket",
        UdpSocket::bind("127.0.0.1:0").expect("a socket").into_raw_fd(),
    ));
    let (left, right) = UnixStream::pair().expect("sockets");
    files.push(("socket", left.into_raw_fd()));
    files.push(("socket", right.into_raw_fd()));
    let (reader, writer) = std::io::pipe().expect("a pipe");
    files.push(("pipe", reader.as_raw_fd()));
    files.push(("pipe", writer.as_raw_fd()));
    mem::forget((reader, writer));
    // SAFETY: the calls take numbers and texts, and give descriptors that nobody else has.
    let others = unsafe {
        [
            ("eventfd", libc::eventfd(3, libc::EFD_CLOEXEC)),
            ("epoll", libc::epoll_create1(0)),
            ("timerfd", libc::timerfd_create(libc::CLOCK_MONOTONIC, 0)),
            ("inotify", libc::inotify_init1(0)),
            ("memfd", libc::memfd_create(c"memory".as_ptr(), 0)),
        ]
    };
    files.extend(others);
    let list = files.iter().map(|(kind, descriptor)| {
        assert!(*descriptor >= 0, "{kind}");
        json!({ "kind": kind, "descriptor": descriptor })
    });
    list.collect()
}
