//! [`Guide`]: how a tool is pointed at the gate. One source of `client setup` and of the pages in `deploy/guides`.

use std::collections::BTreeMap;

use clap::ValueEnum;
use serde_json::Value;

use super::endpoint::Endpoint;
use super::{drivers, tools};

/// A tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Tool {
    Powerbi,
    PowerbiService,
    PowerbiGateway,
    Fabric,
    Adf,
    Tableau,
    TableauServer,
    Excel,
    Odbc,
    Jdbc,
    Python,
    Adbc,
    Node,
    Go,
    Dotnet,
    Dbt,
    Snowsql,
}

/// Whether the tests use the tool with these settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proven {
    /// `tests/run` logs in with them.
    ByTests,
    /// Why they do not.
    NotRun(&'static str),
}

/// How a tool is pointed at the gate.
pub(super) struct Guide {
    pub title: &'static str,
    pub proven: Proven,
    /// Where to click, or what to write.
    pub steps: Vec<String>,
    /// The fields of the dialog, with what to type.
    pub fields: Vec<(&'static str, String)>,
    /// How the tool's machine comes to trust a root that it does not have, by system.
    pub trust: Vec<(&'static str, String)>,
    /// What to mind: ports, firewalls, limits of the tool.
    pub minds: Vec<&'static str>,
    /// What the tool shows when the gate refuses.
    pub shows: &'static str,
    /// How what exists is moved to the gate, and back.
    pub moving: Vec<&'static str>,
    /// Files of the tool, by name.
    pub files: Vec<(&'static str, String)>,
    /// For programs: the settings by the tool's own names.
    pub settings: Value,
    /// Variables that the tool's process needs.
    pub environment: BTreeMap<&'static str, String>,
}

/// Large results do not come through the gate.
pub(super) const RESULTS: &str = "Large results come from Snowflake's stage (Amazon S3, Azure Blob Storage or Google \
     Cloud Storage), not through the gate: the tool's machine must reach it on port 443. `patgate doctor` on the \
     gate's host has the hosts (step hosts), and SELECT SYSTEM$ALLOWLIST() lists them";
/// A tool that may take no port.
pub(super) const PORT: &str = "Not every version of the tool takes a port behind the name: the gate is best on port \
     443 (listen.public), with a certificate for exactly this name.";

impl Tool {
    /// The name, as the command takes it.
    pub(super) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Its guide for an endpoint.
    pub(super) fn guide(self, end: &Endpoint) -> Guide {
        match self {
            Self::Powerbi => tools::powerbi(end),
            Self::PowerbiService => tools::powerbi_service(end),
            Self::PowerbiGateway => tools::powerbi_gateway(end),
            Self::Fabric => tools::fabric(end),
            Self::Adf => tools::adf(end),
            Self::Tableau => tools::tableau(end),
            Self::TableauServer => tools::tableau_server(end),
            Self::Excel => tools::excel(end),
            Self::Odbc => drivers::odbc(end),
            Self::Jdbc => drivers::jdbc(end),
            Self::Python => drivers::python(end),
            Self::Adbc => drivers::adbc(end),
            Self::Node => drivers::node(end),
            Self::Go => drivers::go(end),
            Self::Dotnet => drivers::dotnet(end),
            Self::Dbt => drivers::dbt(end),
            Self::Snowsql => drivers::snowsql(end),
        }
    }
}
