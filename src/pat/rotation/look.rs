//! [`Look`]: what the gate last saw of a token, for the status.

use std::time::SystemTime;

use super::journal::Entry;
use crate::snowflake::token_statement::ShownToken;

/// What Snowflake and the journal said last.
#[derive(Default, Clone)]
pub(in crate::pat) struct Look {
    /// When Snowflake was asked; `None` while it has not answered.
    pub at: Option<SystemTime>,
    /// What it lists.
    pub tokens: Vec<ShownToken>,
    /// What the journal says.
    pub entry: Entry,
    /// When the next rotation is due, where that is known.
    pub next: Option<SystemTime>,
    /// Whether a rotation is under way here.
    pub under_way: bool,
    /// Whether an operator says that what failed is mended: the gate looks at once.
    pub wanted: bool,
}
