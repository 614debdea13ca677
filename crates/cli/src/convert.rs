//! The subcommand `convert`.

use crate::arguments::ConvertArguments;
use crate::exit::Exit;

/// Runs the subcommand.
pub(crate) fn run(_arguments: &ConvertArguments) -> anyhow::Result<Exit> {
    anyhow::bail!("not linked yet")
}
