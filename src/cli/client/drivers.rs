//! The guides of drivers and command line tools. The settings are those that the drivers' own sources read; for most of
//! them `tests/run` logs in with what stands here.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::endpoint::{Endpoint, KEY};
use super::guide::{Guide, Proven, RESULTS};

/// The settings that every tool has, by common names.
pub(super) fn common(end: &Endpoint) -> Value {
    json!({ "account": end.way.account, "host": end.way.host, "port": end.way.port, "user": end.user, "password": KEY })
}

/// How Linux comes to trust a root.
pub(super) const LINUX: &str = "Debian: copy the root to /usr/local/share/ca-certificates/patgate.crt, run \
     update-ca-certificates. Red Hat: copy it to /etc/pki/ca-trust/source/anchors/, run update-ca-trust.";

/// How Windows comes to trust a root.
pub(super) fn windows(end: &Endpoint) -> String {
    format!(
        "As administrator: Import-Certificate -FilePath {} -CertStoreLocation Cert:\\LocalMachine\\Root",
        end.ca_file()
    )
}

/// The names of the four places that are set.
fn places(end: &Endpoint) -> impl Iterator<Item = (&'static str, &str)> {
    let all = [
        ("warehouse", &end.way.warehouse),
        ("database", &end.way.database),
        ("schema", &end.way.schema),
        ("role", &end.way.role),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)))
}

/// The same, as JDBC, .NET and ADBC name them: a database is a `db`.
fn short_places(end: &Endpoint) -> impl Iterator<Item = (&'static str, &str)> {
    places(end).map(|(name, value)| (if name == "database" { "db" } else { name }, value))
}

const SHOWS: &str = "The driver's exception has the gate's sentence with the trace id: `patgate explain TRACE-ID`.";

fn driver(title: &'static str, end: &Endpoint) -> Guide {
    Guide {
        title,
        proven: Proven::ByTests,
        steps: Vec::new(),
        fields: vec![
            ("account", end.way.account.clone()),
            ("host", end.way.host.clone()),
            ("port", end.way.port.to_string()),
            ("user", end.user.clone()),
            ("password", KEY.to_owned()),
        ],
        trust: Vec::new(),
        minds: vec![RESULTS],
        shows: SHOWS,
        moving: vec![
            "`patgate adopt PATH` finds connections in the files of tools and drivers, and with --write moves them; \
             the old file stays beside the new one. In code: the gate's host and port, and the key as the password.",
            "Back: the old file, or the account's host and the old secret.",
        ],
        files: Vec::new(),
        settings: common(end),
        environment: BTreeMap::new(),
    }
}

