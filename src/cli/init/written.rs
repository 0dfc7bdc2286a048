//! The configuration that a set-up writes.

use super::answers::{Answers, StoreAnswer};

/// The text of patgate.toml.
pub(super) fn configuration(answers: &Answers, hash: &str) -> String {
    let Answers { account, user, store, pat, client, host, listen, port, admin, .. } = answers;
    let text = |text: &str| serde_json::Value::from(text).to_string();
    format!(
        "# Made by `patgate init`; config/patgate.toml of the source shows every key with its default.\n\n\
         [listen]\naddress = \"{listen}\"\npublic = {}\ncertificate = \"tls/server.pem\"\nkey = \
         \"tls/server.key\"\n\n[admin]\naddress = \"{admin}\"\n\n\
         [accounts.snowflake]\nhost = {}\n\n{}\n\
         [credentials.{client}]\naccount = \"snowflake\"\nuser = {}\npat = {}\n\n\
         [clients.{client}]\ncredential = \"{client}\"\nkeys = [\"{hash}\"]\n\
         networks = [\"127.0.0.0/8\", \"::1\"]   # this machine; add the networks of your tools\n",
        text(&format!("{host}:{port}")),
        text(account),
        table(store),
        text(user),
        text(&format!("{}:{pat}", store.kind)),
    )
}

/// The table of a store; it has the name of its kind.
fn table(StoreAnswer { kind, place }: &StoreAnswer) -> String {
    let text = serde_json::Value::from(place.as_str()).to_string();
    let keys = match kind.as_str() {
        "file" => format!("path = {text}\n"),
        "vault" => format!(
            "address = {text}\n# For a service: approle = {{ role_id = \"file:role-id\", secret_id = \
             \"file:secret-id\" }}\n\
             token = \"env:VAULT_TOKEN\"\n"
        ),
        "aws" if place.is_empty() => String::new(),
        "aws" => format!("region = {text}\n"),
        "azure" => format!("address = {text}\nmanaged_identity = {{}}\n"),
        "gcp" => format!("project = {text}\n"),
        _ => String::new(),
    };
    format!("[stores.{kind}.{kind}]\n{keys}")
}
