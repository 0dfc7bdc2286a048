//! Each format as its tools write it: what is found, what is written, and that no secret is shown.

use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};

use zip::write::{SimpleFileOptions, ZipWriter};

use super::*;

const HOST: &str = "myorg-prod.snowflakecomputing.com";
const CANARY: &str = "canary-secret-of-a-file";
const KEY: &str = "pgk_bi_key";

/// A directory with one file in it.
struct Place {
    home: tempfile::TempDir,
    file: PathBuf,
}

impl Place {
    fn new(name: &str, content: &[u8]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, content).unwrap();
        Self { home, file }
    }

    fn look(&self, write: bool) -> FileReport {
        let targets = [Target::example("bi", HOST, "BI_SERVICE")];
        let key = Secret::new(KEY.to_owned());
        let report = look(&self.file, Format::of(&self.file).unwrap(), &targets, write, Some(&key));
        let shown = format!(
            "{}{}",
            report::text(std::slice::from_ref(&report), write),
            report::json(std::slice::from_ref(&report))
        );
        assert!(!shown.contains(CANARY) && !shown.contains(KEY), "{shown}");
        report
    }

    fn text(&self) -> String {
        String::from_utf8(std::fs::read(&self.file).unwrap()).unwrap()
    }

    /// The states of the logins, as `--json` tells them.
    fn states(&self) -> Vec<String> {
        states(&self.look(false))
    }
}

fn states(report: &FileReport) -> Vec<String> {
    let told = report::json(std::slice::from_ref(report));
    let logins = told["files"][0]["logins"].as_array().cloned().unwrap_or_default();
    logins
        .iter()
        .map(|login| format!("{} {}", login["state"].as_str().unwrap(), login["why"].as_str().unwrap_or("")))
        .collect()
}

/// A file that is moved becomes this text; a second run finds nothing to do, and the old file is kept.
fn moves(name: &str, before: &str, after: &str) {
    let place = Place::new(name, before.as_bytes());
    let planned = place.states();
    assert!(planned.iter().any(|state| state.starts_with("to move")), "{name}: {planned:?}");
    assert_eq!(place.text(), before, "{name}: nothing is written unasked");
    let report = place.look(true);
    assert_eq!(report.error, None, "{name}");
    assert_eq!(place.text(), after, "{name}");
    assert_eq!(std::fs::read_to_string(report.backup.unwrap()).unwrap(), before, "{name}");
    let again = place.states();
    assert!(!again.iter().any(|state| state.starts_with("to move")), "{name}: {again:?}");
}

/// What is found in a file that is left as it is.
fn finds(name: &str, content: &str, wanted: &[&str]) {
    let place = Place::new(name, content.as_bytes());
    let report = place.look(true);
    let found = states(&report);
    assert!(
        found.len() == wanted.len() && found.iter().zip(wanted).all(|(found, wanted)| found.contains(wanted)),
        "{name}: {found:?}, {:?}",
        report.error
    );
    assert_eq!(place.text(), content, "{name}");
    assert!(!written::backup(&place.file).exists());
}

#[test]
fn data_sources_of_odbc() {
    moves(
        "odbc.ini",
        &format!(
            "[ODBC Data Sources]\nSales=Snowflake\n\n# our DSN\n[Sales]\nDriver = /usr/lib/snowflake/libSnowflake.so\n\
             Server = {HOST}\nUID=BI_SERVICE\nPWD = \"{CANARY}\"\nwarehouse = WH\n\n[Other]\nDriver=PostgreSQL\n\
             Server=db.example.com\nPWD=other\n"
        ),
        &format!(
            "[ODBC Data Sources]\nSales=Snowflake\n\n# our DSN\n[Sales]\nPort = 8443\nDriver = \
             /usr/lib/snowflake/libSnowflake.so\n\
             Server = gate.example.com\nUID=BI_SERVICE\nPWD = \"{KEY}\"\nwarehouse = WH\n\n[Other]\nDriver=PostgreSQL\n\
             Server=db.example.com\nPWD=other\n"
        ),
    );
}

