//! Where the gate's own secrets are: every secret source of the configuration, by its key.

use crate::config::stores::{AzureLogin, VaultLogin};
use crate::config::{Config, SecretSource, Store};

/// Every secret source with its key.
pub(in crate::cli) fn sources(config: &Config) -> Vec<(String, SecretSource)> {
    let mut all = Vec::new();
    all.extend(config.state.warm_key.clone().map(|source| ("state.warm_key".to_owned(), source)));
    let password = config.replicas.as_ref().and_then(|replicas| replicas.password.clone());
    all.extend(password.map(|source| ("replicas.password".to_owned(), source)));
    for (name, account) in &config.accounts {
        let password = account.proxy.as_ref().and_then(|proxy| Some(proxy.user.as_ref()?.1.clone()));
        all.extend(password.map(|source| (format!("accounts.{name}.proxy.password"), source)));
    }
    for (name, store) in &config.stores {
        let key = |rest: &str| format!("stores.{name}.{}.{rest}", store.kind());
        let password = store.proxy().and_then(|proxy| Some(proxy.user.as_ref()?.1.clone()));
        all.extend(password.map(|source| (key("proxy.password"), source)));
        match store {
            Store::File(_) | Store::Env | Store::Aws(_) => {}
            Store::Vault(vault) => match &vault.login {
                VaultLogin::Token(source) => all.push((key("token"), source.clone())),
                VaultLogin::AppRole { role_id, secret_id, mount: _ } => {
                    all.push((key("approle.role_id"), role_id.clone()));
                    all.push((key("approle.secret_id"), secret_id.clone()));
                }
                VaultLogin::Kubernetes { jwt, mount: _, role: _ } => all.push((key("kubernetes.jwt"), jwt.clone())),
                VaultLogin::Jwt { jwt, mount: _, role: _ } => all.push((key("jwt.jwt"), jwt.clone())),
                // The set-up of the store reads them.
                VaultLogin::Certificate { .. } => {}
            },
            Store::Azure(azure) => match &azure.login {
                AzureLogin::ClientSecret { secret, tenant: _, client: _ } => {
                    all.push((key("client_secret.secret"), secret.clone()));
                }
                AzureLogin::WorkloadIdentity { token, tenant: _, client: _ } => {
                    let token = token.clone().map(SecretSource::File);
                    all.extend(token.map(|source| (key("workload_identity.token"), source)));
                }
                AzureLogin::ManagedIdentity { .. } => {}
            },
            Store::Gcp(gcp) => {
                all.extend(gcp.credentials.clone().map(|source| (key("credentials"), source)));
            }
        }
    }
    all
}