/// The universal driver, and the classic one.
pub(super) fn odbc(end: &Endpoint) -> Guide {
    let mut dsn = format!(
        "[Snowflake through patgate]\nDriver = Snowflake\nSERVER = {}\nPORT = {}\nACCOUNT = {}\nUID = {}\nSSL = on\n",
        end.way.host, end.way.port, end.way.account, end.user
    );
    let mut registry = String::from(
        "Windows Registry Editor Version 5.00\n\n[HKEY_LOCAL_MACHINE\\SOFTWARE\\ODBC\\ODBC.INI\\ODBC Data Sources]\n\
         \"Snowflake through patgate\"=\"SnowflakeDSIIDriver\"\n\n\
         [HKEY_LOCAL_MACHINE\\SOFTWARE\\ODBC\\ODBC.INI\\Snowflake through patgate]\n",
    );
    let values = [
        ("Driver", r"C:\\Program Files\\Snowflake ODBC Driver\\bin\\SnowflakeDSII.dll"),
        ("Server", end.way.host.as_str()),
        ("Port", &end.way.port.to_string()),
        ("Account", &end.way.account),
        ("UID", &end.user),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    for (name, value) in values.into_iter().chain(places(end).map(|(name, value)| (name.to_owned(), value.to_owned())))
    {
        registry.push_str(&format!("\"{name}\"=\"{value}\"\n"));
    }
    places(end).for_each(|(name, value)| dsn.push_str(&format!("{} = {value}\n", name.to_uppercase())));
    if let Some(ca) = &end.ca {
        dsn.push_str(&format!("TLS_CUSTOM_ROOT_STORE_PATH = {ca}\n"));
    }
    Guide {
        proven: Proven::NotRun("Snowflake's ODBC driver is in no package registry"),
        steps: vec![
            "Linux: add the data source to /etc/odbc.ini or ~/.odbc.ini, with the driver's name from /etc/odbcinst.ini."
                .to_owned(),
            "Windows: import the .reg file, or fill the fields in \"ODBC Data Sources (64-bit)\". Tools of 32 bits \
             read HKEY_LOCAL_MACHINE\\SOFTWARE\\WOW6432Node\\ODBC instead."
                .to_owned(),
            format!("The password is the client key, {KEY}: type it into the tool, not into the data source."),
        ],
        trust: vec![(
            "Linux, Windows",
            format!(
                "The universal driver: TLS_CUSTOM_ROOT_STORE_PATH = {}, the whole path. The classic one (3.x): \
                     CABundleFile in simba.snowflake.ini, or append the root to the cacert.pem beside the driver.",
                end.ca_file()
            ),
        )],
        shows: "\"Failed to login\", with the gate's sentence in the lines of the error trace; with \
                ErrorTraceEnabled=false only the code 390100.",
        moving: vec![
            "Change SERVER and PORT of the data source, and the password to the key; the name of the data source \
             stays, so that no workbook changes.",
            "Back: the old SERVER and the old password.",
        ],
        files: vec![("odbc.ini", dsn), ("patgate-odbc.reg", registry)],
        ..driver("ODBC", end)
    }
}

/// What a value of a query need not encode (RFC 3986, section 2.3).
const IN_QUERY: AsciiSet = NON_ALPHANUMERIC.remove(b'_').remove(b'-').remove(b'.').remove(b'~');

pub(super) fn jdbc(end: &Endpoint) -> Guide {
    // What is to be filled in stands there to be read.
    let coded = |value: &str| match value.starts_with('<') {
        true => value.to_owned(),
        false => utf8_percent_encode(value, &IN_QUERY).to_string(),
    };
    let more: String = short_places(end).map(|(name, value)| format!("&{name}={}", coded(value))).collect();
    let url = format!("jdbc:snowflake://{}:{}/?account={}{more}", end.way.host, end.way.port, end.way.account);
    let mut settings = common(end);
    settings["url"] = url.clone().into();
    settings["ssl"] = "on".into();
    Guide {
        fields: vec![("URL", url), ("user", end.user.clone()), ("password", KEY.to_owned()), ("ssl", "on".to_owned())],
        trust: vec![(
            "Linux, Windows",
            format!(
                "keytool -importcert -noprompt -storetype PKCS12 -alias patgate -file {} -keystore patgate.p12 \
                 -storepass changeit; then start the tool with -Djavax.net.ssl.trustStore=patgate.p12 \
                 -Djavax.net.ssl.trustStorePassword=changeit. Or import it into the tool's own cacerts.",
                end.ca_file()
            ),
        )],
        minds: vec![
            "A host without a dot needs `account` in the URL, as it stands there.",
            "With JDBC 4 and Java 17 Arrow needs --add-opens=java.base/java.nio=ALL-UNNAMED.",
            RESULTS,
        ],
        settings,
        ..driver("JDBC", end)
    }
}

pub(super) fn python(end: &Endpoint) -> Guide {
    let mut settings = common(end);
    settings["protocol"] = "https".into();
    places(end).for_each(|(name, value)| settings[name] = value.into());
    let mut environment = BTreeMap::new();
    if let Some(ca) = &end.ca {
        settings["custom_root_store_path"] = ca.clone().into();
        environment.insert("REQUESTS_CA_BUNDLE", ca.clone());
    }
    let quoted = |value: &Value| value.as_str().map_or_else(|| value.to_string(), |text| format!("{text:?}"));
    let arguments: Vec<_> = settings
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("    {name}={},", quoted(value)))
        .collect();
    let mut toml = "[patgate]\n".to_owned();
    for (name, value) in settings.as_object().into_iter().flatten() {
        toml.push_str(&format!("{name} = {}\n", quoted(value)));
    }
    Guide {
        steps: vec![
            "With snowflake-connector-python 5 the arguments below are all; 4.x takes no custom_root_store_path, and \
             reads REQUESTS_CA_BUNDLE instead."
                .to_owned(),
            "connections.toml is read by connect(connection_name=\"patgate\"); keep it at mode 0600.".to_owned(),
        ],
        trust: vec![(
            "Linux, Windows",
            format!("5.x: custom_root_store_path = the whole path of {0}. 4.x: REQUESTS_CA_BUNDLE={0}.", end.ca_file()),
        )],
        moving: vec![
            "Add host and port, and put the key into password; take out `authenticator` and `token`.",
            "Back: take out host and port, and put the old password or token in.",
        ],
        files: vec![
            (
                "connect.py",
                format!(
                    "import snowflake.connector\n\nconnection = snowflake.connector.connect(\n{}\n)\n",
                    arguments.join("\n")
                ),
            ),
            ("connections.toml", toml),
        ],
        settings,
        environment,
        ..driver("Python (snowflake-connector-python)", end)
    }
}

