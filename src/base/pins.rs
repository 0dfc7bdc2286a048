//! [`Pins`]: the context that a credential fixes for its sessions.

/// What a credential fixes for every session opened with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pins {
    /// `roleName`.
    pub role: Option<String>,
    /// `warehouse`.
    pub warehouse: Option<String>,
    /// `databaseName`.
    pub database: Option<String>,
    /// `schemaName`.
    pub schema: Option<String>,
}
