//! `proxy`: the forward proxy on the way to an account or to a store, and `[proxy]`, which is that of all of them.

use std::net::IpAddr;

use super::ForwardProxy;
use super::read::Section;
use super::secret_source::secret_source;

/// `[proxy]`: the forward proxy of every account and store that names none of its own.
pub(super) fn of_all(top: &Section<'_>) -> Option<ForwardProxy> {
    proxy(top.section("proxy")?)
}

/// The forward proxy of an account or a store: its own, none with `{ direct = true }`, else that of all.
pub(super) fn of_one(section: &Section<'_>, all: Option<&ForwardProxy>) -> Option<ForwardProxy> {
    let Some(own) = section.section("proxy") else { return all.cloned() };
    match own.flag("direct") {
        Some(direct) if direct.value => {
            own.finish();
            None
        }
        _ => proxy(own),
    }
}

/// Whether a host is this machine, which is never reached through the proxy of all.
pub(super) fn is_here(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Its user and password come together, if it needs them.
fn proxy(section: Section<'_>) -> Option<ForwardProxy> {
    let address = section.required_parsed("address", "HOST:PORT, such as \"proxy.example:3128\"", |text| {
        let (name, port) = text.rsplit_once(':')?;
        (!name.is_empty() && !name.contains('/') && port.parse::<u16>().is_ok()).then(|| text.to_owned())
    });
    let user = section.text("user", "a user name").map(|found| found.value);
    let password = secret_source(&section, "password").map(|found| found.value);
    if user.is_some() != password.is_some() {
        section.error("`user` and `password` belong together", "Write both, or neither");
    }
    section.finish();
    Some(ForwardProxy { address: address?.value, user: user.zip(password) })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{Config, file};

    /// A configuration with these lines for all, for its account and for its store.
    fn config(all: &str, account: &str, store: &str) -> Config {
        let text = format!(
            "[listen]\naddress = '127.0.0.1:0'\ndanger_plaintext = true\n{all}\n\
             [accounts.a]\nhost = 'x.snowflakecomputing.com'\n{account}\n\
             [stores.v.vault]\naddress = 'https://vault.example:8200'\ntoken = 'env:T'\n{store}\n\
             [credentials.c]\naccount = 'a'\nuser = 'U'\npat = 'v:kv/x#t'\n\
             [clients.x]\ncredential = 'c'\ntrust = 'loopback'\n"
        );
        file::parse(Path::new("patgate.toml"), &text).unwrap_or_else(|report| panic!("{report}")).0
    }

    fn proxies(config: &Config) -> [Option<String>; 2] {
        let account = config.accounts.values().next().unwrap().proxy.clone();
        let store = config.stores.values().next().unwrap().proxy().cloned();
        [account, store].map(|proxy| proxy.map(|proxy| proxy.address))
    }

    #[test]
    fn one_place_says_it_for_all_and_each_may_differ() {
        let (all, own, direct) =
            ("[proxy]\naddress = 'p:3128'", "proxy = { address = 'q:1' }", "proxy = { direct = true }");
        let some = |name: &str| Some(name.to_owned());
        assert_eq!(proxies(&config("", "", "")), [None, None]);
        assert_eq!(proxies(&config(all, "", "")), [some("p:3128"), some("p:3128")]);
        assert_eq!(proxies(&config(all, own, direct)), [some("q:1"), None]);
        assert_eq!(proxies(&config("", direct, own)), [None, some("q:1")]);
        assert_eq!(proxies(&config(all, "address = '127.0.0.1:443'", "")), [None, some("p:3128")]);
    }
}
