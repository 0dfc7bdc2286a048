//! The guides of BI tools. None of these tools runs in the tests: what stands here follows the vendors' pages, and what
//! their connectors are known to send.

use std::collections::BTreeMap;

use serde_json::json;

use super::drivers::{LINUX, common, windows};
use super::endpoint::{Endpoint, KEY};
use super::guide::{Guide, PORT, Proven, RESULTS};

const NOT_RUN: Proven = Proven::NotRun("the tool runs on Windows or in its vendor's cloud alone");
const PUBLIC: &str = "A certificate of a public CA for the gate's name saves every step with roots, on every machine.";
const BUNDLED: &str = "The tool's bundled ODBC driver has a list of roots of its own (cacert.pem beside the driver) \
and does not ask Windows: append the root to it, again after each update of the tool.";
const IN_PLACE: &str = "One connection is shared by all that use it: change it once, and every report follows.";

/// How one comes back.
const BACK: &str = "Back: the account's host and the old secret, in the same place.";

fn tool(title: &'static str, end: &Endpoint) -> Guide {
    Guide {
        title,
        proven: NOT_RUN,
        steps: Vec::new(),
        fields: Vec::new(),
        trust: vec![("Windows", windows(end))],
        minds: vec![PUBLIC, PORT, RESULTS],
        shows: "The tool shows the gate's sentence with the trace id, behind words of its own: `patgate explain \
        \"TEXT\"`.",
        moving: vec![BACK],
        files: Vec::new(),
        settings: common(end),
        environment: BTreeMap::new(),
    }
}

fn snowflake_dialog(end: &Endpoint) -> Vec<(&'static str, String)> {
    let mut fields = vec![("Server", end.server()), ("Warehouse", end.warehouse().to_owned())];
    fields.extend(end.way.role.clone().map(|role| ("Role name (advanced options)", role)));
    fields.extend(end.way.database.clone().map(|database| ("Database (advanced options)", database)));
    fields
}

/// The fields of a connection in Microsoft's cloud.
fn connection(end: &Endpoint, authentication: &str) -> Vec<(&'static str, String)> {
    vec![
        ("Server", end.server()),
        ("Warehouse", end.warehouse().to_owned()),
        ("Authentication method", authentication.to_owned()),
        ("Username", end.user.clone()),
        ("Password", KEY.to_owned()),
    ]
}

pub(super) fn powerbi(end: &Endpoint) -> Guide {
    let mut fields = snowflake_dialog(end);
    fields.extend([("User name", end.user.clone()), ("Password", KEY.to_owned())]);
    let source = format!(
        "let\n    Source = Snowflake.Databases(\"{}\", \"{}\", [Implementation = \"2.0\"])\nin\n    Source\n",
        end.server(),
        end.warehouse()
    );
    Guide {
        steps: vec![
            "Get data, Snowflake; fill server and warehouse, OK.".to_owned(),
            "In the next dialog take \"Snowflake\" on the left (user name and password), not \"Microsoft Account\" \
             and not \"Key Pair\"."
                .to_owned(),
            "New connections use the ADBC driver, which asks Windows for its roots; older ones use ODBC.".to_owned(),
        ],
        fields,
        trust: vec![("Windows", windows(end)), ("Windows, ODBC", BUNDLED.to_owned())],
        moving: vec![
            "File, Options and settings, Data source settings, Change Source: the gate's name in place of the \
             account's host; Edit Permissions, Credentials: the key. Each workbook once.",
            "In many workbooks: a parameter for the server (Manage Parameters), which a deployment pipeline sets.",
            "Back: the account's host and the old password in the same two dialogs.",
        ],
        files: vec![("query.pq", source)],
        ..tool("Power BI Desktop", end)
    }
}

pub(super) fn powerbi_service(end: &Endpoint) -> Guide {
    Guide {
        steps: vec![
            "The service connects from Microsoft's network. Either the gate is reachable from there, with a \
             certificate of a public CA, or the connection goes through an on-premises data gateway \
             (powerbi-gateway)."
                .to_owned(),
            "Settings, Manage connections and gateways, New, Cloud: connection type Snowflake.".to_owned(),
            "In the semantic model: Settings, Gateway and cloud connections: map it to this connection.".to_owned(),
        ],
        fields: connection(end, "Basic"),
        trust: vec![("Microsoft's cloud", "It takes no root of one's own: a public CA, or a gateway.".to_owned())],
        minds: vec![
            "The client's `networks` must list the addresses of the service (service tag PowerBI), which change.",
            PORT,
            RESULTS,
        ],
        moving: vec![
            "The server in the report must be the same text as in the connection: change the report first (powerbi).",
            IN_PLACE,
            BACK,
        ],
        ..tool("Power BI service", end)
    }
}

