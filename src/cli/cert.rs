//! `patgate cert init`: a CA of one's own and the gate's certificate, for gates inside a network.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;

use super::shell::{CommandError, say};
use crate::base::clock::Env;
use crate::base::fault::Owner;
use crate::base::rfc3339;
use crate::base::secret::Secret;
use crate::config::KeyPair;
use crate::state::private;
use crate::tls::ServerCertificate;
use crate::tls::local_ca::{LocalCa, Signed};

const DAY: Duration = Duration::from_secs(86_400);
/// Ten years.
const CA_LIFE: Duration = Duration::from_secs(3_650 * 86_400);
/// The clocks of tools' machines may be behind.
const BEFORE: Duration = Duration::from_secs(3_600);

/// What to do.
#[derive(Subcommand)]
pub(super) enum CertCommand {
    /// Make a CA of your own, which may sign for the gate's names alone, and the gate's certificate.
    Init(InitArgs),
}

/// Where, and for which names.
#[derive(Args)]
pub(super) struct InitArgs {
    /// The directory of the files: ca.pem, ca.key, server.pem, server.key.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// A name or an address that tools connect to; once for each.
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,
    /// How many days the gate's certificate is valid. The gate warns 30 days before.
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3_650))]
    days: u32,
    /// Make the gate's certificate and key anew, with the CA that is there and for the same names.
    #[arg(long)]
    renew: bool,
    /// Make a CA alone, which signs for a proxy's way in: the names are the hosts of the accounts.
    #[arg(long, conflicts_with = "renew")]
    proxy: bool,
    /// Write JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// The command.
pub(super) fn cert(command: &CertCommand) -> Result<(), CommandError> {
    match command {
        CertCommand::Init(args) if args.renew => renew(args),
        CertCommand::Init(args) => init(args),
    }
}

/// The files of a directory.
struct Files {
    ca: PathBuf,
    ca_key: PathBuf,
    server: PathBuf,
    server_key: PathBuf,
}

impl Files {
    fn of(directory: &Path) -> Self {
        let at = |name: &str| directory.join(name);
        Self { ca: at("ca.pem"), ca_key: at("ca.key"), server: at("server.pem"), server_key: at("server.key") }
    }
}

fn init(args: &InitArgs) -> Result<(), CommandError> {
    if args.proxy {
        return for_proxy(args);
    }
    make(&args.dir, &args.names, args.days)?;
    told(args, &Files::of(&args.dir))
}

/// Whether a certificate can be for this name.
pub(super) fn check_name(name: &str) -> Result<(), CommandError> {
    rustls::pki_types::ServerName::try_from(name).map(|_| ()).map_err(|_| {
        let text = format!("{name} is neither a host name nor an IP address; write it without port and https://");
        CommandError::of(Owner::Client, text)
    })
}

/// Makes the CA of a proxy's way in. The gate itself signs with it, so its key stays on the gate's machine.
fn for_proxy(args: &InitArgs) -> Result<(), CommandError> {
    let files = Files::of(&args.dir);
    check_new(&args.names, &[&files.ca, &files.ca_key])?;
    let now = Env::default().clock.wall();
    let ca = LocalCa::new(&args.names, now - BEFORE..now + CA_LIFE).map_err(CommandError::gate)?;
    fs::create_dir_all(&args.dir).map_err(|error| cannot(&args.dir, &error))?;
    public(&files.ca, &ca.certificate)?;
    secret(&files.ca_key, &ca.key, Of::Gate(None))?;
    let ends = rfc3339::show(now + CA_LIFE);
    if args.json {
        let told = json!({ "ca": files.ca, "ca_key": files.ca_key, "names": args.names, "ends": ends });
        say(&told.to_string());
        return Ok(());
    }
    say(&format!(
        "{ca} may sign for {names}, and names below them, alone; it ends at {ends}.\n\nFor the configuration:\n\n  \
         [listeners.proxy]\n  kind = \"connect\"\n  ca = \"{ca}\"\n  ca_key = \"{key}\"\n\n\
         {key} stays on the gate's machine, readable for the gate's user alone: whoever has it can stand in the \
         account's \
         place for all who trust {ca}. Every tool's machine that uses the proxy has to trust {ca}, beside what it \
         trusts \
         already; deploy/guides/proxy.md has the rest.",
        ca = files.ca.display(),
        key = files.ca_key.display(),
        names = args.names.join(", "),
    ));
    Ok(())
}

