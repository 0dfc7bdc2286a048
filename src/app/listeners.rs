//! The settings for new connections of a listener, made of the configuration and of the files that it names.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::Semaphore;

use crate::base::fault::chain;
use crate::base::tunnel_target::TunnelTarget;
use crate::config::{Config, Connect, KeyPair, Listen};
use crate::listen::{ConnectState, Host, ListenerState, Tunnels};
use crate::proxy::Services;
use crate::snowflake::allowlist;
use crate::tls::{self, Crls, Intercept, ServerCertificate, TlsError};

/// The contents of the files of a listener: certificate and key, roots and revocation lists of clients, CA and its key.
pub type Contents = [[u8; 32]; 6];

/// The settings. They keep a certificate with unchanged files, so that clients can still resume TLS sessions. Of a
/// listener that has settings already, a new certificate that no client accepts now is refused; one that has ended in
/// use stays, so that a reload of something else still works.
///
/// # Errors
/// If a file that the configuration names is unusable.
pub(super) fn state(
    listen: &Listen,
    config: &Config,
    before: Option<(Arc<ListenerState>, Contents)>,
    (services, tunnels): (&Services, &Arc<Semaphore>),
) -> io::Result<(ListenerState, Contents)> {
    let content = contents(listen).map_err(unusable)?;
    let is_new = |at: usize| before.as_ref().is_some_and(|(_, before)| before[at] != content[at]);
    let [new_certificate, new_ca] = [is_new(0), is_new(4)];
    let [_, _, roots, ..] = content;
    let crls = listen.client_crl.as_deref().map(Crls::read).transpose().map_err(unusable)?.unwrap_or_default();
    let (old, same) = before.map_or((None, false), |(old, before)| (Some(old), before == content));
    let kept = old.as_ref().filter(|_| same);
    let (mut certificate, mut server) = (None, None);
    if let Some(pair) = &listen.tls {
        let own = match kept.and_then(|kept| kept.certificate.clone()) {
            Some(kept) => kept,
            None => Arc::new(ServerCertificate::read(pair).map_err(unusable)?),
        };
        if new_certificate {
            own.check_time(services.env.clock.wall()).map_err(unusable)?;
        }
        server = Some(match kept.and_then(|kept| kept.tls.clone()) {
            Some(kept) => kept,
            None => tls::server_with(pair, listen.client_ca.as_deref(), &crls).map_err(unusable)?,
        });
        certificate = Some(own);
    }
    let connect = connect(listen, config, (old.as_deref(), same), (services, tunnels))?;
    if let Some(connect) = connect.as_ref().filter(|_| new_ca) {
        connect.intercept.ca.check_time(services.env.clock.wall()).map_err(unusable)?;
    }
    let state = ListenerState { listen: listen.clone(), tls: server, certificate, roots, crls, connect };
    Ok((state, content))
}

fn contents(listen: &Listen) -> Result<Contents, TlsError> {
    let of = |path: Option<&Path>| path.map(tls::fingerprint).transpose().map(Option::unwrap_or_default);
    let pair = |pair: Option<&KeyPair>| -> Result<_, TlsError> {
        Ok((of(pair.map(|pair| &*pair.certificate))?, of(pair.map(|pair| &*pair.key))?))
    };
    let (certificate, key) = pair(listen.tls.as_ref())?;
    let (ca, ca_key) = pair(listen.connect().map(|connect| &connect.ca))?;
    let (roots, revoked) = (of(listen.client_ca.as_deref())?, of(listen.client_crl.as_deref())?);
    Ok([certificate, key, roots, revoked, ca, ca_key])
}

/// What a proxy's way in needs beside that. Its tunnels keep their places over a reload.
fn connect(
    listen: &Listen,
    config: &Config,
    (old, same): (Option<&ListenerState>, bool),
    (services, all): (&Services, &Arc<Semaphore>),
) -> io::Result<Option<ConnectState>> {
    let Some(settings) = listen.connect().cloned() else { return Ok(None) };
    let old = old.and_then(|old| old.connect.as_ref());
    let accounts = hosts(config);
    let targets = targets(&settings, &accounts)?;
    let intercept = match old.filter(|old| same && old.accounts == accounts) {
        Some(old) => old.intercept.clone(),
        None => Arc::new(intercept(&settings, &accounts, services.env.clock.wall()).map_err(unusable)?),
    };
    // From here on a scrape has them.
    services.metrics.tunnels();
    let tunnels = old.map_or_else(|| Tunnels::new(settings.tunnels, all), |old| old.tunnels.clone());
    Ok(Some(ConnectState { settings, intercept, accounts, targets, tunnels }))
}

/// What `check` looks at of a proxy's way in: the CA, which it returns, and how many hosts a tunnel may go to.
///
/// # Errors
/// If the gate cannot use a file.
pub fn proxy_way(
    settings: &Connect,
    config: &Config,
    now: SystemTime,
) -> (Result<Arc<ServerCertificate>, TlsError>, io::Result<usize>) {
    let accounts = hosts(config);
    let ca = intercept(settings, &accounts, now).map(|made| made.ca);
    (ca, targets(settings, &accounts).map(|targets| targets.len()))
}

fn intercept(settings: &Connect, accounts: &[Host], now: SystemTime) -> Result<Intercept, TlsError> {
    Intercept::new(&settings.ca, accounts.iter().map(|(host, ..)| host.clone()), now)
}

/// The accounts by host and port.
fn hosts(config: &Config) -> Vec<Host> {
    let mut hosts = BTreeMap::<_, Vec<_>>::new();
    for (name, account) in &config.accounts {
        hosts.entry((account.host.to_ascii_lowercase(), account.port)).or_default().push(name.clone());
    }
    hosts.into_iter().map(|((host, port), names)| (host, port, names)).collect()
}

/// Where a tunnel may go: what the configuration lists, and a file with the answer of `SYSTEM$ALLOWLIST()`.
fn targets(settings: &Connect, accounts: &[Host]) -> io::Result<Vec<TunnelTarget>> {
    let mut targets = settings.tunnel.clone();
    let Some(path) = &settings.allowlist else { return Ok(targets) };
    let failed = |error: &dyn std::error::Error| {
        let next = "write there what `SELECT SYSTEM$ALLOWLIST()` answers";
        io::Error::other(format!("the allow list {} cannot be read: {error}; {next}", path.display()))
    };
    let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
    let listed = allowlist::tunnel_targets(&text).map_err(|error| failed(&error))?;
    // The gate opens what goes to an account, whatever its list says of it.
    let is_account = |target: &TunnelTarget| accounts.iter().any(|(host, port, _)| target.is(host, *port));
    targets.extend(listed.into_iter().filter(|target| !is_account(target)));
    Ok(targets)
}

fn unusable(error: TlsError) -> io::Error {
    io::Error::other(chain(&error))
}