pub(super) fn powerbi_gateway(end: &Endpoint) -> Guide {
    Guide {
        steps: vec![
            "A gate on the gateway host itself needs no firewall rule: map its name to 127.0.0.1 there \
             (C:\\Windows\\System32\\drivers\\etc\\hosts), so that the name in the reports stays the same everywhere."
                .to_owned(),
            "In the service: Settings, Manage connections and gateways, New, On-premises: this gateway cluster, \
             connection type Snowflake."
                .to_owned(),
            "The gateway of January 2025 or newer.".to_owned(),
        ],
        fields: connection(end, "Basic"),
        trust: vec![("Windows, each gateway host", windows(end)), ("Windows, ODBC", BUNDLED.to_owned())],
        shows: "The refresh history shows the sentence under \"Underlying error message\"; the gateway's own log is in \
                C:\\Windows\\ServiceProfiles\\PBIEgwService\\AppData\\Local\\Microsoft\\On-premises data gateway.",
        moving: vec![
            "The server in the report and in the connection must be the same text, with or without the port: change \
             both.",
            IN_PLACE,
            BACK,
        ],
        ..tool("On-premises data gateway (Power BI)", end)
    }
}

pub(super) fn fabric(end: &Endpoint) -> Guide {
    Guide {
        steps: vec![
            "Settings, Manage connections and gateways, New: Cloud, or On-premises for a gate that is not reachable \
             from Microsoft's network; connection type Snowflake."
                .to_owned(),
            "Dataflows, pipelines and mirrored databases choose this connection; each item has its own copy of the \
             choice."
                .to_owned(),
        ],
        fields: connection(end, "Snowflake (user name and password)"),
        trust: vec![("Microsoft's cloud", "It takes no root of one's own: a public CA, or a gateway.".to_owned())],
        moving: vec![
            "Make the new connection, choose it in each dataflow and pipeline, and delete the old one last: forgotten \
             copies of an old token are the usual outage.",
            "Back: as long as the old connection is there, choose it again.",
        ],
        ..tool("Microsoft Fabric", end)
    }
}

pub(super) fn adf(end: &Endpoint) -> Guide {
    let service = json!({
        "name": "SnowflakeThroughPatgate",
        "properties": {
            "type": "SnowflakeV2",
            "typeProperties": {
                "accountIdentifier": end.way.account, "host": end.server(), "database": end.database(),
                "warehouse": end.warehouse(), "authenticationType": "Basic", "user": end.user,
                "password": {
                    "type": "AzureKeyVaultSecret", "secretName": "patgate-client-key",
                    "store": { "referenceName": "KEY_VAULT", "type": "LinkedServiceReference" },
                },
            },
            "connectVia": { "referenceName": "INTEGRATION_RUNTIME", "type": "IntegrationRuntimeReference" },
        },
    });
    Guide {
        steps: vec![
            "Put the key into Key Vault as `patgate-client-key`, so that no linked service holds it.".to_owned(),
            "Manage, Linked services: edit the code of the linked service (below). A self-hosted integration runtime \
             reaches a gate in your own network."
                .to_owned(),
        ],
        fields: vec![
            ("Account name", end.way.account.clone()),
            ("Host (additional property)", end.server()),
            ("User name", end.user.clone()),
            ("Password", "Azure Key Vault: patgate-client-key".to_owned()),
        ],
        trust: vec![
            ("Self-hosted integration runtime", windows(end)),
            ("Azure's own runtime", "It takes no root of one's own: a public CA.".to_owned()),
        ],
        moving: vec![
            "Change the linked service: datasets and pipelines name it, and stay as they are.",
            "Back: take `host` out, and put the old secret in.",
        ],
        files: vec![("linked-service.json", format!("{service:#}\n"))],
        ..tool("Azure Data Factory", end)
    }
}

/// A data source of Tableau.
fn data_source(end: &Endpoint) -> String {
    // What the gate does not know Tableau asks for.
    let of = |place: &Option<String>| quick_xml::escape::escape(place.as_deref().unwrap_or_default()).into_owned();
    let way = &end.way;
    let (host, user) = (quick_xml::escape::escape(&way.host), quick_xml::escape::escape(&end.user));
    format!(
        "<?xml version='1.0' encoding='utf-8' ?>\n<datasource formatted-name='patgate' inline='true' \
         version='18.1'>\n  \
         <connection authentication='Username Password' class='snowflake' dbname='{}' odbc-connect-string-extras='' \
         port='{}' schema='{}' server='{host}' service='{}' username='{user}' warehouse='{}' />\n</datasource>\n",
        of(&way.database),
        way.port,
        of(&way.schema),
        of(&way.role),
        of(&way.warehouse)
    )
}

