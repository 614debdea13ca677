//! Machines and dumps that lie: changes to good ones, each with a name and repeatable by a seed.
//!
//! The ground truth stays that of the good machine; what a reader must show is that it comes to an end and says what is
//! wrong.

mod change;
mod dump;
mod machine;

pub use dump::{HostileDump, damage};
pub use machine::HostileMachine;
