//! Each format, and what is found in it.

use super::*;

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
    let profile = |more: &str, secret: &str| {
        format!(
            "sales:   # größer\n  target: prod\n  outputs:\n    prod:\n{more}      type: snowflake\n      account: \
             myorg-prod\n      user: BI_SERVICE\n      password: \"{secret}\"\n      threads: 4\n    local:\n      \
             type: duckdb\n"
        )
    };
    let added = "      host: gate.example.com\n      port: 8443\n";
    moves("profiles.yml", &profile("", CANARY), &profile(added, KEY));
    let templates = "p:\n  type: snowflake\n  account: myorg-prod\n  user: \"{{ env_var('U') }}\"\n  password: x\n";
    finds("profiles.yml", templates, &["by hand its host or its user comes from a variable"]);
    let secret =
        "p:\n  type: snowflake\n  account: myorg-prod\n  user: BI_SERVICE\n  password: \"{{ env_var('P') }}\"\n";
    finds("profiles.yml", secret, &["by hand its secret comes from a variable"]);
    let flow = "p: {type: snowflake, account: myorg-prod, user: BI_SERVICE, password: x}\n";
    finds("profiles.yml", flow, &["by hand its settings do not stand in lines of their own"]);
    // An alias names the same lines once more.
    let alias = |more: &str, secret: &str| {
        format!(
            "a: &b\n{more}  type: snowflake\n  account: myorg-prod\n  user: BI_SERVICE\n  password: {secret}\nc: *b\n"
        )
    };
    moves("profiles.yml", &alias("", CANARY), &alias("  host: gate.example.com\n  port: 8443\n", KEY));
    let deep: String = (0..3000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    assert!(Place::new("deep.yml", format!("{deep}# snowflake\n").as_bytes()).look(false).error.is_some());
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
    // A comment is not of the value, and may hold anything.
    moves(
        "comments.env",
        &format!(
            "SNOWFLAKE_HOST=\"{HOST}\" # prod\nSNOWFLAKE_PORT=443 # usual\nSNOWFLAKE_USER=BI_SERVICE # {CANARY}\n\
             SNOWFLAKE_PASSWORD='{CANARY}#x' # rotate soon\n"
        ),
        &format!(
            "SNOWFLAKE_HOST=\"gate.example.com\" # prod\nSNOWFLAKE_PORT=8443 # usual\nSNOWFLAKE_USER=BI_SERVICE # \
             {CANARY}\nSNOWFLAKE_PASSWORD='{KEY}' # rotate soon\n"
        ),
    );
    for secret in ["\"ab\\\"c # dEF123\"", "'ab # c'"] {
        let env = |host: &str, secret: &str| {
            format!(
                "SNOWFLAKE_HOST={host}\nSNOWFLAKE_PORT=8443\nSNOWFLAKE_USER=BI_SERVICE\nSNOWFLAKE_PASSWORD={secret}\n"
            )
        };
        let quote = &secret[..1];
        moves("quoted.env", &env(HOST, secret), &env("gate.example.com", &format!("{quote}{KEY}{quote}")));
    }
    // What an address says beside its host is no part of the place, and a secret in it is one.
    let place =
        Place::new("url.env", format!("SNOWFLAKE_URL=https://{HOST}?user=BI_SERVICE&token={CANARY}\n").as_bytes());
    let told = report::json(&[place.look(false)]);
    let login = &told["files"][0]["logins"][0];
    assert_eq!((&login["host"], login["secrets"].as_array().map(Vec::len)), (&HOST.into(), Some(1)), "{told}");
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

    let extras = format!("odbc-connect-string-extras='UID=BI_SERVICE;PWD={CANARY}' ");
    finds("Hidden.twb", &book(HOST, &extras), &["odbc-connect-string-extras has a user or a secret"]);
    moves(
        "Plain.twb",
        &book(HOST, "odbc-connect-string-extras='CLIENT_SESSION_KEEP_ALIVE=TRUE;LOGIN_TIMEOUT=60' "),
        &book(
            "gate.example.com",
            "port='8443' odbc-connect-string-extras='CLIENT_SESSION_KEEP_ALIVE=TRUE;LOGIN_TIMEOUT=60' ",
        ),
    );

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
    finds("connections.toml", other, &["by hand its account is none of the gate's"]);
    let browser = format!("[x]\nhost = \"{HOST}\"\nauthenticator = \"externalbrowser\"\n");
    finds("connections.toml", &browser, &["by hand it logs in with a person's browser"]);
    let person = format!("[x]\nhost = \"{HOST}\"\nuser = \"JANE\"\npassword = \"{CANARY}\"\n");
    finds("connections.toml", &person, &["by hand JANE is no service user of a client"]);
    for (more, why) in [
        ("account = \"myorg-prod\"\nregion = \"eu-west-1\"\n", "names a region"),
        ("host = \"other-dev.snowflakecomputing.com\"\naccount = \"myorg-prod\"\n", "none of the gate's"),
        (
            "host = \"myorg-prod.snowflakecomputing.com\"\nauthenticator = \"https://sso.example\"\n",
            "another way than a password",
        ),
        ("host = \"myorg-prod.snowflakecomputing.com\"\ntoken_file_path = \"t\"\n", "a token in a file of its own"),
        ("host = \"gate.example.com\"\nport = 443\n", "not to the gate's port"),
    ] {
        finds("connections.toml", &format!("[x]\nuser = \"BI_SERVICE\"\n{more}"), &[why]);
    }
    let inside = "[connections]\naccount = \"not-ours\"\nprod.account = \"myorg-prod\"\nprod.password = \"canary\"\n";
    finds("config.toml", inside, &["its table is written inside another one", "none of the gate's"]);
    assert!(Place::new("broken.json", b"{\"a\": \"Snowflake\" ").look(false).error.is_some());
    assert!(Place::new("other.json", b"{\"a\": ").look(false).error.is_none());
}