#[test]
fn an_export_of_the_registry_keeps_its_spelling() {
    let text = |host: &str, more: &str| {
        format!(
            "Windows Registry Editor Version \
             5.00\r\n\r\n[HKEY_LOCAL_MACHINE\\SOFTWARE\\ODBC\\ODBC.INI\\Sales]\r\n{more}\
             \"Driver\"=\"C:\\\\Program Files\\\\Snowflake ODBC Driver\\\\bin\\\\SnowflakeDSII.dll\"\r\n\
             \"Server\"=\"{host}\"\r\n\"UID\"=\"BI_SERVICE\"\r\n"
        )
    };
    let wide = |text: &str| -> Vec<u8> {
        [0xff, 0xfe].into_iter().chain(text.encode_utf16().flat_map(u16::to_le_bytes)).collect()
    };
    let place = Place::new("dsn.reg", &wide(&text(HOST, "")));
    let report = place.look(true);
    assert_eq!((report.error.as_deref(), states(&report).as_slice()), (None, &["moved ".to_owned()][..]));
    let after = text("gate.example.com", "\"Port\"=\"8443\"\r\n");
    assert_eq!(std::fs::read(&place.file).unwrap(), wide(&after));
}

#[test]
fn connections_of_snowflake_s_own_files() {
    moves(
        "connections.toml",
        &format!(
            "# ours\n[sales]\naccount = \"MYORG-prod\"   # the account\nuser = \"bi_service\"\npassword = \
             '{CANARY}'\n\n\
             [keys]\naccount = \"myorg-prod\"\nuser = \"BI_SERVICE\"\nprivate_key_file = \"key.p8\"\n"
        ),
        &format!(
            "# ours\n[sales]\nhost = \"gate.example.com\"\nport = 8443\naccount = \"MYORG-prod\"   # the account\n\
             user = \"bi_service\"\npassword = '{KEY}'\n\n\
             [keys]\naccount = \"myorg-prod\"\nuser = \"BI_SERVICE\"\nprivate_key_file = \"key.p8\"\n"
        ),
    );
    moves(
        "config.toml",
        &format!("[cli]\nlevel = 1\n[connections.dev]\naccount = \"myorg-prod\"\nport = 443\ntoken = \"{CANARY}\"\n"),
        &format!(
            "[cli]\nlevel = 1\n[connections.dev]\nhost = \"gate.example.com\"\naccount = \"myorg-prod\"\nport = 8443\n\
             token = \"{KEY}\"\n"
        ),
    );
    moves(
        ".snowsql/config",
        &format!("[connections.prod]\naccountname = myorg-prod\nusername = BI_SERVICE\npassword = \"{CANARY}\"\n"),
        &format!(
            "[connections.prod]\nhost = gate.example.com\nport = 8443\naccountname = myorg-prod\nusername = \
             BI_SERVICE\n\
             password = \"{KEY}\"\n"
        ),
    );
}

#[test]
fn profiles_of_dbt() {
    moves(
        "profiles.yml",
        &format!(
            "sales:   # größer\n  target: prod\n  outputs:\n    prod:\n      type: snowflake\n      account: \
             myorg-prod\n      \
             user: BI_SERVICE\n      password: \"{CANARY}\"\n      threads: 4\n    dev:\n      type: snowflake\n      \
             account: myorg-prod\n      user: \"{{{{ env_var('DBT_USER') }}}}\"\n      password: \"{{{{ \
             env_var('DBT_PASSWORD') }}}}\"\n    local:\n      type: duckdb\n"
        ),
        &format!(
            "sales:   # größer\n  target: prod\n  outputs:\n    prod:\n      host: gate.example.com\n      port: \
             8443\n      \
             type: snowflake\n      account: myorg-prod\n      \
             user: BI_SERVICE\n      password: \"{KEY}\"\n      threads: 4\n    dev:\n      host: \
             gate.example.com\n      \
             port: 8443\n      type: snowflake\n      \
             account: myorg-prod\n      user: \"{{{{ env_var('DBT_USER') }}}}\"\n      password: \"{{{{ \
             env_var('DBT_PASSWORD') \
             }}}}\"\n    local:\n      type: duckdb\n"
        ),
    );
}

#[test]
fn files_of_environment_variables() {
    moves(
        ".env",
        &format!(
            "export \
             SNOWFLAKE_HOST={HOST}\nSNOWFLAKE_PORT=443\nSNOWFLAKE_USER=BI_SERVICE\nSNOWFLAKE_PASSWORD='{CANARY}'\n\
             OTHER_PASSWORD=x\n"
        ),
        &format!(
            "export SNOWFLAKE_HOST=gate.example.com\nSNOWFLAKE_PORT=8443\nSNOWFLAKE_USER=BI_SERVICE\n\
             SNOWFLAKE_PASSWORD='{KEY}'\nOTHER_PASSWORD=x\n"
        ),
    );
    finds(
        "prod.env",
        &format!("SNOWFLAKE_ACCOUNT=myorg-prod\nSNOWFLAKE_TOKEN={CANARY}\n"),
        &["by hand it has no host, and one cannot be added here"],
    );
    moves(
        "jdbc.env",
        &format!("DB_URL=\"jdbc:snowflake://{HOST}:443/?db=D&user=BI_SERVICE&password={CANARY}\"\n"),
        &format!("DB_URL=\"jdbc:snowflake://gate.example.com:8443/?db=D&user=BI_SERVICE&password={KEY}\"\n"),
    );
}

