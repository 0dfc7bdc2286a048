//! `patgate proxy pac`: the file that tells tools which hosts go through the gate's proxy way in.

use clap::{Args, Subcommand};

use super::shell::{CommandError, ConfigArgs, say};
use crate::base::fault::Owner;
use crate::config::{Config, Kind, Listen, file};

/// What to do.
#[derive(Subcommand)]
pub(super) enum ProxyCommand {
    /// Print a proxy auto-configuration file: the accounts' hosts go to the gate, everything else goes out directly.
    Pac(PacArgs),
}

/// For whom.
#[derive(Args)]
pub(super) struct PacArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The name or address that tools reach the gate by; without it `public` of the listener, or its address.
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// The listener, where several are of kind "connect".
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
}

/// The command.
pub(super) fn proxy(command: &ProxyCommand) -> Result<(), CommandError> {
    let ProxyCommand::Pac(args) = command;
    let (config, _) = file::load(&args.config.file()?).map_err(CommandError::gate)?;
    let text = pac(&config, chosen(&config, args.listener.as_deref())?, args.host.as_deref())?;
    match args.config.json {
        true => say(&serde_json::json!({ "pac": text }).to_string()),
        false => say(text.trim_end()),
    }
    Ok(())
}

/// The listener that is meant.
fn chosen<'a>(config: &'a Config, name: Option<&str>) -> Result<&'a Listen, CommandError> {
    let wrong = |text: String| CommandError::of(Owner::Client, text);
    let mut all = config.all_listeners().filter(|listen| listen.connect().is_some());
    let Some(name) = name else {
        return match (all.next(), all.next()) {
            (Some(one), None) => Ok(one),
            (None, _) => Err(CommandError::gate(format!(
                "no listener is a proxy's way in: write one below [listeners] with kind = \"{}\"",
                Kind::CONNECT
            ))),
            (Some(one), Some(other)) => {
                Err(wrong(format!("name one with --listener: {}, {} or another", one.name, other.name)))
            }
        };
    };
    all.find(|listen| &*listen.name == name)
        .ok_or_else(|| wrong(format!("no listener {name} is of kind \"{}\"", Kind::CONNECT)))
}

/// The file, as Netscape described it; `HTTPS`, which came later, is what browsers read.
fn pac(config: &Config, listen: &Listen, host: Option<&str>) -> Result<String, CommandError> {
    let (public, port) = match &listen.public {
        Some((name, port)) => (Some(name.as_str()), *port),
        None => (None, listen.address.port()),
    };
    let own = listen.address.ip();
    let host = match host.or(public) {
        Some(host) if rustls::pki_types::ServerName::try_from(host).is_ok() => host.to_owned(),
        Some(host) => {
            let text = format!("{host} is neither a host name nor an IP address; write it without port and https://");
            return Err(CommandError::of(Owner::Client, text));
        }
        None if own.is_unspecified() => {
            let text = "which name do tools reach the gate by? Name it with --host, or set `public` of the listener";
            return Err(CommandError::of(Owner::Client, text));
        }
        None => own.to_string(),
    };
    let bracketed = if host.contains(':') { format!("[{host}]") } else { host };
    let elsewhere = own.is_loopback() && bracketed != "localhost" && bracketed.parse() != Ok(listen.address.ip());
    let note = match elsewhere {
        true => format!("// The listener takes connections of its own machine alone ({}).\n", listen.address),
        false => String::new(),
    };
    // HTTPS: the tool speaks TLS to the proxy itself.
    let (how, note) = match listen.tls.is_some() {
        true => {
            ("HTTPS", format!("{note}// HTTPS is TLS to the proxy itself: .NET Framework and older WinHTTP lack it.\n"))
        }
        false => ("PROXY", note),
    };
    let mut hosts: Vec<_> = config.accounts.values().map(|account| account.host.to_ascii_lowercase()).collect();
    hosts.sort_unstable();
    hosts.dedup();
    let tests: Vec<_> = hosts.iter().map(|name| format!("host === \"{name}\"")).collect();
    Ok(format!(
        "// Snowflake through patgate; everything else directly.\n{note}function FindProxyForURL(url, host) {{\n    \
         host = host.toLowerCase();\n    if ({}) {{\n        return \"{how} {bracketed}:{port}\";\n    }}\n    \
         return \"DIRECT\";\n}}\n",
        tests.join(" ||\n        ")
    ))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn parsed(listener: &str) -> Config {
        let text = format!(
            "[listen]\naddress = '127.0.0.1:8443'\ncertificate = 's.pem'\nkey = 's.key'\n[accounts.b]\nhost = \
             'Myorg-B.snowflakecomputing.com'\n[accounts.a]\nhost = 'myorg-a.snowflakecomputing.com'\n[stores.l.file]\n\
             path = '.'\n[credentials.c]\naccount = 'a'\nuser = 'U'\npat = 'l:p'\n[clients.k]\ncredential = \
             'c'\nkeys = \
             ['sha256:{}']\n{listener}",
            "0".repeat(64)
        );
        file::parse(Path::new("patgate.toml"), &text).unwrap_or_else(|report| panic!("{report}")).0
    }

    #[test]
    fn the_accounts_go_to_the_listener_and_all_else_directly() {
        let connect = "kind = 'connect'\nca = 'ca.pem'\nca_key = 'ca.key'\n";
        let of = |text: String, host: Option<&str>| {
            let config = parsed(&text);
            chosen(&config, None).and_then(|listen| pac(&config, listen, host)).map_err(|error| error.text)
        };
        let local = of(format!("[listeners.proxy]\naddress = '127.0.0.1:3128'\n{connect}"), None).unwrap();
        assert_eq!(
            local,
            "// Snowflake through patgate; everything else directly.\n\
             function FindProxyForURL(url, host) {\n    host = host.toLowerCase();\n    \
             if (host === \"myorg-a.snowflakecomputing.com\" ||\n        host === \
             \"myorg-b.snowflakecomputing.com\") {\n        \
             return \"PROXY 127.0.0.1:3128\";\n    }\n    return \"DIRECT\";\n}\n"
        );
        let wide =
            format!("[listeners.proxy]\naddress = '0.0.0.0:3128'\ncertificate = 's.pem'\nkey = 's.key'\n{connect}");
        assert!(of(wide.clone(), None).is_err());
        assert!(of(wide.clone(), Some("gate\"; alert(1)")).is_err());
        assert!(of(wide.clone(), Some("gate.example.com")).unwrap().contains("\"HTTPS gate.example.com:3128\""));
        let far = format!("[listeners.proxy]\naddress = '127.0.0.1:3128'\n{connect}");
        assert!(of(far, Some("gate.example.com")).unwrap().contains("of its own machine alone (127.0.0.1:3128)"));
        let public = wide.replace("kind", "public = 'gate.example.com:443'\nkind");
        assert!(of(public, None).unwrap().contains("\"HTTPS gate.example.com:443\""));
        assert!(of(String::new(), None).is_err());
    }
}