#[test]
fn settings_of_drivers_that_sound_like_secrets_are_none() {
    let toml = |host: &str, key: &str| {
        format!(
            "[x]\nhost = \"{host}\"\nport = 8443\nlogin_timeout = 60\nclient_store_temporary_credential = \
             true\npassword = \"{key}\"\n"
        )
    };
    moves("connections.toml", &toml(HOST, CANARY), &toml("gate.example.com", KEY));
}

#[cfg(unix)]
#[test]
fn a_name_that_is_not_utf_8_is_looked_at_and_told() {
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new("connections.toml", format!("[x]\nhost = \"{HOST}\"\npassword = \"{CANARY}\"\n").as_bytes());
    let file = place.home.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9.toml"));
    std::fs::rename(&place.file, &file).unwrap();
    let moved = Place { file, ..place };
    assert_eq!(moved.look(false).logins.len(), 1);
}

#[test]
fn each_secret_of_a_login_is_found_and_replaced() {
    let toml = |first: &str, second: &str| {
        format!("[x]\nhost = \"{first}\"\nport = 8443\ntoken = \"{second}\"\npassword = \"{second}\"\n")
    };
    moves("connections.toml", &toml(HOST, CANARY), &toml("gate.example.com", KEY));
    // Literal, whatever it begins with.
    let dollar = |host: &str, secret: &str| format!("[x]\nhost = \"{host}\"\nport = 8443\npassword = \"{secret}\"\n");
    moves("connections.toml", &dollar(HOST, "%canary-secret"), &dollar("gate.example.com", KEY));
    let ini = |host: &str, one: &str, two: &str| {
        format!("[A]\nDriver = Snowflake\nServer = {host}\nPort = 8443\nPWD = {one}\nPassword = {two}\n")
    };
    moves("odbc.ini", &ini(HOST, CANARY, "canary-2"), &ini("gate.example.com", KEY, KEY));
    let beside = |host: &str, secret: &str| {
        format!("DB_URL=jdbc:snowflake://{host}/\nDB_USER=BI_SERVICE\nDB_PASSWORD={secret}\n")
    };
    moves("db.env", &beside(&format!("{HOST}:443"), CANARY), &beside("gate.example.com:8443", KEY));
    let person = beside(HOST, "canary").replace("BI_SERVICE", "JANE");
    finds("db.env", &person, &["JANE is no service user"]);
    let framed = |server: &str, secret: &str| {
        format!("Odbc.Query(\"driver=Snowflake;server={server};port=8443;pwd={{{secret}}}\")")
    };
    moves("q.pq", &framed(HOST, "sec;ret=TAIL"), &framed("gate.example.com", KEY));
}