#[test]
fn workbooks_of_tableau_also_in_packages() {
    let book = |server: &str, more: &str| {
        format!(
            "<?xml version='1.0'?>\n<workbook>\n <datasource caption='Sales &amp; more'>\n  <connection \
             class='federated'>\n   <connection {more}class='snowflake' server='{server}' username='BI_SERVICE' />\n  \
             </connection>\n </datasource>\n</workbook>\n"
        )
    };
    let (before, after) = (book(HOST, ""), book("gate.example.com", "port='8443' "));
    moves("Sales.twb", &before, &after);

    let package = packed(&[("Sales.twb", before.as_bytes()), ("Data/extract.hyper", b"\x00\x01binary")]);
    let place = Place::new("Sales.twbx", &package);
    let report = place.look(true);
    assert_eq!((report.error.as_deref(), states(&report).as_slice()), (None, &["moved ".to_owned()][..]));
    let new = std::fs::read(&place.file).unwrap();
    assert_eq!(unpacked(&new, "Sales.twb"), after.as_bytes());
    assert_eq!(unpacked(&new, "Data/extract.hyper"), b"\x00\x01binary");
    assert_eq!(std::fs::read(report.backup.unwrap()).unwrap(), package);
}

#[test]
fn queries_of_power_bi() {
    let query = |server: &str| {
        format!(
            "section Section1;\n// {HOST} is old\nshared Sales = let S = Snowflake.Databases(\"{server}\", \"WH\") \
             in S;\n"
        )
    };
    moves("Sales.pq", &query(HOST), &query("gate.example.com:8443"));
    let odbc = |server: &str, more: &str, secret: &str| {
        format!("Odbc.DataSource(\"{more}driver={{SnowflakeDSIIDriver}};server={server};uid=BI_SERVICE;pwd={secret}\")")
    };
    moves("Odbc.pq", &odbc(HOST, "", CANARY), &odbc("gate.example.com", "port=8443;", KEY));
    finds(
        "Parameter.pq",
        "let S = Snowflake.Databases(Server, \"WH\") in S",
        &["by hand its host does not stand here"],
    );

    let mashup = packed(&[("Formulas/Section1.m", query(HOST).as_bytes())]);
    let framed = [&[0; 4][..], &(mashup.len() as u32).to_le_bytes(), &mashup].concat();
    let place = Place::new("Sales.pbix", &packed(&[("DataMashup", &framed)]));
    let before = std::fs::read(&place.file).unwrap();
    let report = place.look(true);
    assert!(states(&report)[0].starts_with("by hand Power BI checks"), "{:?}", states(&report));
    assert_eq!(std::fs::read(&place.file).unwrap(), before);

    let model = serde_json::json!({ "model": { "tables": [{ "name": "T", "partitions": [{ "source": {
        "type": "m", "expression": ["let", format!("  S = Snowflake.Databases(\"{HOST}\", \"WH\")"), "in S"],
    } }] }] } });
    let wide: Vec<u8> = model.to_string().encode_utf16().flat_map(u16::to_le_bytes).collect();
    let place = Place::new("Sales.pbit", &packed(&[("DataModelSchema", &wide)]));
    assert!(place.states()[0].starts_with("by hand Power BI checks"), "{:?}", place.states());

    let place = Place::new("Import.pbix", &packed(&[("DataModel", b"\x00")]));
    assert!(place.look(false).error.unwrap().contains("save it as a template"));
}

