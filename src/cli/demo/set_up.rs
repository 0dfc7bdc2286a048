//! Everything that the demo needs, in its own directory.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::DemoArgs;
use crate::admit::key;
use crate::app::App;
use crate::base::clock::{Env, Random, SystemRandom};
use crate::base::names::ClientName;
use crate::base::secret::Secret;
use crate::cli::shell::CommandError;
use crate::config::file;
use crate::standin::{self, Certificates, PatState, StandIn, write_private};
use crate::state::private;
use crate::tls;

/// The admin address's usual port: the operator's commands then need no address.
const ADMIN: u16 = 8444;
/// The client that the demo issues a key for.
pub(super) const CLIENT: &str = "demo";

/// A gate, and Snowflake or its stand-in.
pub(super) struct Stage {
    pub app: App,
    /// `None` with `--upstream`.
    pub standin: Option<StandIn>,
    pub client_key: Secret,
    pub user: String,
    pub home: Home,
    pub certificates: Certificates,
}

/// A directory that the demo removes at its end.
pub(super) struct Home(PathBuf);

impl Home {
    fn make() -> std::io::Result<Self> {
        // Windows gives the number of a process to the next one soon, and keeps a directory in which a file is open.
        let mut own = [0; 4];
        SystemRandom.fill(&mut own).map_err(std::io::Error::other)?;
        let path = std::env::temp_dir().join(format!("patgate-demo-{}", hex::encode(own)));
        std::fs::create_dir(&path)?;
        #[cfg(unix)]
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // The system cleans up what the demo cannot remove.
        let _left_behind = std::fs::remove_dir_all(&self.0);
    }
}

impl Stage {
    pub(super) async fn set_up(args: &DemoArgs) -> Result<Self, CommandError> {
        let home = Home::make()
            .map_err(|error| CommandError::gate(format!("cannot make a directory for the demo: {error}")))?;
        let certificates = Certificates::make(home.path(), &["localhost", "127.0.0.1"]).map_err(CommandError::gate)?;
        let user = args.user.clone();
        let name = ClientName::parse(CLIENT).ok_or_else(|| CommandError::gate("the demo's client has no name"))?;
        let client_key = key::issue(&name, &SystemRandom).map_err(CommandError::gate)?;
        let (standin, account, pat) = match &args.upstream {
            None => {
                let pat = new_pat()?;
                let standin = stand_in(&certificates, &user, &pat).await?;
                let account = format!("host = \"localhost\"\naddress = \"{}\"\nca = \"ca.pem\"", standin.address);
                (Some(standin), account, pat)
            }
            Some(url) => (None, upstream(url, args.upstream_ca.as_deref())?, given_pat(args.pat_file.as_deref())?),
        };
        std::fs::create_dir(home.path().join("secrets")).map_err(CommandError::gate)?;
        store(&home, &pat)?;
        // The rotations have no overlap: four bad logins in a row lock nobody.
        let text = format!(
            "[listen]\naddress = \"{}\"\ncertificate = \"server.pem\"\nkey = \"server.key\"\n\
             [admin]\naddress = \"{}\"\n[pat]\nin_flight = 4\n\
             [accounts.demo]\nname = \"demo\"\n{account}\n[stores.local.file]\npath = \"secrets\"\n\
             [credentials.demo]\naccount = \"demo\"\nuser = {}\npat = \"local:powerbi.json#token\"\n\
             [clients.{CLIENT}]\ncredential = \"demo\"\nkeys = [\"{}\"]\n",
            address(args.port),
            address(ADMIN),
            crate::snowflake::members::quoted(&user),
            key::stored(&client_key),
        );
        let path = home.path().join("patgate.toml");
        std::fs::write(&path, &text).map_err(CommandError::gate)?;
        let (config, _) = file::parse(&path, &text).map_err(CommandError::gate)?;
        let app = App::start(config, Env::default()).await.map_err(CommandError::gate)?;
        Ok(Self { app, standin, client_key, user, home, certificates })
    }

    /// Rotates the PAT as an operator without overlap does: the old PAT is dead before the store has the new one.
    pub(super) fn rotate(&self, standin: &StandIn) -> Result<(), CommandError> {
        let pat = new_pat()?;
        standin.state.rotate(&self.user, pat.expose());
        store(&self.home, &pat)
    }

    pub(super) async fn clear(self) {
        self.app.stop().await;
    }
}

async fn stand_in(certificates: &Certificates, user: &str, pat: &Secret) -> Result<StandIn, CommandError> {
    let tls = tls::server(&certificates.pair(), None).map_err(CommandError::gate)?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let standin = standin::start(address, tls, Arc::new(SystemRandom)).await.map_err(CommandError::gate)?;
    standin.state.set_pat(user, pat.expose(), PatState::Active);
    Ok(standin)
}

/// Writes the secret as a careful tool does: to a new file, which it renames over the old one.
fn store(home: &Home, pat: &Secret) -> Result<(), CommandError> {
    let (new, path) = (home.path().join("secrets/powerbi.new"), home.path().join("secrets/powerbi.json"));
    let text = format!("{{\"token\":{}}}\n", crate::snowflake::members::quoted(pat.expose()));
    write_private(&new, &text).and_then(|()| private::rename(&new, &path)).map_err(CommandError::gate)
}

fn new_pat() -> Result<Secret, CommandError> {
    let mut bytes = [0; 24];
    SystemRandom.fill(&mut bytes).map_err(CommandError::gate)?;
    Ok(Secret::new(format!("demo-pat-{}", hex::encode(bytes))))
}

fn given_pat(path: Option<&Path>) -> Result<Secret, CommandError> {
    let path = path.ok_or_else(|| CommandError::gate("--upstream needs --pat-file"))?;
    let text = std::fs::read_to_string(path)
        .map_err(|error| CommandError::gate(format!("cannot read {}: {error}", path.display())))?;
    Ok(Secret::new(text.trim().to_owned()))
}

fn upstream(url: &str, ca: Option<&Path>) -> Result<String, CommandError> {
    let bad = || CommandError::gate("--upstream takes https://HOST or https://HOST:PORT");
    let uri: http::Uri = url.parse().map_err(|_| bad())?;
    let authority = uri.authority().filter(|_| uri.scheme_str() == Some("https")).ok_or_else(bad)?;
    let ca = match ca {
        Some(path) => {
            let path = std::path::absolute(path).map_err(CommandError::gate)?;
            format!("\nca = {}", crate::snowflake::members::quoted(&path.display().to_string()))
        }
        None => String::new(),
    };
    Ok(format!("host = \"{authority}\"{ca}"))
}

/// The wanted port if it is free, otherwise another free port.
fn address(port: u16) -> SocketAddr {
    let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match std::net::TcpListener::bind(wanted) {
        Ok(_) => wanted,
        Err(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
    }
}
