//! Linux processes as snapshots: facts read here and there, against what other tools and the kernel say.

mod address_space;
mod dumps;
mod hand_made;
mod image;
#[cfg(target_os = "linux")]
mod own_process;
mod process;
mod spans;