/// Refuses to make something for no name, or over what is there.
fn check_new(names: &[String], files: &[&PathBuf]) -> Result<(), CommandError> {
    if names.is_empty() {
        return Err(CommandError::of(Owner::Client, "name what tools connect to: --name gate.example.com"));
    }
    names.iter().try_for_each(|name| check_name(name))?;
    match files.iter().find(|path| path.exists()) {
        Some(there) => Err(CommandError::gate(format!(
            "{} is there already, and nothing is overwritten. With --renew the gate's certificate is made anew by the \
             CA that is there.",
            there.display()
        ))),
        None => Ok(()),
    }
}

/// Makes a CA and the gate's certificate for these names, in a directory that has neither.
pub(super) fn make(dir: &Path, names: &[String], days: u32) -> Result<(), CommandError> {
    let files = Files::of(dir);
    let all = [&files.ca, &files.ca_key, &files.server, &files.server_key];
    check_new(names, &all)?;
    let now = Env::default().clock.wall();
    let ca = LocalCa::new(names, now - BEFORE..now + CA_LIFE).map_err(CommandError::gate)?;
    let valid = now - BEFORE..now + DAY * days;
    let signed = LocalCa::sign(&ca.certificate, &ca.key, names, valid).map_err(CommandError::gate)?;
    fs::create_dir_all(dir).map_err(|error| cannot(dir, &error))?;
    let written = || -> Result<(), CommandError> {
        public(&files.ca, &ca.certificate)?;
        secret(&files.ca_key, &ca.key, Of::Operator)?;
        write(&files, &signed)
    };
    written().inspect_err(|_| {
        // Nothing half is left.
        for path in all {
            let _not_there = fs::remove_file(path);
        }
    })
}

fn renew(args: &InitArgs) -> Result<(), CommandError> {
    let files = Files::of(&args.dir);
    let pair = KeyPair { certificate: files.server.clone(), key: files.server_key.clone() };
    let names = ServerCertificate::read(&pair).map_err(CommandError::gate)?.names;
    if let Some(new) = args.names.iter().find(|name| !names.contains(name)) {
        let text = format!(
            "the CA may not sign for {new}: a new name needs a new CA, in another directory, without \
        --renew"
        );
        return Err(CommandError::of(Owner::Client, text));
    }
    let [ca, ca_key] =
        [&files.ca, &files.ca_key].map(|file| fs::read_to_string(file).map_err(|error| cannot(file, &error)));
    let (ca, ca_key) = (ca?, ca_key?);
    let now = Env::default().clock.wall();
    let valid = now - BEFORE..now + DAY * args.days;
    let signed = LocalCa::sign(&ca, &Secret::new(ca_key), &names, valid).map_err(CommandError::gate)?;
    write(&files, &signed)?;
    told(args, &files)
}

/// Both files stand beside their places first, so that neither is half when the gate looks.
fn write(files: &Files, signed: &Signed) -> Result<(), CommandError> {
    let beside = |path: &Path| path.with_extension("new");
    let (certificate, key) = (beside(&files.server), files.server_key.with_extension("key.new"));
    public(&certificate, &signed.certificate)?;
    secret(&key, &signed.key, Of::Gate(Some(&files.server_key)))?;
    private::rename(&key, &files.server_key).map_err(|error| cannot(&files.server_key, &error))?;
    private::rename(&certificate, &files.server).map_err(|error| cannot(&files.server, &error))
}

fn public(path: &Path, text: &str) -> Result<(), CommandError> {
    fs::write(path, text).map_err(|error| cannot(path, &error))
}

/// Whose a key is.
enum Of<'a> {
    /// The operator's, who signs with it.
    Operator,
    /// The gate's, whose user reads it; one that replaces another has that one's rights.
    Gate(Option<&'a Path>),
}