pub(super) fn adbc(end: &Endpoint) -> Guide {
    let prefix = "adbc.snowflake.sql.";
    let mut settings = common(end);
    let own = [
        ("account".to_owned(), end.way.account.clone()),
        ("uri.host".to_owned(), end.way.host.clone()),
        ("uri.port".to_owned(), end.way.port.to_string()),
        ("uri.protocol".to_owned(), "https".to_owned()),
    ];
    for (name, value) in own {
        settings[format!("{prefix}{name}")] = value.into();
    }
    settings["username"] = end.user.clone().into();
    short_places(end).for_each(|(name, value)| settings[format!("{prefix}{name}")] = value.into());
    Guide {
        fields: vec![
            ("adbc.snowflake.sql.account", end.way.account.clone()),
            ("adbc.snowflake.sql.uri.host", end.way.host.clone()),
            ("adbc.snowflake.sql.uri.port", end.way.port.to_string()),
            ("adbc.snowflake.sql.uri.protocol", "https".to_owned()),
            ("username", end.user.clone()),
            ("password", KEY.to_owned()),
        ],
        trust: vec![(
            "Linux, Windows",
            format!(
                "Linux: SSL_CERT_FILE={} in the environment before the process starts. {} tls_skip_verify does not \
                 help.",
                end.ca_file(),
                windows(end)
            ),
        )],
        minds: vec![
            "Where the network has no way to ocsp.snowflakecomputing.com, set \
             SF_OCSP_RESPONSE_CACHE_SERVER_ENABLED=false before the process starts; else each new connection waits \
             for seconds.",
            RESULTS,
        ],
        environment: go_environment(end),
        settings,
        ..driver("ADBC (adbc-driver-snowflake)", end)
    }
}

pub(super) fn node(end: &Endpoint) -> Guide {
    let mut settings = common(end);
    settings["accessUrl"] = format!("https://{}:{}", end.way.host, end.way.port).into();
    settings["username"] = end.user.clone().into();
    places(end).for_each(|(name, value)| settings[name] = value.into());
    let environment = end.ca.iter().map(|ca| ("NODE_EXTRA_CA_CERTS", ca.clone())).collect();
    Guide {
        fields: vec![
            ("account", end.way.account.clone()),
            ("accessUrl", format!("https://{}:{}", end.way.host, end.way.port)),
            ("username", end.user.clone()),
            ("password", KEY.to_owned()),
        ],
        trust: vec![(
            "Linux, Windows",
            format!("NODE_EXTRA_CA_CERTS={} in the environment before node starts.", end.ca_file()),
        )],
        settings,
        environment,
        ..driver("Node (snowflake-sdk)", end)
    }
}

