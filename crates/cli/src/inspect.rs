//! The subcommand `inspect`.

use crate::arguments::InspectArguments;
use crate::exit::Exit;

/// Runs the subcommand.
pub(crate) fn run(_arguments: &InspectArguments) -> anyhow::Result<Exit> {
    anyhow::bail!("not linked yet")
}