/// Writes a key.
fn secret(path: &Path, secret: &Secret, of: Of<'_>) -> Result<(), CommandError> {
    let written = private::new_file(path).and_then(|mut file| {
        match of {
            Of::Operator => private::let_owner_alone_read(&file, path)?,
            Of::Gate(Some(old)) if old.exists() => private::like(&file, path, old)?,
            Of::Gate(_) => private::let_service_read(&file, path)?,
        }
        file.write_all(secret.expose().as_bytes())
    });
    written.map_err(|error| cannot(path, &error))
}

fn cannot(path: &Path, error: &std::io::Error) -> CommandError {
    CommandError::gate(format!("{}: {error}", path.display()))
}

fn told(args: &InitArgs, files: &Files) -> Result<(), CommandError> {
    let pair = KeyPair { certificate: files.server.clone(), key: files.server_key.clone() };
    let made = ServerCertificate::read(&pair).map_err(CommandError::gate)?;
    let (names, ends) = (made.names.join(", "), rfc3339::show(made.ends));
    if args.json {
        let told = json!({
            "ca": files.ca, "ca_key": files.ca_key, "certificate": files.server, "key": files.server_key,
            "names": made.names, "ends": ends,
        });
        say(&told.to_string());
        return Ok(());
    }
    say(&format!(
        "{server} for {names} ends at {ends}; `patgate cert init --dir {dir} --renew` makes the next one.\n\n\
         For the configuration:\n\n  [listen]\n  certificate = '{server}'\n  key = '{key}'\n\n\
         Every tool's machine has to trust {ca}, which may sign for these names, and names below them, alone:\n  \
         Windows   Import-Certificate -FilePath ca.pem -CertStoreLocation Cert:\\LocalMachine\\Root\n  \
         Debian    copy it to /usr/local/share/ca-certificates/patgate.crt, run update-ca-certificates\n  \
         Java      keytool -importcert -noprompt -storetype PKCS12 -alias patgate -file ca.pem -keystore \
         patgate.p12\n  \
         Python    REQUESTS_CA_BUNDLE=ca.pem (4.x), custom_root_store_path=ca.pem (5.x)\n  \
         Node      NODE_EXTRA_CA_CERTS=ca.pem\n  \
         Go, ADBC  SSL_CERT_FILE=ca.pem\n\
         `patgate client setup CLIENT --for TOOL --ca ca.pem` has it for each tool. Keep {ca_key} away from the gate's \
         machine: it is needed for --renew alone.",
        server = files.server.display(),
        dir = args.dir.display(),
        key = files.server_key.display(),
        ca = files.ca.display(),
        ca_key = files.ca_key.display(),
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(dir: &Path, names: &[&str], renew: bool) -> InitArgs {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        InitArgs { dir: dir.to_owned(), names, days: 90, renew, proxy: false, json: true }
    }

    #[test]
    fn a_certificate_is_made_renewed_and_never_overwritten_unasked() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("tls");
        let files = Files::of(&dir);
        for wrong in [&[][..], &["https://gate"], &["a b"]] {
            assert!(init(&args(&dir, wrong, false)).is_err() && !dir.exists(), "{wrong:?}");
        }
        init(&args(&dir, &["gate.example.com", "127.0.0.1"], false)).ok().unwrap();
        let pair = KeyPair { certificate: files.server.clone(), key: files.server_key.clone() };
        let made = ServerCertificate::read(&pair).unwrap();
        assert_eq!((made.names, made.flaws.len()), (vec!["gate.example.com".to_owned(), "127.0.0.1".to_owned()], 0));
        let (ca, first) = (fs::read(&files.ca).unwrap(), fs::read(&files.server).unwrap());
        assert!(init(&args(&dir, &["other"], false)).is_err());
        assert_eq!(fs::read(&files.server).unwrap(), first);
        assert!(renew(&args(&dir, &["other"], true)).is_err());
        renew(&args(&dir, &[], true)).ok().unwrap();
        assert_eq!(fs::read(&files.ca).unwrap(), ca);
        assert_ne!(fs::read(&files.server).unwrap(), first);
        assert_eq!(ServerCertificate::read(&pair).unwrap().names, ["gate.example.com", "127.0.0.1"]);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            for key in [&files.ca_key, &files.server_key] {
                assert_eq!(fs::metadata(key).unwrap().permissions().mode() & 0o077, 0, "{}", key.display());
            }
        }
    }
}
