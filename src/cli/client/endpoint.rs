//! [`Endpoint`]: what a tool has to be told to reach the gate as a client.

use crate::app::WayIn;

/// What stands where the key goes: it is shown once, by `client new`.
pub(in crate::cli) const KEY: &str = "<THE CLIENT KEY>";
/// A user name for the tool; the gate does not use it.
const USER: &str = "reports";

/// What a tool has to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Endpoint {
    /// The gate, and what sessions get there.
    pub way: WayIn,
    /// The user name.
    pub user: String,
    /// Where the roots of the gate's certificate lie on the tool's machine; `None`: a root that the machine trusts.
    pub ca: Option<String>,
}

impl From<WayIn> for Endpoint {
    fn from(way: WayIn) -> Self {
        Self { way, user: USER.to_owned(), ca: None }
    }
}

impl Endpoint {
    /// One for the pages in `deploy/guides`.
    #[cfg(test)]
    pub(super) fn example() -> Self {
        let way = WayIn {
            client: "powerbi-gateway".to_owned(),
            host: "gate.example.com".to_owned(),
            port: 443,
            proxy: None,
            keyless: false,
            account: "myorg-prod".to_owned(),
            role: None,
            warehouse: Some("BI_WH".to_owned()),
            database: Some("SALES".to_owned()),
            schema: Some("MART".to_owned()),
        };
        Self { ca: Some("ca.pem".to_owned()), ..way.into() }
    }

    /// What a tool calls the server.
    pub(super) fn server(&self) -> String {
        server(&self.way.host, self.way.port)
    }

    /// The warehouse, or what stands for it.
    pub(super) fn warehouse(&self) -> &str {
        self.way.warehouse.as_deref().unwrap_or("<WAREHOUSE>")
    }

    /// The database, or what stands for it.
    pub(super) fn database(&self) -> &str {
        self.way.database.as_deref().unwrap_or("<DATABASE>")
    }

    /// The schema, or what stands for it.
    pub(super) fn schema(&self) -> &str {
        self.way.schema.as_deref().unwrap_or("PUBLIC")
    }

    /// Where the roots lie, or the name of their file.
    pub(super) fn ca_file(&self) -> &str {
        self.ca.as_deref().unwrap_or("ca.pem")
    }
}

/// `HOST`, or `HOST:PORT` where the port is not that of HTTPS.
pub(in crate::cli) fn server(host: &str, port: u16) -> String {
    if port == 443 { host.to_owned() } else { format!("{host}:{port}") }
}
