//! How to connect real tools to the running demo.

use super::set_up::Stage;
use crate::cli::shell::say;

/// Prints settings to paste. It shows the key on purpose: the key works only in this demo.
pub(super) fn print(stage: &Stage) {
    let port = stage.app.address.port();
    let key = stage.client_key.expose();
    let user = &stage.user;
    let ca = stage.certificates.ca.display();
    let admin = stage.app.admin;
    say(&format!(
        r#"The gate stays up. Files: {home}

curl (a login, as a driver sends it)
  curl --cacert {ca} -H 'Content-Type: application/json' \
    -d '{{"data":{{"LOGIN_NAME":"{user}","PASSWORD":"{key}"}}}}' https://localhost:{port}/session/v1/login-request

Python (snowflake-connector-python 5.x; for 4.x: REQUESTS_CA_BUNDLE={ca} before it, and no custom_root_store_path)
  python -c 'import snowflake.connector as s
print(s.connect(account="demo", host="localhost", port={port}, user="{user}", custom_root_store_path="{ca}",
    password="{key}").cursor().execute("select 1").fetchall())'

ODBC (universal driver)
  SERVER=localhost;PORT={port};ACCOUNT=demo;UID={user};PWD={key};TLS_CUSTOM_ROOT_STORE_PATH={ca}

JDBC (put the CA into a trust store first)
  keytool -importcert -noprompt -alias patgate -file {ca} -keystore trust.p12 -storepass changeit
  jdbc:snowflake://localhost:{port}/?account=demo&user={user}&password={key}
  -Djavax.net.ssl.trustStore=trust.p12 -Djavax.net.ssl.trustStorePassword=changeit
  --add-opens=java.base/java.nio=ALL-UNNAMED

ADBC, Go (SSL_CERT_FILE={ca} in the environment before the program starts)
  {user}:{key}@localhost:{port}?account=demo&protocol=https&disableOCSPChecks=true

Node (NODE_EXTRA_CA_CERTS={ca} in the environment before the program starts)
  snowflake.createConnection({{ account: "demo", accessUrl: "https://localhost:{port}", username: "{user}",
    password: "{key}" }})

The operator's commands work on it:
  patgate status --admin {admin}
  patgate sessions list --admin {admin}
  patgate explain TRACE-ID --state {home}/state

Each login of a tool is told below, with what to do where it fails. Ctrl-C ends the demo and removes its files.
"#,
        home = stage.home.path().display(),
    ));
}