pub(super) fn go(end: &Endpoint) -> Guide {
    let dsn =
        format!("{}:{KEY}@{}:{}?account={}&protocol=https", end.user, end.way.host, end.way.port, end.way.account);
    let mut settings = common(end);
    settings["dsn"] = dsn.clone().into();
    Guide {
        fields: vec![("DSN", dsn)],
        trust: vec![
            ("Linux", format!("SSL_CERT_FILE={} before the process starts.", end.ca_file())),
            ("Windows", windows(end)),
        ],
        minds: vec![
            "Without a way to the OCSP responders of public certificates set DisableOCSPChecks \
             (disableOCSPChecks=true).",
            RESULTS,
        ],
        environment: go_environment(end),
        settings,
        ..driver("Go (gosnowflake)", end)
    }
}

fn go_environment(end: &Endpoint) -> BTreeMap<&'static str, String> {
    end.ca.iter().map(|ca| ("SSL_CERT_FILE", ca.clone())).collect()
}

pub(super) fn dotnet(end: &Endpoint) -> Guide {
    let more: String = short_places(end).map(|(name, value)| format!("{name}={value};")).collect();
    let text = format!(
        "account={};host={};port={};scheme=https;user={};password={KEY};{more}",
        end.way.account, end.way.host, end.way.port, end.user
    );
    let mut settings = common(end);
    settings["connection_string"] = text.clone().into();
    Guide {
        proven: Proven::NotRun("the tests have no .NET"),
        fields: vec![("connection string", text)],
        trust: vec![("Windows", windows(end)), ("Linux", LINUX.to_owned())],
        settings,
        ..driver(".NET (Snowflake.Data)", end)
    }
}

pub(super) fn dbt(end: &Endpoint) -> Guide {
    let mut profile = format!(
        "patgate:\n  target: prod\n  outputs:\n    prod:\n      type: snowflake\n      account: {}\n      host: \
         {}\n      \
         port: {}\n      protocol: https\n      user: {}\n      password: \"{KEY}\"\n      database: {}\n      \
         schema: {}\n",
        end.way.account,
        end.way.host,
        end.way.port,
        end.user,
        end.database(),
        end.schema()
    );
    for (name, value) in places(end).filter(|(name, _)| ["warehouse", "role"].contains(name)) {
        profile.push_str(&format!("      {name}: {value}\n"));
    }
    Guide {
        steps: vec!["Put the output into ~/.dbt/profiles.yml; `dbt debug` tries it.".to_owned()],
        trust: vec![("Linux, Windows", format!("REQUESTS_CA_BUNDLE={} before dbt starts.", end.ca_file()))],
        minds: vec!["Write no `authenticator`: with that of the PAT dbt sends no token at all.", RESULTS],
        files: vec![("profiles.yml", profile)],
        environment: end.ca.iter().map(|ca| ("REQUESTS_CA_BUNDLE", ca.clone())).collect(),
        ..driver("dbt (dbt-snowflake)", end)
    }
}

pub(super) fn snowsql(end: &Endpoint) -> Guide {
    let mut text = format!(
        "[connections.patgate]\naccount = \"{}\"\nhost = \"{}\"\nport = {}\nuser = \"{}\"\npassword = \"{KEY}\"\n",
        end.way.account, end.way.host, end.way.port, end.user
    );
    places(end).for_each(|(name, value)| text.push_str(&format!("{name} = \"{value}\"\n")));
    let classic = format!(
        "[connections.patgate]\naccountname = {}\nhost = {}\nport = {}\nusername = {}\npassword = \"{KEY}\"\n",
        end.way.account, end.way.host, end.way.port, end.user
    );
    Guide {
        proven: Proven::NotRun("the command line tools use the Python connector, which the tests do run"),
        steps: vec![
            "snow (Snowflake CLI): the table goes into ~/.snowflake/config.toml (0600); `snow sql -c patgate -q \
             'select 1'`."
                .to_owned(),
            "snowsql: the section goes into ~/.snowsql/config; `snowsql -c patgate`.".to_owned(),
        ],
        trust: vec![("Linux, Windows", format!("REQUESTS_CA_BUNDLE={} before the tool starts.", end.ca_file()))],
        files: vec![("config.toml", text), ("snowsql-config", classic)],
        environment: end.ca.iter().map(|ca| ("REQUESTS_CA_BUNDLE", ca.clone())).collect(),
        ..driver("Snowflake CLI and SnowSQL", end)
    }
}