#[test]
fn linked_services_and_connections_of_microsoft_s_cloud() {
    let service = |more: &str, secret: &str| {
        format!(
            "{{\n    \"name\": \"SalesWarehouse\",\n    \"properties\": {{\n        \"type\": \"SnowflakeV2\",\n    \
                 \"typeProperties\": {{\n            {more}\"accountIdentifier\": \"myorg-prod\",\n            \
                 \"user\": \"BI_SERVICE\",\n            \"password\": {{ \"type\": \"SecureString\", \"value\": \
                 \"{secret}\" }}\n \
                 }}\n    }}\n}}\n"
        )
    };
    moves("service.json", &service("", CANARY), &service("\"host\": \"gate.example.com:8443\",\n            ", KEY));
    let old = |host: &str, secret: &str| {
        format!(
            "{{\"properties\": {{\"type\": \"Snowflake\", \"typeProperties\": {{\"connectionString\": \
             \"jdbc:snowflake://{host}/?user=BI_SERVICE&db=D\", \"password\": {{\"type\": \"SecureString\", \"value\": \
             \"{secret}\"}}}}}}}}"
        )
    };
    moves("old.json", &old(HOST, CANARY), &old("gate.example.com:8443", KEY));
    let fabric = |server: &str, secret: &str| {
        format!(
            "{{\"displayName\": \"Sales\", \"connectionDetails\": {{\"type\": \"Snowflake\", \"path\": \
             \"{server};WH\"}}, \"credentialDetails\": {{\"credentials\": {{\"credentialType\": \"Basic\", \
             \"username\": \"BI_SERVICE\", \"password\": \"{secret}\"}}}}}}"
        )
    };
    moves("fabric.json", &fabric(HOST, CANARY), &fabric("gate.example.com:8443", KEY));
    let node = |url: &str| format!("{{\"accessUrl\": \"{url}\", \"username\": \"BI_SERVICE\"}}");
    moves("node.json", &node(&format!("https://{HOST}:443/")), &node("https://gate.example.com:8443/"));
    finds("nothing.json", "{\"type\": \"PostgreSql\", \"host\": \"db.example.com\", \"password\": \"x\"}", &[]);
}

#[test]
fn what_is_not_the_gate_s_to_move_is_said_and_left() {
    let other = "[x]\naccount = \"other-dev\"\nuser = \"U\"\n";
    finds("connections.toml", other, &["by hand no account of the gate is other-dev"]);
    let browser = format!("[x]\nhost = \"{HOST}\"\nauthenticator = \"externalbrowser\"\n");
    finds("connections.toml", &browser, &["by hand it logs in with a person's browser"]);
    let person = format!("[x]\nhost = \"{HOST}\"\nuser = \"JANE\"\npassword = \"{CANARY}\"\n");
    finds("connections.toml", &person, &["by hand JANE is no service user of a client"]);
    assert!(Place::new("broken.json", b"{\"a\": \"Snowflake\" ").look(false).error.is_some());
    assert!(Place::new("other.json", b"{\"a\": ").look(false).error.is_none());
}

#[test]
fn an_old_file_is_never_overwritten() {
    let text = format!("[x]\nhost = \"{HOST}\"\npassword = \"{CANARY}\"\n");
    let place = Place::new("connections.toml", text.as_bytes());
    std::fs::write(written::backup(&place.file), "older").unwrap();
    let report = place.look(true);
    assert!(report.error.unwrap().contains("is there already"));
    assert_eq!(place.text(), text);
    assert_eq!(std::fs::read_to_string(written::backup(&place.file)).unwrap(), "older");
}

#[test]
fn without_the_key_nothing_with_a_secret_is_written() {
    let text = format!("[x]\nhost = \"{HOST}\"\npassword = \"{CANARY}\"\n");
    let place = Place::new("connections.toml", text.as_bytes());
    let targets = [Target::example("bi", HOST, "BI_SERVICE")];
    let report = look(&place.file, Format::Toml, &targets, true, None);
    assert!(report.error.unwrap().contains("--key-file"));
    assert_eq!(place.text(), text);
}

#[test]
fn directories_are_looked_through_and_those_of_programs_are_not() {
    let place = Place::new("a/.env", b"");
    for name in ["a/odbc.ini", "a/readme.md", ".git/x.json", "node_modules/x.json"] {
        let file = place.home.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, "").unwrap();
    }
    let names = |path: &Path| -> Vec<String> {
        let found = walk::files(path).into_iter().map(Result::unwrap);
        found.map(|(path, _)| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
    };
    assert_eq!(names(place.home.path()), [".env", "odbc.ini"]);
    assert!(
        walk::files(&place.home.path().join("a/readme.md"))[0]
            .as_ref()
            .is_err_and(|(_, error)| error.contains("odbc.ini"))
    );
    assert!(walk::files(&place.home.path().join("gone"))[0].is_err());
}

fn packed(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn unpacked(package: &[u8], name: &str) -> Vec<u8> {
    let mut archive = zip::ZipArchive::new(Cursor::new(package)).unwrap();
    let mut content = Vec::new();
    std::io::Read::read_to_end(&mut archive.by_name(name).unwrap(), &mut content).unwrap();
    content
}