pub(super) fn tableau(end: &Endpoint) -> Guide {
    let mut fields = vec![("Server", end.server())];
    fields.extend(end.way.role.clone().map(|role| ("Role", role)));
    fields.extend([
        ("Authentication", "Username and Password".to_owned()),
        ("Username", end.user.clone()),
        ("Password", KEY.to_owned()),
    ]);
    Guide {
        steps: vec![
            "Connect, To a Server, Snowflake. Or open the .tds file, which asks for the key alone.".to_owned(),
            "Choose warehouse, database and schema in the data source pane.".to_owned(),
        ],
        fields,
        trust: vec![
            ("Windows", BUNDLED.to_owned()),
            ("macOS", "Keychain Access, System: add the root, and trust it.".to_owned()),
        ],
        moving: vec![
            "Data, the data source, Edit Connection: the gate's name, the key. A published data source is changed \
             once for all workbooks that use it.",
            "Back: the account's host in the same dialog.",
        ],
        files: vec![("patgate.tds", data_source(end))],
        ..tool("Tableau Desktop", end)
    }
}

pub(super) fn tableau_server(end: &Endpoint) -> Guide {
    Guide {
        steps: vec![
            "Publish the data source with \"Embedded password\", or change it there: the data source, Connections, \
             Edit Connection."
                .to_owned(),
            "Tableau Cloud connects from Tableau's network: the gate must be reachable from there with a certificate \
             of a public CA, or Tableau Bridge runs in your network."
                .to_owned(),
        ],
        fields: vec![
            ("Server name", end.way.host.clone()),
            ("Port", end.way.port.to_string()),
            ("Username", end.user.clone()),
            ("Password", KEY.to_owned()),
        ],
        trust: vec![("Each node, Bridge hosts", BUNDLED.to_owned()), ("Linux", LINUX.to_owned())],
        moving: vec![
            "With the REST API (or tabcmd) all connections of a server: query the data sources, update each \
             connection's serverAddress, serverPort and password.",
            "The key does not end: Tableau's saved credentials need nobody every 90 days.",
            BACK,
        ],
        ..tool("Tableau Server, Tableau Cloud and Bridge", end)
    }
}

pub(super) fn excel(end: &Endpoint) -> Guide {
    let odbc = super::drivers::odbc(end);
    Guide {
        steps: vec![
            "Install Snowflake's ODBC driver in the bits of Excel (File, Account, About), and import the .reg file."
                .to_owned(),
            "Data, Get Data, From Other Sources, From ODBC: the data source \"Snowflake through patgate\"; \
             credentials: Database."
                .to_owned(),
        ],
        fields: vec![
            ("Data source name", "Snowflake through patgate".to_owned()),
            ("User name", end.user.clone()),
            ("Password", KEY.to_owned()),
        ],
        trust: odbc.trust,
        shows: odbc.shows,
        moving: vec![
            "Workbooks that use a data source by name follow it: change the data source alone.",
            "Others: Data, Queries & Connections, Properties, Definition: SERVER in the connection string.",
            BACK,
        ],
        files: odbc.files.into_iter().filter(|(name, _)| name.ends_with(".reg")).collect(),
        ..tool("Excel", end)
    }
}

#[cfg(test)]
mod tests {
    use quick_xml::Reader;
    use quick_xml::events::Event;

    use super::*;

    #[test]
    fn a_data_source_is_xml_whatever_the_names_are() {
        let mut end = Endpoint::example();
        end.way.role = Some("R&D 'x' <y>".to_owned());
        (end.way.warehouse, end.way.database) = (None, None);
        let text = data_source(&end);
        let mut reader = Reader::from_str(&text);
        let mut found = Vec::new();
        loop {
            match reader.read_event().unwrap() {
                Event::Empty(tag) => found.extend(tag.attributes().map(|one| {
                    let one = one.unwrap();
                    let value = quick_xml::escape::unescape(&one.value).unwrap().into_owned();
                    (one.key.as_ref().to_owned(), value)
                })),
                Event::Eof => break,
                _ => {}
            }
        }
        let value = |name: &str| found.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        assert_eq!((value("service"), value("dbname"), value("schema")), (Some("R&D 'x' <y>"), Some(""), Some("MART")));
    }
}