#[test]
fn a_login_is_found_wherever_it_stands() {
    let count = |name: &str, text: &str| Place::new(name, text.as_bytes()).look(false).logins.len();
    for (name, text) in [
        ("app.json", r#"{"ConnectionStrings":{"A":"host=myorg-prod.snowflakecomputing.com;account=a;password=x"}}"#),
        ("app.json", r#"{"A":"account=myorg-prod;user=U;password=x"}"#),
        ("a.env", "SQLALCHEMY_DATABASE_URI=snowflake://u:p@myorg-prod/db\n"),
        ("a.env", "ENDPOINT=myorg-prod.snowflakecomputing.com\n"),
        ("secrets.toml", "[snowflake]\naccount = \"a\"\nuser = \"U\"\npassword = \"x\"\n"),
        ("b.toml", "[[x]]\nhost = \"myorg-prod.snowflakecomputing.com\"\n"),
    ] {
        assert_eq!(count(name, text), 1, "{text}");
    }
    let two = "S = Snowflake.Databases(\"myorg-prod.snowflakecomputing.com\", 1), T = Snowflake.Databases(Server, 1)";
    assert_eq!(count("two.pq", two), 2);
    let several =
        r#"{"type":"Snowflake","all":[{"host":"a.snowflakecomputing.com"},{"host":"b.snowflakecomputing.com"}]}"#;
    assert_eq!(count("several.json", several), 2);
}

#[test]
fn what_a_program_cannot_be_sure_of_is_left_to_a_person() {
    let service = |more: &str| {
        format!(
            "{{\"type\":\"SnowflakeV2\",\"typeProperties\":{{\"host\":\"{HOST}\",\"user\":\"BI_SERVICE\",{more}}}}}"
        )
    };
    let env = |more: &str| format!("SNOWFLAKE_HOST={HOST}\nSNOWFLAKE_PORT=443\n{more}\n");
    let details = format!("\"connectionDetails\":{{\"kind\":\"Snowflake\",\"path\":\"{HOST};W\"}}");
    let nested = format!("\"host\":\"{HOST}\",\"port\":443,\"auth\":{{\"user\":\"JANE\"}}");
    let strings = "jdbc:snowflake://a.snowflakecomputing.com/?user=U,jdbc:snowflake://x.snowflakecomputing.com/";
    for (name, text, why) in [
        ("two.env", env("SNOWFLAKE_URL=https://myorg-prod.snowflakecomputing.com"), "twice"),
        ("far.env", env("SNOWFLAKE_DB_PASSWORD=x"), "does not know"),
        ("flag.json", format!("{{\"A\":\"Driver=Snowflake;Server={HOST};Port=443;Encrypt;UID=JANE;PWD=x\"}}"), "JANE"),
        ("deep.json", format!("{{\"w\":{{{nested}}}}}"), "deeper"),
        ("aad.json", service("\"clientSecret\":{\"type\":\"SecureString\",\"value\":\"x\"}"), "does not know"),
        ("vault.json", service("\"password\":{\"type\":\"AzureKeyVaultSecret\",\"secretName\":\"s\"}"), "in a vault"),
        ("kind.json", format!("{{{details},\"c\":{{\"username\":\"JANE\"}}}}"), "JANE"),
        (
            "rec.pq",
            format!("Odbc.DataSource([Driver=\"SnowflakeDSIIDriver\", Server=\"{HOST}\", UID=\"J\"])"),
            "elsewhere",
        ),
        ("cat.pq", format!("Odbc.Query(\"driver=Snowflake;server={HOST};port=443;uid=\" & User)"), "put together"),
        ("merge.yml", format!("a: &a\n  type: snowflake\n  host: {HOST}\nb:\n  <<: *a\n"), "builds settings"),
        ("url.toml", format!("[snowflake]\nhostname = \"{HOST}\"\nsf_user = \"JANE\"\n"), "does not know"),
        ("opts.env", format!("O=\"{strings}\"\n"), ""),
    ] {
        finds(name, &text, &[why]);
    }
    let model = format!("{{\"expression\":[\"let\",\"S = Snowflake.Databases(\\\"{HOST}\\\",1)\",\"in S\"]}}");
    finds("m.bim", &model, &["spelt with escapes"]);
    let options = |place: &str, key: &str| {
        format!("O=\"-Durl=jdbc:snowflake://{place}/?user=BI_SERVICE&password={key} -Xmx4g\"\n")
    };
    moves("o.env", &options(&format!("{HOST}:443"), CANARY), &options("gate.example.com:8443", KEY));
    let one = |user: &str| format!("\"account=myorg-prod;user={user};password=x\"");
    let two = format!("{{\"A\":{},\"B\":{}}}", one("BI_SERVICE"), one("U"));
    assert_eq!(Place::new("two.json", two.as_bytes()).look(false).logins.len(), 2);
}
